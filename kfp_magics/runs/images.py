"""What is remembered of an image that was built."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class BuiltImage:
    """An image that was built for a step.

    Attributes:
        place: Where images go, and the image's name there: ``127.0.0.1:5000/team/train``, ``oci:/images/train``.
        repository: What refers to it: registry host and path, or the folder.
        tag: What `ImageSpec.tag` said of its content.
        digest: ``sha256:…``
        component: The step.
        below: Hash of everything below the code: base image, requirements, interpreter, platform.
        builder: Who built it.
        created: Seconds since the epoch.
        run_id: The build.
    """

    place: str
    repository: str
    tag: str
    digest: str
    component: str = ""
    below: str = ""
    builder: str = ""
    created: float = 0.0
    run_id: str = ""
