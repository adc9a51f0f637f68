"""What the tab key offers behind a magic: its options, what the notebook defined, runs and their steps."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from kfp_magics.errors import KfpMagicsError

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from IPython.core.interactiveshell import InteractiveShell

    from kfp_magics.session import Session

_PIPELINES = frozenset({"pipeline", "names"})
_STEPS = frozenset({"step"})
_RUNS = frozenset({"run", "runs", "a", "b"})


def offer(shell: InteractiveShell, session: Session, magics: dict[str, Any]) -> None:
    """Offers completions for magics.

    Args:
        shell: The shell.
        session: What the notebook defined.
        magics: Name → the decorated magic.
    """
    for name, magic in magics.items():
        complete = _Completer(session, magic.parser)
        for sign in ("%", "%%"):
            shell.set_hook("complete_command", complete, str_key=sign + name)


class _Completer:
    """Completes the line of one magic.

    Args:
        session: What the notebook defined.
        parser: What the magic takes.
    """

    def __init__(self, session: Session, parser: ArgumentParser) -> None:
        self._session = session
        self._parser = parser

    def __call__(self, _shell: object, event: Any) -> list[str]:  # noqa: ANN401  (IPython's event)
        words = event.text_until_cursor.split()[1:]
        if event.symbol.startswith("-"):
            return [option for action in self._parser._actions for option in action.option_strings]  # noqa: SLF001  (no public list)
        if words and not event.text_until_cursor[-1:].isspace():
            words.pop()  # the word that is being typed
        if words[-1:] == ["--run"]:
            return self._pipelines()
        with suppress(KfpMagicsError):
            return self._offers(words)
        return []

    def _offers(self, words: list[str]) -> list[str]:
        before = [word for word in words if not word.startswith("-")]
        actions = [action for action in self._parser._actions if not action.option_strings]  # noqa: SLF001
        action = actions[min(len(before), len(actions) - 1)] if actions else None
        fixed = list(action.choices or _several(action.dest)) if action else []
        if action is None or fixed:
            return [word for word in fixed if word not in before]
        if action.dest in _RUNS:
            return ["last", *(run.id for run in self._session.store.list(limit=20))]
        if action.dest in _STEPS and any(one.dest == "run" for one in actions):
            return [task.id for task in self._session.store.find(before[0]).tasks if task.has_log]
        if action.dest in _STEPS:
            return sorted(self._session.definitions.steps)
        if action.dest in _PIPELINES:
            return self._pipelines()
        named = words[words.index("--run") + 1 :][:1] if "--run" in words else before[:1]
        return [f"{name}=" for what in named for name in self._inputs(what)] if action.dest == "values" else []

    def _pipelines(self) -> list[str]:
        return sorted({*self._session.definitions.pipelines, *self._session.definitions.steps})

    def _inputs(self, name: str) -> list[str]:
        defined = self._session.definitions
        if name in defined.pipelines:
            return [port.name for port in defined.pipelines[name].pipeline.parameters]
        return [port.name for port in defined.steps[name].component.inputs] if name in defined.steps else []


def _several(dest: str) -> tuple[str, ...]:
    """Words of which one may type several."""
    if dest == "groups":
        from kfp_magics.doctor.findings import GROUPS  # noqa: PLC0415  (only when somebody asks)

        return GROUPS
    from kfp_magics.delivery.auth.words import PARTS  # noqa: PLC0415  (as above)

    return PARTS if dest == "parts" else ()
