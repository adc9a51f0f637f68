"""The core beside kfp.local, KFP's own way to run pipelines without a cluster."""

from __future__ import annotations

from benchmarks.core import first_task, hand_back, large, loading, parallel, per_task

TITLE = "The core, beside kfp.local"
ABOUT = """
Both run the same compiled steps: `kfp.local` with its SubprocessRunner, kfp-magics with its embedded engine. "As users
meet it" is kfp.local without a virtual environment and with KFP's defaults, where each task first asks pip whether KFP
is there; "bare" is the same with `install_kfp_package=False`. A task's overhead is what one more empty task of a chain
costs. Times include everything from the call to the result in hand.
"""
BENCHMARKS = (
    per_task.measure,
    first_task.measure,
    parallel.measure,
    large.measure,
    loading.measure,
    hand_back.measure,
)
