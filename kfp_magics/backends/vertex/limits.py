"""What Vertex AI cannot do of what a step asks for, looked at before anything starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.cloud import aiplatform_v1 as vertex

from kfp_magics.backends.abilities import IGNORED, accelerator_of
from kfp_magics.errors import BackendError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kfp_magics.ir import IR
    from kfp_magics.model import Json

CANNOT = {
    "secretAsEnv": ("a secret of Kubernetes", "Read it from Secret Manager in the step."),
    "secretAsVolume": ("a secret of Kubernetes as a volume", "Read it from Secret Manager in the step."),
    "configMapAsEnv": ("a config map", "Give its values with --env."),
    "configMapAsVolume": ("a config map as a volume", "Give its values with --env."),
    "fieldPathAsEnv": ("a field of its pod", "Leave it out."),
    "pvcMount": ("a persistent volume claim", "Put the files into a bucket: /gcs/BUCKET/… is mounted in each step."),
    "genericEphemeralVolume": ("an ephemeral volume", "Write to /tmp, or to a bucket under /gcs/BUCKET/…"),
    "emptyDirMounts": ("an empty volume", "Write to /tmp, or to a bucket under /gcs/BUCKET/…"),
    "imagePullSecret": ("a pull secret", "Put the image into Artifact Registry, where its service account may read."),
}
"""What a step cannot do without, by the key of the platform part."""
_ACCELERATORS = tuple(one.name for one in vertex.AcceleratorType if one)
_FAMILIES = ("NVIDIA_", "TPU_")
_GIVEN_LATER = "{{"  # as a parameter of the pipeline


def check(ir: IR) -> None:
    """Looks whether Vertex AI can give each step what it asks for.

    Raises:
        BackendError: It cannot; says which step, and what.
    """
    for step, label, executor in _steps(ir):
        for key in ir.pod(label):
            if key in IGNORED["vertex"] or key == "podMetadata":  # of labels and annotations
                continue
            what, hint = CANNOT.get(key, (f"{key!r} of Kubernetes", "Leave it out, or run on a cluster."))
            raise BackendError(f"The step {step!r} wants {what}, which Vertex AI does not have.", hint)
        kind = accelerator_of(executor)
        if kind and not kind.startswith((*_FAMILIES, _GIVEN_LATER)):
            raise BackendError(
                f"The step {step!r} wants {kind!r}, and Vertex AI knows accelerators by their type.",
                did_you_mean(kind.upper().replace("-", "_"), _ACCELERATORS, "Write --gpu NVIDIA_TESLA_T4:1"),
            )


def _steps(ir: IR) -> Iterator[tuple[str, str, Mapping[str, Json]]]:
    for name, component in ir.spec["components"].items():
        if label := component.get("executorLabel"):
            yield name.removeprefix("comp-"), label, ir.executor(component)
