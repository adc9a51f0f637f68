"""Where runs can go besides this machine: servers by name, kept without any secret."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast, get_args
from urllib.parse import urlsplit

from kfp_magics.addresses import is_loopback
from kfp_magics.backends import allowed
from kfp_magics.errors import ArgumentError, NotFoundError, StoreError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kfp_magics.model import Json

Kind = Literal["local", "kfp", "vertex"]
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SECRET = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_LOGINS = (
    "token_env",
    "token_file",
    "service_account_token",
    "dex_user_env",
    "cookie_file",
    "iap_client_id",
    "google",
)
_LONGEST_PATH = 1000
_FORMS = "Write local, https://host[/pipeline], or vertex:project/region."


@dataclass(frozen=True, kw_only=True, slots=True)
class Connection:
    """How a server is reached. Of secrets it knows the names of variables and files, never the values.

    Attributes:
        name: What runs call it (`Run.target`); empty for this machine.
        kind: The backend.
        host: Address of a Kubeflow Pipelines server, without a slash at its end.
        project: Google Cloud project of Vertex AI.
        region: Google Cloud region of Vertex AI.
        namespace: Kubernetes namespace (profile) of runs; empty on a server for a single user.
        pipeline_root: Where artifacts go; the server's own place when empty.
        service_account: Account that the steps have; the server's own when empty.
        network: Network that the steps are in, where the backend has one.
        labels: Labels of all runs, where the backend has some.
        gcp_secret: Secret of the cluster with a service account's key that all steps get.
        token_env: Variable with a bearer token.
        token_file: File with a bearer token.
        service_account_token: Whether the token that Kubernetes mounts into pods is sent.
        dex_user_env: Variable with the name for Dex.
        dex_password_env: Variable with the password for Dex.
        cookie_file: File with cookies of a browser's session.
        iap_client_id: OAuth client of Google's Identity-Aware Proxy.
        google: Whether a token of Google's credentials on this machine is sent.
        ca_file: File of certificates (PEM) that the server's own is signed with.
        endpoint: Address of another service in the place of Google's; theirs when empty.
    """

    name: str = ""
    kind: Kind = "local"
    host: str = ""
    project: str = ""
    region: str = ""
    namespace: str = ""
    pipeline_root: str = ""
    service_account: str = ""
    network: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    gcp_secret: str = ""
    token_env: str = ""
    token_file: str = ""
    service_account_token: bool = False
    dex_user_env: str = ""
    dex_password_env: str = ""
    cookie_file: str = ""
    iap_client_id: str = ""
    google: bool = False
    ca_file: str = ""
    endpoint: str = ""

    @property
    def login(self) -> str:
        """How it says who asks, for a person."""
        ways = {
            f"token of ${self.token_env}": self.token_env,
            f"token of {self.token_file}": self.token_file,
            "token of the pod's service account": self.service_account_token,
            f"Dex, as ${self.dex_user_env}": self.dex_user_env,
            f"cookies of {self.cookie_file}": self.cookie_file,
            "Google's Identity-Aware Proxy": self.iap_client_id,
            "Google credentials": self.google or self.kind == "vertex",
        }
        return next((text for text, used in ways.items() if used), "no login")


_USUAL = Connection()


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """What a server answered when it was asked whether it would run something.

    Attributes:
        connection: How it is reached, completed with what the server said.
        server: What it is, with its version.
        user: Who asks, as far as can be told; empty when nobody says it.
        remarks: What is worth knowing, a line each.
    """

    connection: Connection
    server: str
    user: str = ""
    remarks: tuple[str, ...] = ()


def parse(word: str, options: Mapping[str, Json] | None = None, known: Iterable[str] = ()) -> Connection:
    """Reads what a user types.

    Args:
        word: ``local``, ``https://host[/pipeline]``, or ``vertex:project/region``.
        options: Attributes of `Connection` by name; ``name`` names it.
        known: Names that the word might have meant.

    Raises:
        ArgumentError: It does not read, a secret stands where the name of one is meant, or an option means nothing
            there.
    """
    given = _checked(options)
    if given.get("gcp_secret") and (word == "local" or word.startswith("vertex:")):
        raise ArgumentError(
            "Secrets of Kubernetes are there for steps on Kubernetes only.",
            "Leave --gcp-secret out; on Vertex AI, --service-account says whose rights steps have.",
        )
    if word == "local":
        return _made(Connection(), given)
    if word == "vertex" or word.startswith(("vertex:", "vertex/")):
        project, region = allowed.vertex(word)
        return _made(Connection(name=word, kind="vertex", project=project, region=region), given)
    host = _host(word, known)
    return _made(Connection(name=host.partition("://")[2], kind="kfp", host=host), given)


def changed(connection: Connection, options: Mapping[str, Json]) -> Connection:
    """Gives a connection with other options; another login takes the place of the one that it had.

    Raises:
        ArgumentError: See `parse`.
    """
    given = _checked(options)
    if any(name in _LOGINS for name in given):
        given = {name: getattr(_USUAL, name) for name in (*_LOGINS, "dex_password_env")} | given
    return _made(connection, given)


def _made(connection: Connection, given: Mapping[str, Json]) -> Connection:
    return replace(connection, **allowed.read(given, connection.kind))


def _host(word: str, known: Iterable[str]) -> str:
    scheme, separator, rest = word.partition("://")
    if not separator:
        first = re.match(r"\[[^]]*\]|[^:/]*", word)
        name = (first[0] if first else "").strip("[]")
        scheme, rest = ("http" if is_loopback(name) else "https"), word
        if "." not in name and ":" not in name and name != "localhost":
            raise ArgumentError(f"{word!r} is no server.", _meant(word, known))
    try:
        parts = urlsplit(f"{scheme}://{rest}")
        port = f":{parts.port}" if parts.port else ""
    except ValueError as error:
        raise ArgumentError(f"The address does not read: {error}.", _FORMS) from error
    if scheme not in {"http", "https"} or not parts.hostname:
        raise ArgumentError(f"{word.partition('?')[0]!r} is no address of a server.", _FORMS)
    if parts.username is not None:
        raise ArgumentError(
            f"The address of {parts.hostname!r} has a login in it, which would be kept in a file.",
            "Leave it out, and name a variable: --token-env NAME, or --dex-user-env and --dex-password-env.",
        )
    hostname = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{scheme}://{hostname}{port}{parts.path.rstrip('/')}"  # what a browser shows behind '#' is no part of it


def _meant(word: str, known: Iterable[str]) -> str:
    """What somebody may have meant by a word that is no address."""
    close = did_you_mean(word, {"local", *known})
    if close.startswith("Did"):
        return close
    if re.fullmatch(r"[A-Za-z0-9-]+:\d+(/.*)?", word):
        return f"Say how it is reached: http://{word} or https://{word}."
    return _FORMS


def _checked(options: Mapping[str, Json] | None) -> dict[str, Json]:
    """The options that are given, read; paths are those of every process, not of this folder."""
    given = {key: value for key, value in (options or {}).items() if value}
    _check(given)
    for name in ("token_file", "cookie_file", "ca_file"):
        if name in given:
            given[name] = _path(f"--{name.replace('_', '-')}", str(given[name]))
    return given


def _path(option: str, value: str) -> str:
    is_file = Path(value).expanduser().exists() if len(value) < _LONGEST_PATH else False
    if not is_file and (
        value.startswith(("eyJ", "Bearer", "-----BEGIN")) or (option == "--cookie-file" and "=" in value)
    ):
        raise ArgumentError(f"{option} takes the path of a file, not what is in it.", f"Write {option} PATH.")
    return value if value.startswith("~") else os.path.normpath(Path(value).absolute())


def _check(given: Mapping[str, Json]) -> None:
    for name in ("token_env", "dex_user_env", "dex_password_env"):
        if not _VARIABLE.fullmatch(given.get(name, "A")):
            option = "--" + name.replace("_", "-")
            raise ArgumentError(
                f"{option} takes the name of an environment variable, not what is in it.",
                f"Write {option} MY_VARIABLE.",
            )
    if bool(given.get("dex_user_env")) != bool(given.get("dex_password_env")):
        raise ArgumentError("Dex wants a name and a password.", "Give --dex-user-env and --dex-password-env.")
    if not _NAMESPACE.fullmatch(given.get("namespace", "a")):
        raise ArgumentError(f"{given['namespace']!r} is no name of a namespace.", "kubectl get namespaces lists them.")
    if not _SECRET.fullmatch(given.get("gcp_secret", "a")):
        raise ArgumentError(
            "--gcp-secret takes the name of a secret of Kubernetes, not what is in it.",
            "Write --gcp-secret user-gcp-sa.",
        )
    used = [f"--{name.replace('_', '-')}" for name in _LOGINS if given.get(name)]
    if len(used) > 1:
        raise ArgumentError(f"Only one login can be used, not {' and '.join(used)}.", "Leave the others out.")


class Connections:
    """The servers that are known, in one file that kernel, server and command line share.

    Args:
        home: Folder that the file is in.
    """

    def __init__(self, home: Path) -> None:
        self._path = home / "connections.json"

    def all(self) -> dict[str, Connection]:
        """Name → connection, the one used last at the end."""
        try:
            body = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise StoreError(f"The file {str(self._path)!r} cannot be read: {error}.", "Move it away.") from error
        known = {one.name for one in fields(Connection)}
        found = [
            Connection(**{key: value for key, value in one.items() if key in known})
            for one in body.get("connections", ())
            if one.get("kind") in get_args(Kind)  # a newer version may know more
        ]
        return {one.name: one for one in found}

    def remember(self, connection: Connection) -> None:
        """Keeps a connection, as the one used last; one of the same name is replaced."""
        found = self.all()
        found.pop(connection.name, None)
        found[connection.name] = connection
        self._write(found)

    def forget(self, name: str) -> None:
        """Drops a connection.

        Raises:
            NotFoundError: There is none of that name.
        """
        if not name:
            raise NotFoundError("Forget which connection?", did_you_mean("", self.all()) or _FORMS_CONNECT)
        self.get("", name)
        found = self.all()
        del found[name]
        self._write(found)

    def _write(self, found: Mapping[str, Connection]) -> None:
        # A connection is written as what differs from the usual, so that an older version reads what it knows.
        usual = asdict(_USUAL)
        rows = [
            {key: value for key, value in asdict(one).items() if value != usual[key]} | {"kind": one.kind}
            for one in found.values()
        ]
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        draft.write_text(json.dumps({"connections": rows}, indent=1), encoding="utf-8")
        draft.chmod(0o600)
        draft.replace(self._path)

    def get(self, kind: str, name: str = "") -> Connection:
        """Finds a connection.

        Args:
            kind: The backend; any when empty.
            name: Its name; the one used last when empty.

        Raises:
            NotFoundError: There is none.
        """
        found = {key: one for key, one in self.all().items() if not kind or one.kind == kind}
        if name in found:
            return found[name]
        if name:
            raise NotFoundError(f"No connection is called {name!r}.", did_you_mean(name, found) or _FORMS_CONNECT)
        if not found:
            raise NotFoundError(f"No server is known for the backend {kind!r}.", _FORMS_CONNECT)
        return list(found.values())[-1]


_FORMS_CONNECT = "%kfp_connect https://host, or %kfp_connect vertex:project/region, makes one known."


def kind_of(word: str) -> Kind | None:
    """The backend that a word names, or None."""
    return cast("Kind", word) if word in get_args(Kind) else None
