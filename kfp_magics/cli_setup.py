"""The command line's verbs about what stands around a notebook: ``setup-auth``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from kfp_magics.delivery.auth.words import AUTH, auth_options, typed

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from kfp_magics.session import Session

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001  (argparse has no public name for it)
    Author = Callable[[str], Session]


def add(commands: Commands, author: Author) -> None:
    """Adds the verbs.

    Args:
        commands: Where.
        author: Gives the session of a notebook, by its path.
    """
    auth = commands.add_parser("setup-auth", help="show who needs which rights on Google Cloud; --apply does it")
    auth.add_argument("source", help="notebook (.ipynb)")
    auth.add_argument("parts", nargs="*", metavar="PART", help="steps, ci, cd; all of them when left out")
    for name, options in AUTH:
        text: str = options["help"]
        auth.add_argument(name, **{**options, "help": f"{text[0].lower()}{text[1:].rstrip('.')}"})
    auth.set_defaults(command=lambda words: _setup_auth(words, author))


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
