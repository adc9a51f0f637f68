"""The command line's verbs about what stands around a notebook: ``connect``, ``doctor``, ``setup-auth``."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from kfp_magics.delivery.auth.words import AUTH, auth_options, typed
from kfp_magics.errors import KfpMagicsError
from kfp_magics.options import CONNECT, in_a_shell

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from kfp_magics.doctor.findings import Case
    from kfp_magics.session import Session

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001  (argparse has no public name for it)
    Author = Callable[[str], Session]


def add(commands: Commands, author: Author) -> None:
    """Adds the verbs.

    Args:
        commands: Where.
        author: Gives the session of a notebook, by its path.
    """
    connect = commands.add_parser("connect", help="make a server known and ask it at once; alone, list those that are")
    for name, options in CONNECT:
        connect.add_argument(name, **in_a_shell(options))
    connect.set_defaults(command=_connect)
    auth = commands.add_parser("setup-auth", help="show who needs which rights on Google Cloud; --apply does it")
    auth.add_argument("source", help="notebook (.ipynb)")
    auth.add_argument("parts", nargs="*", metavar="PART", help="steps, ci, cd; all of them when left out")
    for name, options in AUTH:
        auth.add_argument(name, **in_a_shell(options))
    auth.set_defaults(command=lambda words: _setup_auth(words, author))
    doctor = commands.add_parser("doctor", help="look at what everything needs, and tell what mends what is missing")
    doctor.add_argument(
        "groups", nargs="*", metavar="GROUP", help="author, panel, build, run, ci, cd; all when left out"
    )
    doctor.add_argument("--notebook", default="", metavar="FILE", help="notebook whose export is compared")
    doctor.add_argument("--dir", default=".", help="the exported folder; this one when left out")
    doctor.add_argument("--json", action="store_true", help="as JSON")
    doctor.set_defaults(command=lambda words: _doctor(words, author))


def _connect(words: argparse.Namespace) -> int:
    from kfp_magics.session import Session  # noqa: PLC0415  (only when servers are asked)
    from kfp_magics.widgets.servers import CheckedCard, ConnectionsTable  # noqa: PLC0415  (as above)

    session = Session(notebook="")
    servers, settings = session.servers, session.settings
    if words.forget:
        servers.forget(words.where)
    if words.forget or not words.where:
        print(ConnectionsTable(list(servers.connections.all().values()), settings.backend, settings.connection))
        return 0
    names = [name.removeprefix("--").replace("-", "_") for name, _ in CONNECT if name not in {"where", "--forget"}]
    checked = servers.connect(words.where, {name: getattr(words, name) for name in names})
    known = shlex.quote(checked.connection.name) or "local"
    print(CheckedCard(checked, f"{checked.connection.name} is known: kfp-magics run FILE --connect {known}"))
    return 0


def _setup_auth(words: argparse.Namespace, author: Author) -> int:
    from kfp_magics.delivery.auth import text, verbs  # noqa: PLC0415  (only when rights are set up)

    options = auth_options(words)
    plan = verbs.plan_of(author(words.source), options)
    how = typed(f"kfp-magics setup-auth {shlex.quote(words.source)}", words)
    if words.terraform:
        print(verbs.written(plan, how, None if words.terraform == "-" else Path(words.terraform)), end="")
    elif words.apply:
        verbs.done(plan, lambda told: print(told, flush=True))
    else:
        print(text.script(plan, how), end="")
    return 0


def _doctor(words: argparse.Namespace, author: Author) -> int:
    from kfp_magics.doctor.checks import diagnose, groups  # noqa: PLC0415  (only when something is wrong)
    from kfp_magics.widgets.doctor import show  # noqa: PLC0415  (drawn only now)

    case = _case(words, groups(words.groups), author)
    if not words.json:
        return int(any(one.fails for one in show(diagnose(case), in_ipython=False, in_notebook=False).findings))
    found = list(diagnose(case))
    print(json.dumps([one.to_json() for one in found], indent=1))
    return int(any(one.fails for one in found))


def _case(words: argparse.Namespace, wanted: frozenset[str], author: Author) -> Case:
    from kfp_magics.doctor.findings import Case  # noqa: PLC0415  (as above)
    from kfp_magics.settings import Settings  # noqa: PLC0415

    folder = Path(words.dir)
    if not words.notebook:
        return Case(settings=Settings(), wanted=wanted, folder=folder)
    try:
        session = author(words.notebook)
    except KfpMagicsError as error:
        return Case(settings=Settings(), wanted=wanted, folder=folder, notebook=words.notebook, trouble=error)
    return Case(
        settings=session.settings,
        wanted=wanted,
        definitions=session.definitions,
        notebook=words.notebook,
        folder=folder,
    )
