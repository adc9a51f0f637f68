"""What a pipeline asks of its backend that the backend does not do: told before anything starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kfp_magics.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kfp_magics.ir import IR
    from kfp_magics.model import Json


@dataclass(frozen=True, kw_only=True, slots=True)
class Ignored:
    """Something that a step asks for in vain.

    Attributes:
        step: The step.
        feature: What it asks for.
        why: Why the backend does not do it.
    """

    step: str
    feature: str
    why: str

    def __str__(self) -> str:
        return f"{self.step}: {self.feature} is ignored: {self.why}"


FEATURES = {
    "secretAsEnv": "a secret as a variable",
    "secretAsVolume": "a secret as files",
    "configMapAsEnv": "a config map as a variable",
    "configMapAsVolume": "a config map as files",
    "pvcMount": "a persistent volume claim",
    "genericEphemeralVolume": "an ephemeral volume",
    "emptyDirMounts": "an empty folder as a volume",
    "nodeSelector": "a node selector",
    "nodeAffinity": "an affinity to nodes",
    "podAffinity": "an affinity to pods",
    "tolerations": "a toleration",
    "imagePullSecret": "a secret that pulls the image",
    "imagePullPolicy": "when the image is pulled",
    "activeDeadlineSeconds": "a timeout",
    "labels": "a pod label",
    "annotations": "a pod annotation",
    "fieldPathAsEnv": "a field of the pod as a variable",
    "enabledSharedMemory": "shared memory",
    "securityContext": "a security context",
    "cpu": "a number of cores",
    "memory": "a size of memory",
    "accelerator": "an accelerator",
    "retry": "retries",
}
"""Everything that a step can ask of its machine → how to name it to a person."""

_NO_PODS = "this machine has no pods"
_NO_NODES = "this machine is the only one"
_SHARED = "processes share this machine; --executor container limits them"
_LOCAL = {
    **dict.fromkeys(("labels", "annotations", "fieldPathAsEnv", "securityContext", "podAffinity"), _NO_PODS),
    **dict.fromkeys(("nodeSelector", "nodeAffinity", "tolerations"), _NO_NODES),
    **dict.fromkeys(("imagePullSecret", "imagePullPolicy"), "images are pulled with the engine's own login"),
    **dict.fromkeys(("genericEphemeralVolume", "emptyDirMounts"), "a step writes to the disk of this machine"),
    "enabledSharedMemory": "a process has the memory of this machine",
}
_PROCESS = {
    **_LOCAL,
    **dict.fromkeys(("cpu", "memory"), _SHARED),
    "accelerator": "a process sees what this machine has",
}
_NO_CLUSTER = "Vertex AI chooses the machine by cores, memory and accelerators"
_VERTEX = {
    **dict.fromkeys(("nodeSelector", "nodeAffinity", "podAffinity", "tolerations"), _NO_CLUSTER),
    **dict.fromkeys(("labels", "annotations", "securityContext"), "Vertex AI has no pods"),
    "imagePullPolicy": "Vertex AI pulls the image for each step",
    "activeDeadlineSeconds": "Vertex AI does not read it",
    "enabledSharedMemory": "a step has the memory of its machine",
}
IGNORED: dict[str, Mapping[str, str]] = {
    "local": _PROCESS,
    "local/container": {**_LOCAL, "accelerator": "a container sees what its engine gives it"},
    "kfp": {},
    "vertex": _VERTEX,  # what it cannot do without harm is refused: `backends/vertex/limits.py`
}
"""Backend → feature that it ignores → why. The local engine does more with containers."""


def ignored(ir: IR, backend: str, executor: str = "") -> list[Ignored]:
    """Finds what a pipeline's steps ask for in vain.

    Args:
        ir: The compiled pipeline, with its platform part.
        backend: Name of the backend.
        executor: What carries out tasks on this machine.
    """
    table = IGNORED.get(f"{backend}/{executor}", IGNORED.get(backend, {}))
    found = {
        (step, feature): Ignored(step=step, feature=FEATURES[feature], why=table[feature])
        for step, feature in features(ir)
        if feature in table
    }
    return list(found.values())


def accelerator_of(executor: Mapping[str, Json]) -> str:
    """The kind of accelerator that an executor asks for; empty for none."""
    found = executor.get("container", {}).get("resources", {}).get("accelerator", {})
    return str(found.get("type") or found.get("resourceType") or "")


def check_accelerators(ir: IR) -> None:
    """Looks whether a cluster knows the accelerators that steps ask for.

    Raises:
        BackendError: It does not: Kubernetes calls them by a domain and a name.
    """
    for name, component in ir.spec["components"].items():
        kind = accelerator_of(ir.executor(component))
        if kind and "/" not in kind and "{{$" not in kind:
            raise BackendError(
                f"The step {name.removeprefix('comp-')!r} wants {kind!r}, and Kubernetes knows accelerators by their "
                "resource.",
                "Write --gpu nvidia.com/gpu:1, and --node-selector LABEL=VALUE for nodes of one kind.",
            )


def features(ir: IR) -> Iterator[tuple[str, str]]:
    """What each step asks of its machine: step, and a key of `FEATURES`."""
    for name, component in ir.spec["components"].items():
        step = name.removeprefix("comp-")
        label = component.get("executorLabel", "")
        pod = ir.pod(label)
        for feature, value in {**pod, **pod.get("podMetadata", {})}.items():
            if feature in FEATURES and value:
                yield step, feature
        resources = ir.executor(component).get("container", {}).get("resources", {})
        yield from ((step, feature) for feature in _resources(resources))
    for component in (ir.spec["root"], *ir.spec["components"].values()):
        for key, task in component.get("dag", {}).get("tasks", {}).items():
            if task.get("retryPolicy"):
                yield key, "retry"


def _resources(resources: Mapping[str, Json]) -> Iterator[str]:
    for feature in ("cpu", "memory"):
        title = feature.capitalize()
        if any(resources.get(key) for key in (f"{feature}Limit", f"resource{title}Limit", f"resource{title}Request")):
            yield feature
    if any(resources.get("accelerator", {}).values()):
        yield "accelerator"
