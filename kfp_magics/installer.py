"""uv, which makes environments, locks requirements and installs wheels."""

from __future__ import annotations


def uv(*words: str) -> list[str]:
    """Writes a command line of uv whose answers are plain text; a kernel asks all its children for colours.

    Args:
        words: The command and its options.
    """
    from uv import find_uv_bin  # noqa: PLC0415  (only when something is installed)

    return [find_uv_bin(), "--color", "never", *words]
