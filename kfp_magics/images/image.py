"""An image as a value: its configuration and its layers, and what another layer makes of them."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kfp_magics.images.manifests import DOCKER_LAYER, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Descriptor
from kfp_magics.images.references import digest_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kfp_magics.images.layers import Layer

_OLD_ENOUGH = "1970-01-01T00:00:00Z"  # the same content is the same image, whenever it is built


@dataclass(frozen=True, slots=True)
class Image:
    """An image.

    Attributes:
        settings: Its configuration: platform, environment, entry point, what its layers are.
        layers: Base first.
    """

    settings: Mapping[str, Any]
    layers: tuple[Descriptor, ...]

    @classmethod
    def of(cls, settings: Mapping[str, Any], layers: Sequence[Descriptor]) -> Image:
        """Takes an image as a registry has it; docker's word for a layer becomes OCI's, the bytes are the same."""
        gzip = f"{OCI_LAYER}+gzip"
        plain = [
            Descriptor(
                media_type=gzip if one.media_type == DOCKER_LAYER else one.media_type, digest=one.digest, size=one.size
            )
            for one in layers
        ]
        return cls(settings, tuple(plain))

    @property
    def config(self) -> bytes:
        """The configuration as a blob."""
        return json.dumps(self.settings, sort_keys=True, separators=(",", ":")).encode()

    def manifest(self, base: str = "") -> bytes:
        """The manifest.

        Args:
            base: The pinned base image, for whoever asks an image what it stands on.
        """
        config = self.config
        value: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": digest_of(config), "size": len(config)},
            "layers": [layer.to_json() for layer in self.layers],
        }
        name, _, digest = base.partition("@")
        if digest:
            word = "org.opencontainers.image.base"
            value["annotations"] = {f"{word}.name": name, f"{word}.digest": digest}
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()

    def with_layers(self, layers: Sequence[Layer]) -> Image:
        """The image with some layers on top."""
        settings = copy.deepcopy(dict(self.settings))
        created = settings.setdefault("created", _OLD_ENOUGH)
        root = settings.setdefault("rootfs", {"type": "layers", "diff_ids": []})
        had = sum(not entry.get("empty_layer") for entry in settings.get("history") or [])
        root["diff_ids"] = [*root.get("diff_ids", []), *(layer.diff_id for layer in layers)]
        if had == len(self.layers):  # a history that does not match the layers is worse than none
            settings["history"] = [
                *(settings.get("history") or []),
                *({"created": created, "created_by": f"kfp-magics: {layer.what}"} for layer in layers),
            ]
        else:
            settings.pop("history", None)
        plain = [Descriptor(media_type=one.media_type, digest=one.digest, size=one.size) for one in layers]
        return Image(settings, (*self.layers, *plain))

    def with_runtime(self, env: Mapping[str, str], entrypoint: Sequence[str]) -> Image:
        """The image with other variables and another entry point.

        Args:
            env: Wins over what is there; a path for Python is put before the one that is there.
            entrypoint: What it runs; empty leaves what is there.
        """
        settings = copy.deepcopy(dict(self.settings))
        runtime = settings.get("config") or {}
        had = dict(str(entry).partition("=")[::2] for entry in runtime.get("Env") or [])
        new = dict(env)
        if had.get("PYTHONPATH") and new.get("PYTHONPATH"):
            new["PYTHONPATH"] += f":{had['PYTHONPATH']}"
        if had | new:
            runtime["Env"] = [f"{name}={value}" for name, value in (had | new).items()]
        if entrypoint:
            runtime["Entrypoint"] = list(entrypoint)
            runtime.pop("Cmd", None)  # it was an argument of the other entry point
        settings["config"] = runtime
        return Image(settings, self.layers)

    @property
    def python(self) -> str:
        """Minor version of its Python, as official images tell it; empty when it does not."""
        runtime = self.settings.get("config") or {}
        had = dict(str(entry).partition("=")[::2] for entry in runtime.get("Env") or [])
        return ".".join(had.get("PYTHON_VERSION", "").split(".")[:2])
