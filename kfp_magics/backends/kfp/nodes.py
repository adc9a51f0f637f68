"""Which of the server's task details is which task of the pipeline.

A server runs a pipeline as an Argo workflow and tells its nodes as one flat list. Drivers (pods that only prepare) and
the inner structure of loops stand among them, and many are called alike (``executor``). What links them depends on the
version: ids of parents, names of pods, or nothing but the ids of Argo's nodes in ``child_tasks``. Argo derives such an
id from the node's path, so that it can be derived here as well.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kfp_magics.model import Json

EXECUTOR = "executor"
"""Argo's name of the pod in which a step's code runs, below the node of the step."""
DRIVER = "-driver"
"""What Argo's names of drivers end with."""
_TEMPLATES = ("system-container-impl", "retry-system-container-impl")
_FNV_OFFSET, _FNV_PRIME, _WORD = 0x811C9DC5, 0x01000193, 0xFFFFFFFF


def node_hash(node_name: str) -> int:
    """The number at the end of a node's id: FNV-1a of its name, 32 bits, as Argo does it."""
    value = _FNV_OFFSET
    for byte in node_name.encode():
        value = ((value ^ byte) * _FNV_PRIME) & _WORD
    return value


@dataclass(eq=False, slots=True)
class Node:
    """One of the server's task details.

    Attributes:
        detail: What the server says.
        own: What others may call it: its task id, its pod.
        children: What it calls the nodes that follow it.
    """

    detail: Mapping[str, Json]
    own: frozenset[str] = frozenset()
    children: frozenset[str] = frozenset()
    hashes: frozenset[str] = field(default=frozenset())

    @property
    def name(self) -> str:
        """Its name, without a namespace."""
        return str(self.detail.get("display_name") or "")

    @property
    def pod(self) -> str:
        """The name of its pod, where the server tells it."""
        return str(self.detail.get("pod_name") or "")


def _node(detail: Mapping[str, Json]) -> Node:
    own = frozenset(str(detail[key]) for key in ("task_id", "pod_name") if detail.get(key))
    children = frozenset(
        str(child[key])
        for child in detail.get("child_tasks") or ()
        for key in ("task_id", "pod_name")
        if child.get(key)
    )
    pod = str(detail.get("pod_name") or "")
    return Node(detail, own, children, frozenset({pod.rpartition("-")[2]} if pod else ()))


class Nodes:
    """The task details of one run.

    Args:
        details: As the server lists them.
    """

    def __init__(self, details: Iterable[Mapping[str, Json]]) -> None:
        self._nodes = [_node(one) for one in details]
        self._by_name: dict[str, list[Node]] = {}
        for node in self._nodes:
            self._by_name.setdefault(node.name, []).append(node)
        self._claimed: set[int] = set()
        self._ids = frozenset(child for node in self._nodes for child in node.children)
        self._known_hashes = frozenset(one.rpartition("-")[2] for one in self._ids)
        self.workflow = next((node.name for node in self._nodes if self._begins(node)), "")

    def _begins(self, node: Node) -> bool:
        first = f"{node.name}-{node_hash(f'{node.name}.root-driver')}"
        return first in node.children or (bool(node.pod) and node.pod == node.name)

    def __len__(self) -> int:
        return len(self._nodes)

    def path(self, *parts: str) -> str:
        """The name of a node in the workflow."""
        return ".".join((self.workflow, *parts))

    def exists(self, path: str) -> bool:
        """Whether any node says that a node of this name follows it."""
        return bool(self.workflow) and str(node_hash(path)) in self._known_hashes

    def find(self, name: str, path: str, parent: Node | None, following: Iterable[str], *, alone: bool) -> Node | None:
        """Finds the node of a task.

        Args:
            name: What it is called.
            path: Its name in the workflow.
            parent: The node of its group.
            following: Names in the workflow of nodes that may follow it.
            alone: Whether the pipeline has no other task of that name, so that the name alone tells.
        """
        found = [node for node in self._by_name.get(name, ()) if id(node) not in self._claimed]
        if not found:
            return None
        by_parent = [node for node in found if parent is not None and _is_child(node, parent)]
        wanted = str(node_hash(path))
        by_pod = [node for node in found if self.workflow and wanted in node.hashes]
        hashes = {str(node_hash(one)) for one in following} if self.workflow else set()
        by_following = [node for node in found if hashes & {one.rpartition("-")[2] for one in node.children}]
        by_name = found if alone and len(found) == 1 else []
        for chosen in (by_pod, by_parent, by_following, by_name):
            if chosen:
                self._claimed.add(id(chosen[0]))
                return chosen[0]
        return None

    def below(self, owner: Node | None, start: str) -> int:
        """How many nodes whose names start so say that they are those of a node."""
        said = [str(node.detail.get("parent_task_id") or "") for node in self._nodes if node.name.startswith(start)]
        return sum(parent in owner.own for parent in said if parent) if owner is not None else 0

    def executors(self, owner: Node, path: str) -> list[Node]:
        """The pods in which a step's code ran, as far as it can be told which are its own."""
        candidates = [node for name, nodes in self._by_name.items() if _is_executor(name) for node in nodes]
        linked = [node for node in candidates if _is_child(node, owner)]
        hashes = {str(node_hash(f"{path}.{name}")) for name in self._by_name if _is_executor(name)}
        linked = linked or [node for node in candidates if hashes & node.hashes]
        return linked or [node for node in candidates if not node.pod and _within(node.detail, owner.detail)]

    def attempts(self, path: str) -> int:
        """How often the pod of a step's code was started anew, where the workflow repeats it; 0 where it does not."""
        found = 0
        while self.exists(f"{path}.{EXECUTOR}({found})"):
            found += 1
        return found

    def pods(self, node: Node | None, path: str) -> list[str]:
        """Names that the pod of a step's code may have, the last attempt first."""
        told = [one.pod for one in (self.executors(node, path) if node else ()) if one.pod]
        told += [node.pod] if node and node.pod and not told else []
        told.reverse()
        if not self.workflow:
            return told
        names = sorted((name for name in self._by_name if _is_executor(name)), key=lambda one: (len(one), one))
        derived = [
            f"{self.workflow}-{template}-{node_hash(f'{path}.{name}')}"
            for name in reversed(names)
            for template in _TEMPLATES
            if self.exists(f"{path}.{name}") or name == EXECUTOR
        ]
        return list(dict.fromkeys([*told, *derived]))


def _is_child(node: Node, parent: Node) -> bool:
    said = node.detail.get("parent_task_id")
    return bool((said and said in parent.own) or (not said and node.own & parent.children))


def _is_executor(name: str) -> bool:
    return name == EXECUTOR or name.startswith(f"{EXECUTOR}(")


def _within(inner: Mapping[str, Json], outer: Mapping[str, Json]) -> bool:
    """Whether a node ran while another did; times are whole seconds, written alike."""
    start, end = str(outer.get("start_time") or ""), str(outer.get("end_time") or "")
    began = str(inner.get("start_time") or "")
    return bool(start) and start <= began and (not end or end.startswith("1970") or began <= end)
