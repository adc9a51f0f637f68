"""A service account's key in all steps: mounted from a secret of the cluster, and named where Google's clients look."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import yaml

from kfp_magics.ir import IR
from kfp_magics.pods import CREDENTIALS, GCP_MOUNT, gcp_key_file

if TYPE_CHECKING:
    from kfp_magics.model import Json


def with_key(ir: IR, secret: str) -> IR:
    """Mounts a secret in all steps that run in containers.

    A step that has credentials of its own, or something else at that place, stays as it is.

    Args:
        ir: The compiled pipeline.
        secret: Name of the secret; without one nothing changes.
    """
    if not secret:
        return ir
    spec: dict[str, Any] = json.loads(json.dumps(ir.spec))
    platform: dict[str, Any] = json.loads(json.dumps(ir.platform))
    pods = platform.setdefault("platforms", {}).setdefault("kubernetes", {}).setdefault("deploymentSpec", {})
    pods = pods.setdefault("executors", {})
    for label, executor in spec.get("deploymentSpec", {}).get("executors", {}).items():
        container = executor.get("container")
        if container is None or _has_its_own(container, pods.get(label, {})):
            continue
        container.setdefault("env", []).append({"name": CREDENTIALS, "value": f"{GCP_MOUNT}/{gcp_key_file(secret)}"})
        mount = {
            "mountPath": GCP_MOUNT,
            "optional": False,
            "secretName": secret,
            "secretNameParameter": {"runtimeValue": {"constant": secret}},
        }
        pods.setdefault(label, {}).setdefault("secretAsVolume", []).append(mount)
    return IR(text=yaml.safe_dump_all([spec, platform], sort_keys=True), spec=spec, platform=platform)


def _has_its_own(container: dict[str, Json], pod: dict[str, Json]) -> bool:
    names = {one.get("name") for one in container.get("env", ())}
    for field in ("secretAsEnv", "configMapAsEnv"):
        names |= {pair.get("envVar") for one in pod.get(field, ()) for pair in one.get("keyToEnv", ())}
    volumes = [one for field in ("secretAsVolume", "configMapAsVolume", "pvcMount") for one in pod.get(field, ())]
    return CREDENTIALS in names or any(one.get("mountPath", "").rstrip("/") == GCP_MOUNT for one in volumes)
