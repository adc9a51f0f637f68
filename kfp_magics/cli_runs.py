"""The command line's verbs about runs: looking at them, and acting on them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from kfp_magics.model import State
from kfp_magics.options import RunOptions
from kfp_magics.runs import text
from kfp_magics.session import Session

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001  (argparse has no public name for it)
    Follow = Callable[[Session, str, bool], int]
    Spoken = Callable[[str], str]
    At = Callable[[Session, str], None]

_RUN = "id, start of an id, name, or 'last'"
_SEVERAL = "ids, starts of ids, names, or 'last'"


def add(commands: Commands, follow: Follow, spoken: Spoken, at: At) -> None:
    """Adds the verbs.

    Args:
        commands: Where.
        follow: Shows a run, and waits for its end if asked to.
        spoken: Says what to type next as it is typed in a shell.
        at: Has a session ask the server of a name, or the one used last.
    """
    _add_looking(commands, spoken, at)
    for name, what in (("cancel", "end a run; exit handlers still run"), ("retry", "resume a failed run")):
        acting = commands.add_parser(name, help=what)
        acting.add_argument("run", nargs="?", default="", help=_RUN)
        acting.set_defaults(command=_cancel if name == "cancel" else lambda words: _retry(words, follow))
    clone = commands.add_parser("clone", help="start a run again, with the arguments that it had")
    clone.add_argument("run", nargs="?", default="", help=_RUN)
    clone.add_argument("values", nargs="*", metavar="key=value", help="arguments to change; None for no value")
    clone.add_argument("--name", default="", help="display name of the run")
    clone.add_argument("--experiment", default="", help="KFP experiment; as before when left out")
    clone.add_argument("--no-cache", action="store_true", help="run every task again")
    clone.add_argument("--detach", action="store_true", help="start it and return at once")
    clone.set_defaults(command=lambda words: _clone(words, follow))
    archive = commands.add_parser("archive", help="take runs out of the list, here and on their server")
    archive.add_argument("runs", nargs="+", metavar="RUN", help=_SEVERAL)
    archive.add_argument("--undo", action="store_true", help="put them back into the list")
    archive.set_defaults(command=_archive)
    delete = commands.add_parser("delete", help="delete runs that have ended, here and on their server")
    delete.add_argument("runs", nargs="+", metavar="RUN", help=_SEVERAL)
    delete.set_defaults(command=_delete)


def _add_looking(commands: Commands, spoken: Spoken, at: At) -> None:
    runs = commands.add_parser("runs", help="list runs, or show one")
    runs.add_argument("run", nargs="?", default="", help=_RUN)
    runs.add_argument("--search", default="", help="text in the name, the pipeline or the id")
    states = [str(one) for one in State]
    runs.add_argument("--state", action="append", default=[], choices=states, metavar="STATE", help=", ".join(states))
    runs.add_argument("--limit", type=int, default=20, help="at most so many")
    runs.add_argument("--archived", action="store_true", help="also those that were put away")
    runs.add_argument("--server", action="store_true", help="runs of the server, whoever started them")
    runs.add_argument("--connect", default="", metavar="WHERE", help="which server; the one used last when left out")
    runs.add_argument("--json", action="store_true", help="as JSON")
    runs.set_defaults(command=lambda words: _runs(words, spoken, at))

    logs = commands.add_parser("logs", help="print what steps printed")
    logs.add_argument("run", nargs="?", default="", help=_RUN)
    logs.add_argument("step", nargs="?", default="", help="only this step")
    logs.add_argument("-f", "--follow", action="store_true", help="until the run has ended")
    logs.set_defaults(command=_logs)

    artifacts = commands.add_parser("artifacts", help="list what steps wrote: artifacts and metrics")
    artifacts.add_argument("run", nargs="?", default="", help=_RUN)
    artifacts.add_argument("step", nargs="?", default="", help="only this step")
    artifacts.set_defaults(command=_artifacts)

    diff = commands.add_parser("diff", help="show what differs between two runs")
    diff.add_argument("a", nargs="?", default="-2", help=f"{_RUN}; the one before the newest when left out")
    diff.add_argument("b", nargs="?", default="-1", help="the other one; the newest when left out")
    diff.set_defaults(command=_diff)


def _runs(words: argparse.Namespace, spoken: Spoken, at: At) -> int:
    session = Session()
    if words.run:
        run = session.find(words.run)
        print(json.dumps(run.to_json(), indent=2) if words.json else text.run_tree(run))
        return 0
    wanted = {"limit": words.limit, "search": words.search, "states": [State(one) for one in words.state]}
    if words.server or words.connect:
        at(session, words.connect)
        found = session.servers.recent(**wanted)
    else:
        found = session.runs(**wanted, archived=words.archived)
    if words.json:
        print(json.dumps([run.to_json() for run in found], indent=2))
    else:
        print(spoken(text.runs_table(found, all_of_them=not (words.search or words.state))))
    return 0


def _logs(words: argparse.Namespace) -> int:
    session = Session()
    for piece in session.logs(session.find(words.run), words.step, follow=words.follow):
        print(piece, end="", flush=True)
    return 0


def _artifacts(words: argparse.Namespace) -> int:
    session = Session()
    run = session.find(words.run)
    print(text.artifacts_table((session.find_task(run, words.step),) if words.step else run.tasks))
    return 0


def _diff(words: argparse.Namespace) -> int:
    session = Session()
    print(text.comparison_text(session.compare(session.find(words.a), session.find(words.b))))
    return 0


def _cancel(words: argparse.Namespace) -> int:
    print(text.run_tree(Session().cancel(words.run)))
    return 0


def _retry(words: argparse.Namespace, follow: Follow) -> int:
    session = Session()
    return follow(session, session.retry(words.run).id, True)  # noqa: FBT003  (whether it waits)


def _clone(words: argparse.Namespace, follow: Follow) -> int:
    if "=" in words.run:  # no run is named so, and the newest one is meant
        words.run, words.values = "", [words.run, *words.values]
    session = Session()
    options = RunOptions(
        name=words.name, experiment=words.experiment, cache=not words.no_cache, executor="", started_by="cli"
    )
    return follow(session, session.clone(words.run, words.values, options).id, not words.detach)


def _archive(words: argparse.Namespace) -> int:
    from kfp_magics.runs import actions  # noqa: PLC0415  (only when something is put away)

    session = Session()
    for run in [session.find(one) for one in words.runs]:
        actions.archive(session.store, session.backends, run.id, archived=not words.undo)
        print(f"{'Back in the list' if words.undo else 'Archived'}: {run.name} ({run.id})")
    return 0


def _delete(words: argparse.Namespace) -> int:
    from kfp_magics.runs import actions  # noqa: PLC0415  (only when something is deleted)

    session = Session()
    for run in [session.find(one) for one in words.runs]:
        actions.delete(session.store, session.backends, run.id)
        print(f"Deleted: {run.name} ({run.id})")
    return 0
