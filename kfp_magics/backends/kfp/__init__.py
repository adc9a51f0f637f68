"""A Kubeflow Pipelines server as a backend."""

from __future__ import annotations

from kfp_magics.backends.kfp.backend import KfpBackend

__all__ = ["KfpBackend"]
