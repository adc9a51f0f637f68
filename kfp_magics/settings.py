"""One class of settings, the same in the kernel, the server and the command line.

A setting comes from, first wins: an argument, an environment variable ``KFP_MAGICS_<NAME>``, the table
``[tool.kfp-magics]`` of the nearest ``pyproject.toml`` above the working directory, the default.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from traitlets import Bool, Enum, Float, HasTraits, Int, TraitError, Unicode

from kfp_magics.errors import DefinitionError, StoreError, did_you_mean
from kfp_magics.options import BUILDERS, PLATFORMS


def _default_parallelism() -> int:
    return max(8, 2 * (os.cpu_count() or 1))


class Settings(HasTraits):
    """What can be set once for everything.

    Args:
        **values: Settings that win over every other source.

    Raises:
        DefinitionError: A setting is unknown or has a value of the wrong type.
    """

    home = Unicode(help="Folder of runs, environments and cached results.").tag(config=True)
    backend = Unicode("local", help="Where runs go unless --backend says otherwise.").tag(config=True)
    connection = Unicode(
        "", help="Which server runs go to: a name that %kfp_connect made known; the one used last when empty."
    ).tag(config=True)
    gcp_secret = Unicode(
        "", help="Secret with a service account's key that steps on Kubernetes get; %kfp_setup_auth --secret makes it."
    ).tag(config=True)
    server_timeout = Float(30.0, min=0.1, help="Seconds that one answer of a pipeline server may take.").tag(
        config=True
    )
    server_patience = Float(
        60.0, min=0.0, help="Seconds for which what a pipeline server fails to answer is tried again."
    ).tag(config=True)
    base_image = Unicode("python:3.11-slim", help="Image of steps that name none.").tag(config=True)
    parallelism = Int(help="Tasks that run at once on this machine.").tag(config=True)
    task_start = Enum(
        ["auto", "fork", "spawn"],
        "auto",
        help="How the local engine starts a Python task: 'fork' from a warm server, 'spawn' a fresh interpreter, "
        "'auto' forks where that is safe (Linux).",
    ).tag(config=True)
    executor = Enum(
        ["process", "container"],
        "process",
        help="What carries out tasks on this machine: a 'process' in an environment of its own, or a 'container' of "
        "the step's image.",
    ).tag(config=True)
    container_engine = Enum(
        ["auto", "podman", "docker"], "auto", help="What runs containers; 'auto' takes the first that works."
    ).tag(config=True)
    grace = Float(5.0, min=0.0, help="Seconds between the polite and the hard end of a task.").tag(config=True)
    disk_quota = Int(0, min=0, help="Bytes that one task may write to its folder; 0 for no limit.").tag(config=True)
    offline = Bool(default_value=False, help="Make environments from uv's cache only.").tag(config=True)
    google_project = Unicode(help="Google Cloud project; that of the credentials when empty.").tag(config=True)
    google_region = Unicode("global", help="Where Google's services work for us, or 'global'.").tag(config=True)
    cloudbuild_bucket = Unicode(help="Bucket for sources; Cloud Build's usual one when empty.").tag(config=True)
    cloudbuild_endpoint = Unicode(help="Address of another Cloud Build; Google's when empty.").tag(config=True)
    cloudbuild_service_account = Unicode(help="Account whose rights a build has.").tag(config=True)
    cloudbuild_machine_type = Unicode(help="Machine that builds, e.g. E2_HIGHCPU_8.").tag(config=True)
    cloudbuild_worker_pool = Unicode(help="Full name of a private pool that builds.").tag(config=True)
    cloudbuild_timeout = Int(0, min=0, help="Seconds that a build may take; Google's limit when 0.").tag(config=True)
    delivery_endpoint = Unicode(
        help="Address of other Cloud Functions, Cloud Run, Eventarc and Cloud Logging; Google's when empty."
    ).tag(config=True)
    poll_interval = Float(0.2, min=0.05, help="Seconds between looks at the store for the live view.").tag(config=True)
    registry = Unicode(
        "", help="Where images go: HOST/PATH of a registry, or oci:FOLDER for a folder of this machine."
    ).tag(config=True)
    builder = Enum(
        BUILDERS,
        "auto",
        help="What builds images; 'auto' appends layers, and takes an engine or Cloud Build for Dockerfiles.",
    ).tag(config=True)
    platform = Enum(PLATFORMS, "linux/amd64", help="What images run on.").tag(config=True)
    python = Unicode("", help="Python version of base images that do not say it themselves: 3.11.").tag(config=True)
    compression = Enum(["gzip", "zstd"], "gzip", help="How the builder 'append' packs layers.").tag(config=True)
    bytecode = Enum(
        ["small", "all", "none"],
        "small",
        help="Which packages the builder 'append' compiles: with 'all', the first build of each large one takes "
        "seconds longer and every start of its steps a second less.",
    ).tag(config=True)
    registry_plain_http = Unicode(
        "", help="Registries besides this machine's that speak HTTP without TLS: hosts, separated by commas."
    ).tag(config=True)
    registry_ca_file = Unicode("", help="File of certificates (PEM) that registries' own are signed with.").tag(
        config=True
    )
    registry_secrets = Unicode(
        "", help="Pull secret with logins for registries: its file, or the folder where it is mounted."
    ).tag(config=True)

    def __init__(self, **values: Any) -> None:  # noqa: ANN401  (traits check them)
        super().__init__()
        self.read_again()
        for name, value in values.items():
            self._put(name, value, "the arguments")

    def read_again(self) -> None:
        """Takes what the environment and the nearest ``pyproject.toml`` say now; the rest stays as it is."""
        for source, found in (("pyproject.toml", _from_project()), ("the environment", _from_environment(self))):
            for name, value in found.items():
                self._put(name, value, source)

    def _put(self, name: str, value: Any, source: str) -> None:  # noqa: ANN401  (traits check it)
        if not self.has_trait(name):
            raise DefinitionError(f"There is no setting {name!r} (from {source}).", did_you_mean(name, self.traits()))
        try:
            if isinstance(value, str):
                value = self.traits()[name].from_string(value)
            setattr(self, name, value)
        except (TraitError, ValueError) as error:
            wanted = self.traits()[name].info()
            raise DefinitionError(
                f"The setting {name!r} (from {source}) cannot be {value!r}.", f"It wants {wanted}."
            ) from error

    def _home_default(self) -> str:
        import platformdirs  # noqa: PLC0415  (only where nobody says it)

        return platformdirs.user_data_dir("kfp-magics", appauthor=False)

    def _parallelism_default(self) -> int:
        return _default_parallelism()

    @property
    def home_path(self) -> Path:
        """The home folder, made private to the user when it does not exist yet.

        Raises:
            StoreError: It cannot be made.
        """
        path = Path(self.home).expanduser()
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StoreError(
                f"The folder {str(path)!r} for runs cannot be made: {error.strerror}.",
                "Set KFP_MAGICS_HOME to a folder that you can write to.",
            ) from error
        return path

    @property
    def store_path(self) -> Path:
        """The SQLite file of runs and tasks; the store makes it, and its folder."""
        return Path(self.home).expanduser() / "runs.sqlite"


def _from_environment(settings: Settings) -> dict[str, str]:
    named = {name: f"KFP_MAGICS_{name.upper()}" for name in settings.traits()}
    return {name: os.environ[variable] for name, variable in named.items() if variable in os.environ}


def _from_project() -> dict[str, Any]:
    here = Path.cwd()
    for folder in (here, *here.parents):
        path = folder / "pyproject.toml"
        if not path.is_file():
            continue
        try:
            tools = tomllib.loads(path.read_text(encoding="utf-8")).get("tool")
        except (OSError, tomllib.TOMLDecodeError):
            return {}
        table = tools.get("kfp-magics", {}) if isinstance(tools, dict) else {}
        if not isinstance(table, dict):
            raise DefinitionError(f"'kfp-magics' in {path} is no table.", "Write [tool.kfp-magics] above the settings.")
        return {name.replace("-", "_"): value for name, value in table.items()}
    return {}
