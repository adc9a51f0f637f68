"""Images built by Google Cloud Build, for steps that need more than wheels and for people without an engine."""

from kfp_magics.images.cloudbuild.builder import CloudBuildBuilder

__all__ = ["CloudBuildBuilder"]
