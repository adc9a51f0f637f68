"""Vertex AI Pipelines as a backend."""

from __future__ import annotations

from kfp_magics.backends.vertex.backend import VertexBackend

__all__ = ["VertexBackend"]
