"""What can be done to a run, wherever it runs and whoever asks: the notebook, the command line or the server."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING

from kfp_magics import arguments
from kfp_magics import ir as irs
from kfp_magics.backends.allowed import check_executor
from kfp_magics.backends.base import KeepsFiles, KeepsRuns
from kfp_magics.backends.local import request_of
from kfp_magics.errors import ArgumentError, BackendError
from kfp_magics.runs.watch import ask, poll_by

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kfp_magics.backends.base import Backend
    from kfp_magics.model import Json, Run
    from kfp_magics.options import RunOptions
    from kfp_magics.runs.store import Store
    from kfp_magics.settings import Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class Again:
    """What is different when a run is started again.

    Attributes:
        arguments: Parameter → value; those that are not named stay as they were.
        backend: Where; as before when empty.
        name: Display name; made anew when empty.
        experiment: KFP experiment; as before when empty.
        cache: False runs every task anew.
        executor: On this machine, ``process`` or ``container``; as before when empty.
        started_by: Who starts it.
    """

    arguments: Mapping[str, Json] = field(default_factory=dict)
    backend: str = ""
    name: str = ""
    experiment: str = ""
    cache: bool = True
    executor: str = ""
    started_by: str = "notebook"


def current(store: Store, backends: Mapping[str, Backend], run_id: str) -> Run:
    """Gives a run as it stands now.

    Raises:
        NotFoundError: There is none.
    """
    run = store.get(run_id)
    return run if run.state.final else ask(store, run, poll_by(backends))


def again(settings: Settings, run: Run, words: Iterable[str], options: RunOptions) -> Again:
    """Reads what is to be different: ``key=value`` words, and the options of a run.

    Raises:
        NotFoundError: What the run was asked to do is no longer known.
        ArgumentError: A word is unknown or of the wrong type, or an option makes no sense for a run that is repeated.
    """
    if options.build is not None:
        raise ArgumentError("A clone runs the images of the run that it repeats.", "Leave --build out.")
    pipeline = irs.parse(request_of(settings, run).ir)
    values = arguments.typed(arguments.split_words(words), irs.parameters(pipeline), f"pipeline {irs.name(pipeline)!r}")
    known = {one.name for one in fields(Again)}
    return Again(arguments=values, **{key: value for key, value in asdict(options).items() if key in known})


def clone(settings: Settings, backends: Mapping[str, Backend], run: Run, again: Again) -> Run:
    """Starts a run of the same compiled pipeline, with the same arguments but for those given.

    Raises:
        NotFoundError: What the run was asked to do is no longer known.
        ArgumentError: An argument is unknown or of the wrong type, or an option means nothing there. Nothing was
            started.
    """
    backend = again.backend or run.backend
    check_executor(again.executor, backend)
    request = request_of(settings, run)
    options = replace(
        request.options,
        name=again.name,
        experiment=again.experiment or request.options.experiment,
        cache=again.cache,
        executor=again.executor or request.options.executor,
        started_by=again.started_by,
        key="",
    )
    ports = irs.parameters(irs.parse(request.ir))
    values = arguments.given({**request.arguments, **again.arguments}, ports)
    return backends[backend].submit(request.ir, values, options)


def delete(store: Store, backends: Mapping[str, Backend], run_id: str) -> None:
    """Forgets a run that has ended, and what it left on this machine.

    Raises:
        BackendError: It still runs.
        NotFoundError: There is none.
    """
    run = store.get(run_id)
    if run.backend in backends:
        run = current(store, backends, run_id)
        if not run.state.final:
            raise BackendError(
                f"The run {run.name!r} is {run.state}.",
                f"Cancel it first: %kfp_cancel {run.id}; delete it when it has ended.",
            )
        backend = backends[run.backend]
        if isinstance(backend, KeepsFiles):
            backend.forget(run)
        if isinstance(backend, KeepsRuns):
            backend.delete(run)
    store.delete(run_id)


def archive(store: Store, backends: Mapping[str, Backend], run_id: str, *, archived: bool = True) -> None:
    """Takes a run out of the usual list, or puts it back; on its server as well, where there is one.

    Raises:
        NotFoundError: There is none.
        BackendError: Its server does not do it; nothing was changed.
    """
    run = store.get(run_id)
    if run.backend in backends:
        backend = backends[run.backend]
        if isinstance(backend, KeepsRuns):
            backend.archive(run, archived=archived)
    store.archive(run_id, archived=archived)
