"""How runs are started and images are built, as whoever asks says it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kfp_magics.settings import Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """How a run is started.

    Attributes:
        backend: Where; the setting ``backend`` when empty.
        name: Display name; made from the pipeline and the time when empty.
        experiment: KFP experiment.
        cache: False runs every task again.
        executor: On this machine, ``process`` or ``container``; the setting ``executor`` when empty.
        build: Whether steps run in images that are built first; None means where tasks run in containers and the
            setting ``registry`` says where images go.
        start_from: Step from which on the pipeline runs; what is before it comes from an earlier run.
        reuse: That earlier run; the last one of the whole pipeline that succeeded when empty.
        only_changed: Only what changed since that earlier run runs, and what comes after it.
        started_by: ``notebook``, ``cli``, ``schedule`` or ``trigger: …``.
    """

    backend: str = ""
    name: str = ""
    experiment: str = ""
    cache: bool = True
    executor: str = ""
    build: bool | None = None
    start_from: str = ""
    reuse: str = ""
    only_changed: bool = False
    started_by: str = "notebook"


@dataclass(frozen=True, kw_only=True, slots=True)
class PartOptions:
    """Which part of a pipeline is a pipeline of its own.

    Attributes:
        of: The whole pipeline.
        start: The steps that the part starts with.
        reuse: Run that the results of the steps before them come from; when empty, whoever starts it gives them.
        give: What is given all the same.
        name: KFP name; the Python name's when empty.
    """

    of: str
    start: tuple[str, ...]
    reuse: str = ""
    give: tuple[str, ...] = ()
    name: str = ""


BUILDERS = ("auto", "append", "docker", "podman", "buildah", "cloudbuild")
"""What builds images."""

PLATFORMS = ("linux/amd64", "linux/arm64")
"""What images run on."""

FOLDERS = ("oci:", "docker-archive:")
"""How destinations start that are no registry."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildOptions:
    """How images are built; what is empty comes from the settings.

    Attributes:
        builder: Which builder.
        registry: Where they go.
        platform: What they run on.
        python: Version of the base image's interpreter, where the image does not say it.
        upgrade: Look anew for what base images and requirements are now.
        force: Carry out Dockerfiles again, also when nothing changed; appended images would be the same.
        started_by: ``notebook`` or ``cli``.
    """

    builder: str = ""
    registry: str = ""
    platform: str = ""
    python: str = ""
    upgrade: bool = False
    force: bool = False
    started_by: str = "notebook"

    def complete(self, settings: Settings) -> BuildOptions:
        """The same with the settings' words where nothing else was said."""
        return replace(
            self,
            builder=self.builder or settings.builder,
            registry=_destination(self.registry or settings.registry),
            platform=self.platform or settings.platform,
            python=self.python or settings.python,
        )


def _destination(text: str) -> str:
    """Folders are named whole, so that they are the same wherever one stands."""
    kind, colon, path = text.partition(":")
    if f"{kind}{colon}" in FOLDERS:
        return f"{kind}:{Path(path).expanduser().absolute()}"
    return text.rstrip("/")


def default_bucket(project: str, region: str) -> str:
    """The bucket that Google's own tools use for the sources of a project."""
    name = project.replace(":", "_").replace(".", "_").replace("google", "elgoog")
    return f"{name}_cloudbuild" if region == "global" else f"{name}_{region}_cloudbuild"


def in_a_shell(how: dict[str, Any]) -> dict[str, Any]:
    """An option as argparse takes it for the command line: its help begins small and has no full stop."""
    text: str = how["help"]
    first = text if text[:2].isupper() else text[0].lower() + text[1:]
    return {**how, "help": first.rstrip(".")}


_CONNECT: tuple[tuple[str, str, str], ...] = (
    ("--name", "NAME", "Name of the connection; the host when left out."),
    ("--namespace", "NAME", "Kubernetes namespace (profile) of your runs."),
    ("--pipeline-root", "PLACE", "Where artifacts go: gs://… or s3://…; else the server's place."),
    ("--service-account", "ACCOUNT", "Account that the steps have."),
    ("--network", "NETWORK", "Network that the steps are in (Vertex AI)."),
    ("--gcp-secret", "NAME", "Secret with a Google key for all steps (Kubernetes)."),
    ("--token-env", "NAME", "Variable with a bearer token."),
    ("--token-file", "PATH", "File with a bearer token; read anew when it changes."),
    ("--dex-user-env", "NAME", "Variable with the name for Dex."),
    ("--dex-password-env", "NAME", "Variable with the password for Dex."),
    ("--cookie-file", "PATH", "File with the cookies of a browser's session."),
    ("--iap-client-id", "ID", "OAuth client of Google's Identity-Aware Proxy."),
    ("--ca-file", "PATH", "Certificates (PEM) that the server's is signed with."),
    ("--endpoint", "URL", "Another address of Vertex AI."),
)
_SWITCHES = (
    ("--service-account-token", "The token that Kubernetes mounts into this pod."),
    ("--google", "A token of Google's credentials on this machine."),
    ("--forget", "Drop the connection of this name."),
)
CONNECT: tuple[tuple[str, dict[str, Any]], ...] = (
    (
        "where",
        {"nargs": "?", "default": "", "help": "local, https://host[/pipeline], vertex:project/region, or a name."},
    ),
    *((name, {"default": "", "metavar": what, "help": text}) for name, what, text in _CONNECT),
    ("--label", {"action": "append", "metavar": "KEY=VALUE", "help": "Label of all runs there (Vertex AI)."}),
    *((name, {"action": "store_true", "help": text}) for name, text in _SWITCHES),
)
"""How a server is reached, as argparse takes it: names of variables and files, never what is in them."""

SCHEDULE_VERBS = ("create", "list", "enable", "disable", "delete")
"""What can be done to schedules."""

SCHEDULE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("--name", {"default": "", "help": "create: name of the schedule; the pipeline's when left out."}),
    ("--cron", {"default": "", "help": "create: when, as 'minute hour day month weekday'."}),
    ("--every", {"default": "", "help": "create: how often: 15m, 1h, 7d."}),
    ("--experiment", {"default": "", "help": "create: experiment of its runs."}),
    ("--at-once", {"type": int, "default": 1, "help": "create: most runs that go on at once."}),
    ("--catch-up", {"action": "store_true", "help": "create: make up for runs that were missed."}),
    ("--disabled", {"action": "store_true", "help": "create: let it rest until it is enabled."}),
    ("--replace", {"action": "store_true", "help": "create: in the place of one of the same name."}),
)
"""Options of ``%kfp_schedule``."""
