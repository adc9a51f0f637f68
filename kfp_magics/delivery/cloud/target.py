"""Where a function in the cloud sends runs: what it is told of a server; names of secrets, never their values."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from kfp_magics import ir as irs
from kfp_magics.backends.connections import Connections
from kfp_magics.errors import DeliveryError, NotFoundError
from kfp_magics.images.wire import is_loopback

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kfp_magics.backends.connections import Connection
    from kfp_magics.model import Json, Pipeline
    from kfp_magics.options import RunOptions
    from kfp_magics.settings import Settings

CA_FILE = "ca.pem"
NOWHERE: Mapping[str, Json] = {"kind": "local"}
"""The target of a function that has no server yet."""
_OF_THIS_MACHINE = {
    "token_file": "--token-file names a file",
    "cookie_file": "--cookie-file names a file",
    "service_account_token": "--service-account-token is that of a pod",
    "dex_user_env": "Dex wants a person",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Where runs go.

    Attributes:
        facts: The content of ``target.json``, but for the claims.
        files: What stands beside it: name → content.
        token_env: Variable that the function reads a token from; empty when it needs none.
    """

    facts: Mapping[str, Json]
    files: Mapping[str, bytes] = field(default_factory=dict)
    token_env: str = ""

    @property
    def is_reachable(self) -> bool:
        """Whether a function in the cloud can reach it."""
        host = self.facts.get("host") or self.facts.get("endpoint") or ""
        return self.facts["kind"] != "local" and not is_loopback(urlsplit(host).hostname or "")


def target_of(settings: Settings, pipeline: Pipeline, options: RunOptions) -> Target:
    """Says where runs of new data go: to the server that runs go to now, or that the options name.

    Raises:
        DeliveryError: A function in the cloud could not log in there.
    """
    backend = options.backend or settings.backend
    if backend == "local":
        return Target(facts=NOWHERE)
    try:
        connection = Connections(settings.home_path).get(backend, settings.connection)
    except NotFoundError as error:
        raise DeliveryError(error.message, error.hint) from error
    return _vertex(connection, pipeline, options) if backend == "vertex" else _kfp(connection, options)


def _kfp(one: Connection, options: RunOptions) -> Target:
    for name, why in _OF_THIS_MACHINE.items():
        if getattr(one, name):
            raise DeliveryError(
                f"A function in the cloud cannot log in to {one.name} as you do: {why}.",
                "Connect with --token-env NAME, --google or --iap-client-id; --secret NAME=SECRET gives it the token.",
            )
    behind_google = one.google or (urlsplit(one.host).hostname or "").endswith(".googleusercontent.com")
    facts: dict[str, Json] = {
        "kind": "kfp",
        "host": one.host,
        "namespace": one.namespace,
        "experiment": options.experiment,
        "pipeline_root": one.pipeline_root,
        "service_account": one.service_account,
        "token_env": one.token_env,
        "iap_client_id": one.iap_client_id,
        "google": behind_google,
        "ca_file": CA_FILE if one.ca_file else "",
    }
    files = {CA_FILE: Path(one.ca_file).expanduser().read_bytes()} if one.ca_file else {}
    return Target(facts=_given(facts), files=files, token_env=one.token_env)


def _vertex(one: Connection, pipeline: Pipeline, options: RunOptions) -> Target:
    from kfp_magics.backends.vertex import limits, runs  # noqa: PLC0415  (imports Google's clients)

    compiled = irs.parse(pipeline.ir)
    limits.check(compiled)
    facts: dict[str, Json] = {
        "kind": "vertex",
        "project": one.project,
        "region": one.region,
        "pipeline_root": runs.pipeline_root(compiled, one),
        "service_account": one.service_account,
        "network": one.network,
        "endpoint": one.endpoint,
        "experiment": runs.label(options.experiment),
    }
    return Target(facts=_given(facts))


def _given(facts: Mapping[str, Json]) -> dict[str, Json]:
    return {key: value for key, value in facts.items() if value}
