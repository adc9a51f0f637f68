"""Groups of options that several magics take."""

from __future__ import annotations

from argparse import BooleanOptionalAction
from collections.abc import Callable
from typing import Any

from IPython.core.magic_arguments import argument

from kfp_magics.delivery.auth.words import AUTH
from kfp_magics.delivery.cloud.options import CREATE, SHARED, TEST
from kfp_magics.options import BUILDERS, CONNECT, PLATFORMS, SCHEDULE

Decorator = Callable[[Any], Any]

_POD: tuple[Decorator, ...] = (
    argument("--cpu", default="", help="Cores: 500m, 2."),
    argument("--memory", default="", help="Memory: 512M, 2Gi."),
    argument("--gpu", default="", help="Accelerators: [TYPE:]N."),
    argument("--env", action="append", default=[], metavar="K=V", help="Environment variable; never a secret."),
    argument("--secret", action="append", default=[], metavar="NAME:KEY=ENV", help="Secret as a variable."),
    argument("--secret-volume", action="append", default=[], metavar="NAME=PATH", help="Secret as files."),
    argument("--pvc", action="append", default=[], metavar="NAME=PATH", help="Persistent volume claim."),
    argument("--retries", type=int, default=0, help="How often a failed attempt is repeated."),
    argument("--timeout", default="", help="Longest time of an attempt: 90s, 1h."),
    argument("--no-cache", action="store_true", help="Never reuse an earlier result."),
    argument("--label", action="append", default=[], metavar="K=V", help="Pod label."),
    argument("--node-selector", action="append", default=[], metavar="K=V", help="Node label that the pod wants."),
    argument("--toleration", action="append", default=[], metavar="K=V:EFFECT", help="Taint that the pod accepts."),
    argument("--config-map", action="append", default=[], metavar="NAME:KEY=ENV", help="Config map as a variable."),
    argument("--config-map-volume", action="append", default=[], metavar="NAME=PATH", help="Config map as files."),
    argument(
        "--ephemeral-volume",
        action="append",
        default=[],
        metavar="NAME=PATH:SIZE",
        help="Volume that lives as long as the pod: scratch=/data:10Gi.",
    ),
    argument("--image-pull-secret", action="append", default=[], metavar="NAME", help="Secret that pulls the image."),
    argument("--annotation", action="append", default=[], metavar="K=V", help="Pod annotation."),
)

_START: tuple[Decorator, ...] = (
    argument("--backend", default="", help="Where it runs; the setting 'backend' when left out."),
    argument("--name", default="", help="Display name of the run."),
    argument("--experiment", default="", help="KFP experiment."),
    argument("--no-cache", action="store_true", help="Run every task again, whatever ran before."),
    argument(
        "--executor",
        default="",
        choices=["process", "container"],
        help="On this machine: each task in a process, or in a container of its image; the setting when left out.",
    ),
    argument(
        "--build",
        action=BooleanOptionalAction,
        default=None,
        help="Run steps in images, built first where they are missing; by default where tasks run in containers and "
        "the setting 'registry' says where images go.",
    ),
    argument("--wait", action="store_true", help="Wait until the run has ended, and fail when it fails."),
)

_PART: tuple[Decorator, ...] = (
    argument("--from", dest="start_from", default="", metavar="STEP", help="Run this step and what comes after it."),
    argument(
        "--reuse",
        default="",
        metavar="RUN",
        help="Earlier run that the results of the other steps are taken from; the last good one when left out.",
    ),
    argument("--only-changed", action="store_true", help="Run only what changed since that run, and what comes after."),
    argument("--dry-run", action="store_true", help="Say what would run and why, and start nothing."),
)


_BUILD: tuple[Decorator, ...] = (
    argument("--builder", default="", choices=BUILDERS, metavar="NAME", help=f"One of {', '.join(BUILDERS)}."),
    argument("--registry", default="", help="Where images go: HOST/PATH, or oci:FOLDER; else the setting 'registry'."),
    argument("--platform", default="", choices=PLATFORMS, metavar="OS/ARCH", help="linux/amd64 or linux/arm64."),
    argument("--python", default="", help="Python version of a base image that does not say it: 3.11."),
    argument("--upgrade", action="store_true", help="Look anew for the newest base images and requirements."),
    argument("--force", action="store_true", help="Carry out Dockerfiles again, also when nothing changed."),
)

_AUTH: tuple[Decorator, ...] = tuple(argument(name, **options) for name, options in AUTH)


def _group(members: tuple[Decorator, ...]) -> Decorator:
    def decorate(function: Any) -> Any:  # noqa: ANN401  (what IPython's decorators pass on)
        for member in reversed(members):
            function = member(function)
        return function

    return decorate


pod_arguments = _group(_POD)
"""What a step asks of the machine that runs it."""

start_arguments = _group(_START)
"""How a run is started."""

part_arguments = _group(_PART)
"""Which part of a pipeline runs."""

build_arguments = _group(_BUILD)
"""How images are built."""

connect_arguments = _group(tuple(argument(name, **options) for name, options in CONNECT))
"""How a server is reached."""
auth_arguments = _group(_AUTH)
"""Who may do what on Google Cloud."""
schedule_arguments = _group(tuple(argument(name, **how) for name, how in SCHEDULE))
"""When a pipeline runs again."""

cloud_arguments = _group(
    (
        *(argument(word, **how) for word, how in (*CREATE, *TEST, *SHARED)),
        argument("--cloud", action="store_true", help="list, logs, delete: of functions in the cloud."),
    )
)
"""How functions in the cloud are asked for."""
