"""Whether a server would run something, asked before anything is sent to it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from kfp_magics.addresses import is_loopback
from kfp_magics.backends.connections import Checked
from kfp_magics.backends.kfp.logins import claims_of
from kfp_magics.backends.kfp.natives import tells_all
from kfp_magics.errors import LoginError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kfp_magics.backends.connections import Connection
    from kfp_magics.backends.kfp.service import Service

_POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_CLAIMS = ("email", "preferred_username", "sub")


def check(connection: Connection, service_of: Callable[[Connection], Service]) -> Checked:
    """Asks a server who it is, and whether this login may see runs there; see `Checks.check`."""
    service = service_of(connection)
    health = service.health()
    many_users = bool(health.get("multi_user"))
    remarks = []
    if many_users and not connection.namespace:
        namespace = _namespace_of_the_pod()
        if not namespace:
            raise LoginError(
                f"{connection.host} serves many users and does not know in which namespace your runs belong.",
                f"%kfp_connect {connection.host} --namespace NAME … (your profile; Kubeflow's page shows it on top).",
            )
        connection = replace(connection, namespace=namespace)
        remarks.append(f"namespace {namespace!r} is that of this pod")
        service = service_of(connection)
    if connection.namespace and not many_users:
        remarks.append("the server is for a single user and does not look at the namespace")
    service.may_list_runs()
    version = str(health.get("tag_name") or "")
    if not tells_all(version) and (trouble := service.metadata.trouble()):
        remarks.append(f"{trouble} Values, metrics and artifacts are not shown then: connect to ml-pipeline-ui.")
    parts = urlsplit(connection.host)
    if parts.scheme != "https" and connection.login != "no login" and not is_loopback(parts.hostname or ""):
        remarks.append("the login goes over the network without encryption: use https")
    if variable := connection.token_env or connection.dex_password_env:
        file = "; --token-file serves them all" if connection.token_env else ""
        remarks.append(f"the panel and the command line read ${variable} from their own environment{file}")
    name = f"Kubeflow Pipelines {version}" if version and version != "unknown" else "Kubeflow Pipelines"
    return Checked(
        connection=connection, server=name, user=user_of(connection, service.headers()), remarks=tuple(remarks)
    )


def _namespace_of_the_pod() -> str:
    try:
        return _POD_NAMESPACE.read_text(encoding="utf-8").strip()
    except OSError:
        return os.environ.get("NB_NAMESPACE", "")


def user_of(connection: Connection, headers: Mapping[str, str]) -> str:
    """Who asks, as the token says, or the variable with the name."""
    claims = claims_of(headers)
    named = os.environ.get(connection.dex_user_env, "").strip() if connection.dex_user_env else ""
    return next((str(claims[name]) for name in _CLAIMS if claims.get(name)), named)
