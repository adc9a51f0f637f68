"""The backends by name, each made when it is first asked for: the same for kernel, server and command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from kfp_magics.errors import BackendError, did_you_mean

if TYPE_CHECKING:
    from kfp_magics.backends.base import Backend
    from kfp_magics.runs.store import Store
    from kfp_magics.settings import Settings


def _local(settings: Settings, store: Store) -> Backend:
    from kfp_magics.backends.local import LocalBackend  # noqa: PLC0415  (not needed to author)

    return LocalBackend(settings, store)


def _kfp(settings: Settings, store: Store) -> Backend:
    from kfp_magics.backends.kfp import KfpBackend  # noqa: PLC0415  (imports KFP's client)

    return KfpBackend(settings, store)


def _vertex(settings: Settings, store: Store) -> Backend:
    try:
        from kfp_magics.backends.vertex import VertexBackend  # noqa: PLC0415  (an extra, and slow to import)
    except ImportError as error:  # what is missing of a package that others of Google's are in is no missing module
        if not (error.name or "").startswith("google"):
            raise
        raise BackendError(
            "Vertex AI needs Google's clients, which are not installed.", "pip install 'kfp-magics[vertex]'"
        ) from error
    return VertexBackend(settings, store)


_MAKERS: dict[str, Callable[[Settings, Store], Backend]] = {"local": _local, "kfp": _kfp, "vertex": _vertex}


class Backends(Mapping[str, "Backend"]):
    """Name → backend.

    Args:
        settings: Where things are kept and how they run.
        store: Where runs are remembered.
    """

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._made: dict[str, Backend] = {}

    def __getitem__(self, name: str) -> Backend:
        """Gives a backend; the one of the settings for an empty name.

        Raises:
            BackendError: There is no such backend.
        """
        name = name or self._settings.backend
        if name not in _MAKERS:
            raise BackendError(f"There is no backend {name!r}.", did_you_mean(name, _MAKERS))
        if name not in self._made:
            self._made[name] = _MAKERS[name](self._settings, self._store)
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in _MAKERS

    def __iter__(self) -> Iterator[str]:
        return iter(_MAKERS)

    def __len__(self) -> int:
        return len(_MAKERS)
