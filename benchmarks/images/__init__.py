"""Images beside what engines and KFP's own command make of the same step."""

from __future__ import annotations

from benchmarks.images import builds, latency, many

TITLE = "Images, beside buildah, podman and kfp component build"
ABOUT = """
One step with pandas and scikit-learn, its requirements locked, its base image and its registry on this machine; every
figure ends when the image is in the registry. The engines build the same files from the quickest Dockerfile we could
write: requirements before the code, installed by uv from a cache mount that is warm, their layers cached, the base
image already here. "Never built" is a machine that has neither layers nor images: buildah has its cache in the
registry then (`--cache-from`). `kfp component build` is the real command on podman's Docker socket; about a second of
each of its figures is its own start, where ours is a call in a running kernel. Each first build of ours goes to an
empty repository with an empty layer cache and uv's cache warm.
"""
BENCHMARKS = (builds.measure, latency.measure, many.measure)
