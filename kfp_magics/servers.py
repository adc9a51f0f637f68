"""What a session can do with servers: connect to them, put pipelines there, have them run again and again."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar

from kfp_magics.backends.base import Checks, KeepsNames, KeepsPipelines, KeepsRuns, Kept, Schedule, SubmitOptions
from kfp_magics.backends.connections import Checked, Connections, changed, parse
from kfp_magics.errors import ArgumentError, BackendError, NotFoundError, did_you_mean
from kfp_magics.parts import placed

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from kfp_magics.backends.connections import Connection
    from kfp_magics.backends.known import Backends
    from kfp_magics.model import Json, Pipeline, Run, State
    from kfp_magics.settings import Settings

_EVERY = re.compile(r"(\d+)([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Servers:
    """Where runs can go besides this machine.

    Args:
        settings: Where runs go is set there, for this session.
        backends: By name.
    """

    def __init__(self, settings: Settings, backends: Backends) -> None:
        self._settings = settings
        self._backends = backends
        self.connections = Connections(settings.home_path)

    def connect(self, word: str, options: Mapping[str, Json] | None = None) -> Checked:
        """Has the runs of this session go somewhere, after it was asked whether it would take them.

        Args:
            word: ``local``, an address, ``vertex:project/region``, or the name of a connection.
            options: Attributes of `Connection` by name; to a name, they change what is known.

        Raises:
            KfpMagicsError: It does not; nothing was changed.
        """
        known, given = self.connections.all(), options or {}
        connection = changed(known[word], given) if word in known else parse(word, given, known)
        checked = Checked(connection=connection, server="this machine")
        if connection.kind != "local":
            backend = self._backends[connection.kind]
            assert isinstance(backend, Checks)
            checked = backend.check(connection)
            self.connections.remember(checked.connection)
        self._settings.backend = connection.kind
        self._settings.connection = connection.name
        return checked

    def forget(self, name: str) -> None:
        """Drops a connection; runs that went there go to this machine.

        Raises:
            NotFoundError: There is none of that name.
        """
        self.connections.forget(name)
        if name == self._settings.connection:
            self._settings.backend, self._settings.connection = "local", ""

    def use_last(self) -> Connection | None:
        """Has what follows go to the server that was used last, unless it goes to one already; nothing is asked there.

        Returns:
            The server, when it is another one than before.
        """
        if self._settings.backend != "local":
            return None
        last = self.connections.get("")
        self._settings.backend, self._settings.connection = last.kind, last.name
        return last

    def recent(self, *, limit: int = 50, search: str = "", states: Collection[State] = ()) -> list[Run]:
        """Lists the runs of the server that this session is connected to, whoever started them.

        Raises:
            BackendError: It is connected to none.
        """
        backend = self._backends[""]
        if not isinstance(backend, KeepsRuns):
            raise BackendError("Runs go to this machine, not to a server.", "%kfp_connect https://host, or %kfp_runs.")
        return backend.recent(self._settings.connection, limit=limit, search=search, states=states)

    def experiments(self) -> list[Kept]:
        """Lists the experiments of the server that this session is connected to."""
        return self._names().experiments()

    def pipelines(self, name: str = "") -> list[Kept]:
        """Lists the pipelines of the server, or the versions of one.

        Args:
            name: The pipeline, by its name, its id or the start of one; all pipelines when empty.

        Raises:
            NotFoundError: There is none, or several.
        """
        keeper = self._names()
        known = keeper.pipelines()
        return keeper.versions(_one_of(known, name, "pipeline")) if name else known

    def _names(self) -> KeepsNames:
        backend = self._backends[""]
        if isinstance(backend, KeepsNames):
            return backend
        where = "This machine" if self._settings.backend == "local" else "Vertex AI"
        raise BackendError(
            f"{where} keeps no experiments and no pipelines under names.", "Connect first: %kfp_connect https://host"
        )

    def upload(self, pipeline: Pipeline, *, name: str = "", version: str = "") -> str:
        """Puts a pipeline on the server, or a version of one that is there; tells in a line what came of it."""
        return self._keeper().upload(
            pipeline.ir, name or pipeline.name, version=version, description=pipeline.description
        )

    def schedule(
        self,
        pipeline: Pipeline,
        wanted: Schedule,
        values: Mapping[str, Json],
        experiment: str = "",
        *,
        replace: bool = False,
    ) -> Schedule:
        """Has a pipeline run again and again.

        Args:
            pipeline: The pipeline.
            wanted: When, and under which name.
            values: What its runs are given.
            experiment: Of its runs.
            replace: Removes schedules of the same name, once this one is there.

        Raises:
            ArgumentError: There is one of that name.
        """
        placed(pipeline, values, self._settings.backend)
        options = SubmitOptions(experiment=experiment, started_by="schedule")
        keeper = self._keeper()
        same = [one for one in keeper.schedules() if one.name == wanted.name]
        if same and not replace:
            raise ArgumentError(
                f"There is a schedule {wanted.name!r} already.",
                "Add --replace to put this one in its place, or give it another --name.",
            )
        made = keeper.schedule(wanted, pipeline.ir, values, options)
        for one in same:
            keeper.unschedule(one)
        return made

    def schedules(self) -> list[Schedule]:
        """Lists what the server runs again and again."""
        return self._keeper().schedules()

    def find_schedule(self, text: str) -> Schedule:
        """Finds a schedule by its name, its id or the start of one.

        Raises:
            NotFoundError: There is none, or several.
        """
        return _one_of(self.schedules(), text, "schedule")

    def switch(self, text: str, *, enabled: bool) -> Schedule:
        """Lets a schedule run, or rest."""
        found = self.find_schedule(text)
        self._keeper().switch(found, enabled=enabled)
        return self.find_schedule(found.id)

    def unschedule(self, text: str) -> Schedule:
        """Removes a schedule; its runs stay."""
        found = self.find_schedule(text)
        self._keeper().unschedule(found)
        return found

    def _keeper(self) -> KeepsPipelines:
        backend = self._backends[""]
        if not isinstance(backend, KeepsPipelines):
            raise BackendError(
                "This machine keeps no pipelines and runs none again and again.",
                "Connect first: %kfp_connect https://host",
            )
        return backend


_Named = TypeVar("_Named", Kept, Schedule)


def _one_of(known: Sequence[_Named], text: str, what: str) -> _Named:
    """Finds what is meant by a name, an id or the start of one.

    Raises:
        NotFoundError: There is none, or several.
    """
    found = [one for one in known if text in {one.id, one.name}] or [one for one in known if one.id.startswith(text)]
    if len(found) > 1:
        raise NotFoundError(f"Several {what}s are called {text!r}.", f"Give an id: {found[0].id}, …")
    if not found:
        names = {one.name for one in known}
        raise NotFoundError(f"There is no {what} {text!r}.", did_you_mean(text, names) or f"There are no {what}s.")
    return found[0]


def seconds(text: str) -> int:
    """Reads an interval: ``90s``, ``15m``, ``1h``, ``7d``.

    Raises:
        ArgumentError: It does not read.
    """
    match = _EVERY.fullmatch(text)
    if match is None or not int(match[1]):
        raise ArgumentError(f"An interval cannot be {text!r}.", "Write it with a unit: 15m, 1h, 7d.")
    return int(match[1]) * _UNITS[match[2]]
