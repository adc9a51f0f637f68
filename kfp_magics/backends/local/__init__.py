"""The embedded engine: runs compiled pipelines on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kfp_magics.backends.local.backend import LocalBackend as LocalBackend
    from kfp_magics.backends.local.request import Request
    from kfp_magics.model import Run
    from kfp_magics.settings import Settings

__all__ = ["LocalBackend", "request_of"]


def __getattr__(name: str) -> object:
    if name == "LocalBackend":  # a fork server must not pay for what only a kernel needs
        from kfp_magics.backends.local.backend import LocalBackend  # noqa: PLC0415

        return LocalBackend
    raise AttributeError(f"module 'kfp_magics.backends.local' has no attribute {name!r}")


def request_of(settings: Settings, run: Run) -> Request:
    """What a run was asked to do: its compiled pipeline, arguments and options.

    Raises:
        NotFoundError: The folder of the run is gone.
    """
    from kfp_magics.backends.local.request import folder_of, read  # noqa: PLC0415  (as above)

    return read(folder_of(settings, run.id))
