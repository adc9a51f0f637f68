"""What the magics about servers return, as text and as HTML."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kfp_magics.runs import text
from kfp_magics.widgets.cards import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kfp_magics.backends.base import Kept, Schedule
    from kfp_magics.backends.connections import Checked, Connection


@dataclass(frozen=True, repr=False)
class CheckedCard(Text):
    """Where runs go from now on, and what the server said.

    Attributes:
        checked: What it said.
        first: The first line, where it is another than where runs go.
    """

    checked: Checked
    first: str = ""
    _in_columns = False

    def __repr__(self) -> str:
        one = self.checked.connection
        if one.kind == "local":
            return "Runs go to this machine."
        facts = {
            "server": f"{self.checked.server} at {one.host}" if one.host else self.checked.server,
            "login": f"{one.login}{f' ({self.checked.user})' if self.checked.user else ''}",
            "namespace": one.namespace,
            "root": one.pipeline_root,
            "account": one.service_account,
            "network": one.network,
            "labels": ", ".join(f"{key}={value}" for key, value in one.labels.items()),
            "google key": f"secret {one.gcp_secret}, in all steps" if one.gcp_secret else "",
        }
        lines = [self.first or f"Runs go to {one.name}."]
        lines += [f"  {name:11}{value}" for name, value in facts.items() if value]
        lines += [f"  {'note':11}{remark}" for remark in self.checked.remarks]
        return "\n".join(lines)


@dataclass(frozen=True, repr=False)
class ConnectionsTable(Text):
    """The servers that are known.

    Attributes:
        connections: In any order.
        backend: Where runs go: the backend.
        current: And the name of the connection.
    """

    connections: Sequence[Connection]
    backend: str
    current: str

    def __repr__(self) -> str:
        rows = [("→" if self.backend == "local" else "", "local", "this machine", "", "")]
        for one in self.connections:
            mark = "→" if (one.kind, one.name) == (self.backend, self.current) else ""
            where = one.host or f"{one.project}/{one.region}"
            rows.append((mark, one.name, where, one.namespace, one.login))
        return text.table(rows, ("", "NAME", "WHERE", "NAMESPACE", "LOGIN"))


@dataclass(frozen=True, repr=False)
class SchedulesTable(Text):
    """Pipelines that a server runs again and again.

    Attributes:
        schedules: In any order.
    """

    schedules: Sequence[Schedule]

    def __repr__(self) -> str:
        if not self.schedules:
            return "No schedules: %kfp_schedule create PIPELINE --every 1h makes one."
        rows = [
            (
                one.id,
                one.name,
                one.pipeline,
                one.cron or f"every {text.duration(one.interval)}",
                "enabled" if one.enabled else "disabled",
                ", ".join(f"{key}={text.value_text(value, 20)}" for key, value in one.parameters.items()),
            )
            for one in self.schedules
        ]
        return text.table(rows, ("ID", "NAME", "PIPELINE", "WHEN", "STATE", "GIVEN"))


@dataclass(frozen=True, repr=False)
class KeptTable(Text):
    """What a server keeps under names.

    Attributes:
        kept: Newest first.
        what: What that is, and how one is made.
    """

    kept: Sequence[Kept]
    what: str

    def __repr__(self) -> str:
        if not self.kept:
            return f"No {self.what}."
        rows = [(one.name, text.when(one.created) if one.created else "", one.id, one.description) for one in self.kept]
        return text.table(rows, ("NAME", "CREATED", "ID", "DESCRIPTION"))


@dataclass(frozen=True, repr=False)
class Note(Text):
    """One line about what was done.

    Attributes:
        line: The line.
    """

    line: str

    def __repr__(self) -> str:
        return self.line[:1].upper() + self.line[1:] + "."
