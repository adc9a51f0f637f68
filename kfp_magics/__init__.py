"""Notebook cells as containerized Kubeflow Pipelines steps: author, run and watch them from Jupyter.

In a notebook, ``%load_ext kfp_magics`` brings the magics. Everything they do is also a method of
``kfp_magics.Session`` for scripts and tests.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from kfp_magics.errors import KfpMagicsError as KfpMagicsError
    from kfp_magics.model import Artifact as Artifact
    from kfp_magics.model import Component as Component
    from kfp_magics.model import Pipeline as Pipeline
    from kfp_magics.model import Port as Port
    from kfp_magics.model import Run as Run
    from kfp_magics.model import State as State
    from kfp_magics.model import Task as Task
    from kfp_magics.session import Session as Session
    from kfp_magics.settings import Settings as Settings

__version__ = "0.1.0"

_PUBLIC = {
    "Artifact": "model",
    "Component": "model",
    "KfpMagicsError": "errors",
    "Pipeline": "model",
    "Port": "model",
    "Run": "model",
    "Session": "session",
    "Settings": "settings",
    "State": "model",
    "Task": "model",
}
__all__ = ["__version__", "load_ipython_extension", *_PUBLIC]  # noqa: PLE0604  (all are strings)


def __getattr__(name: str) -> object:
    if name in _PUBLIC:
        return getattr(import_module(f"kfp_magics.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module 'kfp_magics' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    """Tells JupyterLab where the built panel is."""
    return [{"src": "_labextension", "dest": "kfp-magics"}]


def _jupyter_server_extension_points() -> list[dict[str, object]]:
    """Tells Jupyter Server where the extension is."""
    from kfp_magics.server.app import KfpMagicsApp  # noqa: PLC0415  (jupyter_server only in a server)

    return [{"module": "kfp_magics.server.app", "app": KfpMagicsApp}]


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Registers the magics; called by ``%load_ext kfp_magics``."""
    from kfp_magics.magics import register  # noqa: PLC0415  (IPython only when a shell asks)

    register(shell)
