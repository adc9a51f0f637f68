"""What the platform part of the IR says about a step's pod, as far as a machine without pods can honour it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from kfp_magics.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kfp_magics.model import Json

_CLAIM = "persistent volume claim"


def timeout(pod: Mapping[str, Json]) -> float | None:
    """Seconds after which an attempt is ended; None for never."""
    return float(pod.get("activeDeadlineSeconds", 0)) or None


def environment(pod: Mapping[str, Json], secrets: Path, step: str) -> dict[str, str]:
    """The variables that a step takes from secrets and config maps.

    A value is looked for in the file ``<secrets>/<secret>/<key>``, then in a variable of the same name here.

    Args:
        pod: KubernetesExecutorConfig as JSON.
        secrets: Folder of secrets on this machine.
        step: Its name, for messages.

    Raises:
        BackendError: One that is not optional is in neither place; the value itself is never shown.
    """
    found: dict[str, str] = {}
    for kind, source, key, variable in _wanted(pod):
        value = _read(secrets / source["name"] / key)
        if value is None:
            value = os.environ.get(variable)
        if value is not None:
            found[variable] = value
        elif not source["optional"]:
            raise BackendError(
                f"The step {step!r} takes ${variable} from {kind} {source['name']!r}, key {key!r}; it is not here.",
                f"Write it to {secrets / source['name'] / key}, or set {variable} before the notebook starts.",
            )
    return found


def missing_mount(pod: Mapping[str, Json]) -> str:
    """Names the first volume whose path does not exist on this machine, or nothing."""
    for kind, one in _volumes(pod):
        path = one.get("mountPath", "")
        if path and not one.get("optional") and not Path(path).exists():
            return f"the {kind} {_name(one)!r} at {path}"
    return ""


def mounts(pod: Mapping[str, Json]) -> dict[str, bool]:
    """The paths of this machine that stand for the step's volumes → whether the step may write there."""
    paths = ((one.get("mountPath", ""), kind == _CLAIM) for kind, one in _volumes(pod))
    return {path: writable for path, writable in paths if path and Path(path).exists()}


def _volumes(pod: Mapping[str, Json]) -> Iterator[tuple[str, Mapping[str, Json]]]:
    for field, kind in (("secretAsVolume", "secret"), ("configMapAsVolume", "config map"), ("pvcMount", _CLAIM)):
        for one in pod.get(field, ()):
            yield kind, one


def _wanted(pod: Mapping[str, Json]) -> Iterator[tuple[str, dict[str, Json], str, str]]:
    for field, kind, key_field in (
        ("secretAsEnv", "secret", "secretKey"),
        ("configMapAsEnv", "config map", "configMapKey"),
    ):
        for one in pod.get(field, ()):
            source = {"name": _name(one), "optional": bool(one.get("optional"))}
            for pair in one.get("keyToEnv", ()):
                yield kind, source, pair[key_field], pair["envVar"]


def _name(one: Mapping[str, Json]) -> str:
    for field in ("secretName", "configMapName", "constant", "pvcName"):
        if isinstance(one.get(field), str):
            name: str = one[field]
            return name
    for value in one.values():
        if isinstance(value, dict) and "constant" in value.get("runtimeValue", {}):
            return str(value["runtimeValue"]["constant"])
    return "of another task"


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").removesuffix("\n")
    except OSError:
        return None
