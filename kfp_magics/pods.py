"""What a step asks of the machine that runs it, in values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

CREDENTIALS = "GOOGLE_APPLICATION_CREDENTIALS"
"""The variable by which Google's clients find a service account's key."""
GCP_MOUNT = "/secret/gcp"
"""Where such a key is mounted in steps."""


def gcp_key_file(secret: str) -> str:
    """Name of the file with the key, in a secret and where it is mounted."""
    return f"{secret}.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Toleration:
    """A node taint that the step's pod accepts, in Kubernetes' words."""

    key: str = ""
    operator: Literal["Equal", "Exists"] = "Equal"
    value: str = ""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class PodOptions:
    """What a step asks of the machine that runs it.

    Attributes:
        cpu: Cores as Kubernetes writes them (``"500m"``, ``"2"``), or empty.
        memory: Bytes as Kubernetes writes them (``"512M"``, ``"2Gi"``), or empty.
        gpu: Number of accelerators; 0 for none.
        gpu_type: Resource name or accelerator type, e.g. ``"nvidia.com/gpu"``.
        env: Variable name → value, never a secret.
        secrets: Variable name → (secret, key).
        secret_volumes: Mount path → secret.
        pvcs: Mount path → persistent volume claim.
        retries: How often a failed attempt is repeated.
        timeout: Seconds after which an attempt is ended; 0 for never.
        cache: Whether the result of the same component with the same inputs may be reused.
        labels: Pod label → value.
        node_selector: Node label → value.
        tolerations: Taints that the pod accepts.
        config_maps: Variable name → (config map, key).
        config_map_volumes: Mount path → config map.
        ephemeral_volumes: Mount path → (name, size) of a volume that lives as long as the pod.
        image_pull_secrets: Secrets with which the image is pulled.
        annotations: Pod annotation → value.
    """

    cpu: str = ""
    memory: str = ""
    gpu: int = 0
    gpu_type: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    secret_volumes: Mapping[str, str] = field(default_factory=dict)
    pvcs: Mapping[str, str] = field(default_factory=dict)
    retries: int = 0
    timeout: float = 0.0
    cache: bool = True
    labels: Mapping[str, str] = field(default_factory=dict)
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    config_maps: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    config_map_volumes: Mapping[str, str] = field(default_factory=dict)
    ephemeral_volumes: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    image_pull_secrets: tuple[str, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)
