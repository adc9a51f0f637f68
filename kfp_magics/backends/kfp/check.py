"""Whether a server would run something, asked before anything is sent to it."""

from __future__ import annotations

import base64
import binascii
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kfp_magics.backends.connections import Checked
from kfp_magics.backends.kfp.natives import tells_all
from kfp_magics.errors import LoginError

if TYPE_CHECKING:
    from collections.abc import Callable

    from kfp_magics.backends.connections import Connection
    from kfp_magics.backends.kfp.service import Service
    from kfp_magics.model import Json

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
    if not connection.host.startswith("https://") and connection.login != "no login" and not _is_here(connection.host):
        remarks.append("the login goes over the network without encryption: use https")
    name = f"Kubeflow Pipelines {version}" if version and version != "unknown" else "Kubeflow Pipelines"
    return Checked(connection=connection, server=name, user=user_of(service.headers()), remarks=tuple(remarks))


def _namespace_of_the_pod() -> str:
    try:
        return _POD_NAMESPACE.read_text(encoding="utf-8").strip()
    except OSError:
        return os.environ.get("NB_NAMESPACE", "")


def _is_here(host: str) -> bool:
    return host.partition("://")[2].partition(":")[0].partition("/")[0] in {"localhost", "127.0.0.1", "[::1]"}


def user_of(headers: dict[str, str]) -> str:
    """Who asks, as the token says: its claims are readable for everybody, only its signature is secret."""
    parts = headers.get("Authorization", "").removeprefix("Bearer ").split(".")
    if len(parts) != 3:
        return ""
    try:
        claims: Json = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return ""
    return next((str(claims[name]) for name in _CLAIMS if claims.get(name)), "") if isinstance(claims, dict) else ""
