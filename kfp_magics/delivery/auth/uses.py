"""What Python code does on Google Cloud: a role for each thing that it calls, with the line."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kfp_magics.delivery.auth.services import ADMIN, BIGQUERY, SERVICES, STORAGE, USER, VIEWER
from kfp_magics.delivery.auth.values import Values

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kfp_magics.delivery.auth.services import Service

STORE = "google.cloud.storage"
BUCKET = re.compile(r"(?:gs://|/gcs/)(?P<name>[a-z0-9][a-z0-9._-]{1,220}[a-z0-9])(?=/|$|\s)")
_SECRET = re.compile(r"/secrets/(?P<name>[A-Za-z0-9_-]+)/versions")
_CHANGES = re.compile(r"\b(insert|update|delete|merge|create|drop|alter|truncate|export|load|call)\b", re.IGNORECASE)
_READS = re.compile(r"read_|load|open_dataset|importer")
_PROJECT = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Use:
    """Something that needs a role.

    Attributes:
        role: The role.
        on: What it is needed on: ``gs://BUCKET``, ``secret:NAME``, or nothing for the whole project.
        line: Where, counted from 1.
        text: That line.
        api: The API that has to be enabled.
    """

    role: str
    on: str
    line: int
    text: str
    api: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What a piece of code needs.

    Attributes:
        uses: Things that need a role.
        remarks: What could not be told: line, and why.
    """

    uses: tuple[Use, ...] = ()
    remarks: tuple[tuple[int, str], ...] = ()


def uses_of(source: str) -> Found:
    """Finds what Python code needs.

    Args:
        source: A module.
    """
    return _Reader(source).found()


class _Reader:
    def __init__(self, source: str) -> None:
        self._lines = source.splitlines()
        self._tree = ast.parse(source)
        self._values = Values(self._tree)
        self._parents = {id(inner): outer for outer in ast.walk(self._tree) for inner in ast.iter_child_nodes(outer)}

    def found(self) -> Found:
        uses = [*self._services(), *self._addresses(), *self._pandas()]
        why = "is not known here: which role it needs stands in its documentation"
        remarks = tuple((line, f"{module} {why}") for module, line in self._values.unknown)
        return Found(uses=tuple(dict.fromkeys(uses)), remarks=remarks)

    def _use(self, role: str, on: str, line: int, api: str = "") -> Use:
        text = self._lines[line - 1].strip() if 0 < line <= len(self._lines) else ""
        return Use(role=role, on=on, line=line, text=text, api=api)

    # Clients

    def _services(self) -> Iterator[Use]:
        calls = list(self._calls())
        escaped = dict(self._values.escapes())
        for key, line in dict(reversed(self._values.imports)).items():
            service = SERVICES[key]
            mine = [(attr, node) for one, attr, node in calls if one == key]
            places = self._places(service, [node for _, node in mine])
            needed = [(role, node.lineno) for attr, node in mine for role in self._roles(service, attr, node)]
            if service.otherwise and (key in escaped or not needed):
                at = escaped[key].lineno if key in escaped else line
                needed += [(role, at) for role in service.otherwise]
            for role, at in [*((role, line) for role in service.always), *needed]:
                yield from (self._use(role, place, at, service.api) for place in places)

    def _calls(self) -> Iterator[tuple[str, str, ast.expr]]:
        """Everything that is asked of a client: the service, the method, and where."""
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Attribute) and (key := self._values.service(node.value)):
                yield key, node.attr, node
            elif isinstance(node, ast.Name) and (key := self._values.service(node)) and node.id[:1].isupper():
                yield key, node.id, node

    def _roles(self, service: Service, attr: str, node: ast.expr) -> tuple[str, ...]:
        call = self._parents.get(id(node))
        call = call if isinstance(call, ast.Call) and call.func is node else None
        if attr in service.calls:
            needs_more = service is BIGQUERY
            return (service.calls[attr], *(service.otherwise if needs_more else ()))
        if service is STORAGE and attr == "open":
            return (_opened(call),)
        if service is BIGQUERY and attr in {"query", "query_and_wait", "read_gbq"}:
            return self._queried(call)
        return service.reads if attr in service.reading else ()

    def _queried(self, call: ast.Call | None) -> tuple[str, ...]:
        text = self._statement(call.args[0]) if call is not None and call.args else None
        stores = call is not None and any(one.arg == "job_config" for one in call.keywords)
        return BIGQUERY.reads if text is not None and not _CHANGES.search(text) and not stores else BIGQUERY.otherwise

    def _statement(self, node: ast.expr) -> str | None:
        """A statement of SQL; of one that names are put into, what stands between them when it begins as a question."""
        if not isinstance(node, ast.JoinedStr):
            return self._values.text(node)
        text = " ".join(str(one.value) for one in node.values if isinstance(one, ast.Constant))
        return text if re.match(r"\s*(select|with)\b", text, re.IGNORECASE) else None

    # Places

    def _places(self, service: Service, nodes: list[ast.expr]) -> list[str]:
        """The buckets or the secret that are meant, where all of them can be told; else the whole project."""
        prefix, names = "", set[str | None]()
        if service is STORAGE:
            prefix, names = "gs://", self._buckets(nodes)
        elif service.name == "Secret Manager":
            prefix, names = "secret:", self._secrets()
        known = sorted(name for name in names if name)
        return [f"{prefix}{name}" for name in known] if known and None not in names else [_PROJECT]

    def _buckets(self, nodes: list[ast.expr]) -> set[str | None]:
        found: set[str | None] = set()
        for node in nodes:
            name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
            call = self._parents.get(id(node))
            if not isinstance(call, ast.Call) or call.func is not node:
                continue
            if name in {"bucket", "get_bucket", "lookup_bucket", "create_bucket"}:
                found.add(self._values.text(call.args[0]) if call.args else None)
            elif name == "Bucket":
                given = [*call.args[1:2], *(one.value for one in call.keywords if one.arg == "name")]
                found.add(self._values.text(given[0]) if given else None)
            elif name in {"from_string", "from_uri"}:
                match = BUCKET.match(self._values.text(call.args[0]) or "") if call.args else None
                found.add(match["name"] if match else None)
            elif name in {"list_blobs", "download_blob_to_file"} and call.args:
                text = self._values.text(call.args[0])
                found |= {text} if text else set()
        return found

    def _secrets(self) -> set[str | None]:
        texts = [node.value for node in ast.walk(self._tree) if isinstance(node, ast.Constant)]
        paths = [_SECRET.search(text) for text in texts if isinstance(text, str)]
        found: set[str | None] = {match["name"] for match in paths if match}
        asked = sum(1 for _, attr, _ in self._calls() if attr == "access_secret_version")
        return found if len(found) == 1 and asked == 1 else {None}

    # Addresses

    def _addresses(self) -> Iterator[Use]:
        """``gs://…`` and ``/gcs/…`` where no client of Cloud Storage is seen to be given them."""
        for node in ast.walk(self._tree):
            if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or self._is_documentation(node):
                continue
            for match in BUCKET.finditer(node.value):
                if role := self._role_there(node):
                    yield self._use(role, f"gs://{match['name']}", node.lineno, STORAGE.api)
            is_begun = isinstance(self._parents.get(id(node)), ast.JoinedStr | ast.BinOp)
            if is_begun and node.value.endswith("gs://") and (role := self._role_there(node)):
                yield self._use(role, _PROJECT, node.lineno, STORAGE.api)

    def _role_there(self, node: ast.AST) -> str:
        outer: ast.AST | None = node
        while outer is not None and not isinstance(outer, ast.stmt):
            if isinstance(outer, ast.Call):
                if self._values.service(outer.func) or self._values.service(getattr(outer.func, "value", None)):
                    return ""  # the client says what it does with it
                name = ast.unparse(outer.func).rpartition(".")[2]
                return VIEWER if _READS.match(name) else USER
            outer = self._parents.get(id(outer))
        return USER

    def _is_documentation(self, node: ast.AST) -> bool:
        return isinstance(self._parents.get(id(node)), ast.Expr)

    def _pandas(self) -> Iterator[Use]:
        """``pandas.read_gbq`` and ``to_gbq``, which bring the client along."""
        for node in ast.walk(self._tree):
            named = isinstance(node, ast.Attribute) and node.attr in {"read_gbq", "to_gbq"}
            if named and isinstance(node, ast.Attribute) and not self._values.service(node.value):
                roles = self._roles(BIGQUERY, node.attr, node)
                yield from (self._use(role, _PROJECT, node.lineno, BIGQUERY.api) for role in roles)


def _opened(call: ast.Call | None) -> str:
    """Reading unless something else is said; whether it reads or writes may not be to be seen."""
    given = [] if call is None else [*call.args[:1], *(one.value for one in call.keywords if one.arg == "mode")]
    if not given:
        return VIEWER if call is not None else ADMIN
    mode = given[0].value if isinstance(given[0], ast.Constant) else None
    return USER if not isinstance(mode, str) or set(mode) & set("wax+") else VIEWER
