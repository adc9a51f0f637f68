"""The command line's verbs about servers: ``upload``, ``schedule``, ``experiments``, ``pipelines``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from kfp_magics.errors import ArgumentError
from kfp_magics.options import SCHEDULE, SCHEDULE_VERBS, in_a_shell
from kfp_magics.session import Session

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from kfp_magics.session import OnBuild

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001  (argparse has no public name for it)
    Open = Callable[[str, str], tuple[Session, str]]
    Shown = Callable[[Session], OnBuild]

_AT = "which server: an address, or the name of a connection; the one used last when left out"


def add(commands: Commands, open_source: Open, shown: Shown) -> None:
    """Adds the verbs.

    Args:
        commands: Where.
        open_source: Gives the session that knows a pipeline, by the file that has it and its name there, and what to
            call it.
        shown: Shows the builds of a session.
    """
    upload = commands.add_parser("upload", help="put a pipeline on a server, or a new version of one that is there")
    upload.add_argument("source", help="notebook (.ipynb), Python file (.py), or compiled pipeline (.yaml)")
    upload.add_argument("--pipeline", default="", help="which pipeline of the file; needed when it has several")
    upload.add_argument("--name", default="", help="name on the server; the pipeline's when left out")
    upload.add_argument("--version", dest="called", default="", help="name of the version; the time when left out")
    upload.set_defaults(command=lambda words: _upload(words, open_source, shown))

    schedule = commands.add_parser("schedule", help="have a pipeline run again and again on a server")
    schedule.add_argument(
        "what_to_do", nargs="?", default="list", choices=SCHEDULE_VERBS, metavar="VERB", help=_verbs()
    )
    schedule.add_argument(
        "what", nargs="?", default="", help="create: file of the pipeline; else a schedule's name or id"
    )
    schedule.add_argument("values", nargs="*", metavar="key=value", help="create: arguments of the pipeline")
    schedule.add_argument("--pipeline", default="", help="create: which pipeline of the file")
    for name, how in SCHEDULE:
        schedule.add_argument(name, **in_a_shell(how))
    schedule.set_defaults(command=lambda words: _schedule(words, open_source, shown))

    experiments = commands.add_parser("experiments", help="list the experiments of a server")
    experiments.set_defaults(command=_experiments)
    pipelines = commands.add_parser("pipelines", help="list the pipelines of a server, or the versions of one")
    pipelines.add_argument("name", nargs="?", default="", help="a pipeline, by name or id: its versions are listed")
    pipelines.set_defaults(command=_pipelines)
    for verb in (upload, schedule, experiments, pipelines):
        verb.add_argument("--connect", default="", metavar="WHERE", help=_AT)


def _verbs() -> str:
    return f"one of {', '.join(SCHEDULE_VERBS)}; list when left out"


def at(session: Session, where: str) -> None:
    """Has a session ask a server: the one that is named, that of the notebook, or the one that was used last.

    Raises:
        NotFoundError: None is known.
    """
    if where:
        session.servers.connect(where)
    elif last := session.servers.use_last():
        sys.stderr.write(f"At {last.name}, which was used last.\n")


def _upload(words: argparse.Namespace, open_source: Open, shown: Shown) -> int:
    from kfp_magics.widgets.servers import Note  # noqa: PLC0415  (drawn only now)

    session, what = open_source(words.source, words.pipeline)
    at(session, words.connect)
    pipeline = session.ready(what, on_build=shown(session))
    print(Note(session.servers.upload(pipeline, name=words.name, version=words.called)))
    return 0


def _schedule(words: argparse.Namespace, open_source: Open, shown: Shown) -> int:
    from kfp_magics.scheduling import create_schedule  # noqa: PLC0415  (only when something is scheduled)
    from kfp_magics.widgets.servers import SchedulesTable  # noqa: PLC0415  (drawn only now)

    verb = words.what_to_do
    if verb != "list" and not words.what:
        missing = "FILE --every 1h" if verb == "create" else "NAME"
        raise ArgumentError(f"{verb} what?", f"kfp-magics schedule {verb} {missing}")
    session, what = open_source(words.what, words.pipeline) if verb == "create" else (Session(), words.what)
    at(session, words.connect)
    servers = session.servers
    if verb == "create":
        found = [create_schedule(session, what, words, shown(session))]
    elif verb in {"enable", "disable"}:
        found = [servers.switch(what, enabled=verb == "enable")]
    else:
        if verb == "delete":
            servers.unschedule(what)
        found = servers.schedules()
    print(SchedulesTable(found))
    return 0


def _experiments(words: argparse.Namespace) -> int:
    from kfp_magics.widgets.servers import KeptTable  # noqa: PLC0415  (drawn only now)

    session = Session()
    at(session, words.connect)
    print(KeptTable(session.servers.experiments(), "experiments: kfp-magics run FILE --experiment NAME makes one"))
    return 0


def _pipelines(words: argparse.Namespace) -> int:
    from kfp_magics.widgets.servers import KeptTable  # noqa: PLC0415  (drawn only now)

    session = Session()
    at(session, words.connect)
    what = "versions" if words.name else "pipelines"
    print(KeptTable(session.servers.pipelines(words.name), f"{what}: kfp-magics upload FILE makes one"))
    return 0
