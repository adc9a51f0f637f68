"""What is looked at, and what comes of it."""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from kfp_magics.errors import KfpMagicsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from kfp_magics.definitions import Definitions
    from kfp_magics.model import Json
    from kfp_magics.settings import Settings

GROUPS = ("author", "panel", "build", "run", "ci", "cd")
"""What one may want to do, in the order in which one does it."""
_OUR_VERBS = re.compile(r"%kfp_(build|cd|ci|compile|doctor|export|logs|run|runs)\b")
_COMMAND = re.compile(r"[%!]|(?:curl|docker|export|gcloud|git|kfp-magics|kubectl|lsof|mv|pip|podman) ")
PATIENCE = 8.0
"""Seconds that a check may take, unless it says otherwise."""


class Word(StrEnum):
    """How it stands with something."""

    OK = "ok"
    MISSING = "missing"
    BROKEN = "broken"
    NOT_NEEDED = "not needed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Mend:
    """What to type.

    Attributes:
        command: In a shell.
        magic: In a notebook.
    """

    command: str
    magic: str


def typed(shell: str, magic: str = "") -> Mend:
    """A command of the shell, which a notebook passes on."""
    return Mend(command=shell, magic=magic or f"!{shell}")


def installed(what: str) -> Mend:
    """The installation of packages."""
    return Mend(command=f"pip install --upgrade '{what}'", magic=f"%pip install --upgrade '{what}'")


def setting(name: str, value: str) -> Mend:
    """A setting."""
    variable = f"KFP_MAGICS_{name.upper()}"
    return Mend(command=f"export {variable}={value}", magic=f"%env {variable}={value}\n%reload_ext kfp_magics")


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a check found.

    Attributes:
        word: How it stands.
        note: One line about it.
        mend: What mends it.
        needed: Whether something does not work as things stand.
    """

    word: Word
    note: str
    mend: Mend | None = None
    needed: bool = True


LOG_IN = typed("gcloud auth application-default login")
"""Who has no credentials for Google."""


def ok(note: str) -> Answer:
    """It is as it should be."""
    return Answer(word=Word.OK, note=note)


def unneeded(note: str, mend: Mend | None = None) -> Answer:
    """It is not here, and nothing asks for it."""
    return Answer(word=Word.NOT_NEEDED, note=note, mend=mend, needed=False)


def missing(note: str, mend: Mend, *, needed: bool = True) -> Answer:
    """It is not here; where nothing asks for it, that is no fault."""
    return Answer(word=Word.MISSING, note=note, mend=mend) if needed else unneeded(note, mend)


def broken(note: str, mend: Mend | None = None, *, needed: bool = True) -> Answer:
    """It is here and does not work."""
    return Answer(word=Word.BROKEN, note=note, mend=mend, needed=needed)


def refused(error: KfpMagicsError, otherwise: Mend | None = None, *, needed: bool = True) -> Answer:
    """What an error says.

    Args:
        error: It.
        otherwise: What to type when its hint is nothing that can be typed, and says what to look at.
        needed: Whether something asks for it.
    """
    mend = hinted(error.hint)
    if mend is None or _COMMAND.match(mend.magic):
        return broken(error.message, mend or otherwise, needed=needed)
    return broken(f"{error.message} {error.hint}", otherwise, needed=needed)


def hinted(hint: str) -> Mend | None:
    """A hint of an error, which is written for notebooks."""
    magic = hint.removeprefix("Type: ")
    command = re.sub(r"%env (\w+=)", r"export \1", _OUR_VERBS.sub(r"kfp-magics \1", magic))
    return Mend(command=command, magic=magic) if magic else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """What is looked at.

    Attributes:
        settings: Where things are kept and how they run.
        wanted: Groups that somebody asked for: what they need is needed.
        definitions: What the notebook defined; None without a notebook.
        notebook: Path of the notebook, as far as known.
        in_ipython: Whether IPython asks, in a notebook or in a terminal.
        in_notebook: Whether a notebook does.
        trouble: Why the notebook cannot be read.
        folder: Where one stands; an exported folder is looked for there.
    """

    settings: Settings
    wanted: frozenset[str] = frozenset()
    definitions: Definitions | None = None
    notebook: str = ""
    in_ipython: bool = False
    in_notebook: bool = False
    trouble: KfpMagicsError | None = None
    folder: Path = field(default_factory=Path)

    @property
    def home(self) -> Path:
        """Where things are kept; not made for being looked at."""
        return Path(self.settings.home).expanduser()

    def wants(self, group: str) -> bool:
        """Whether somebody asked for it."""
        return group in self.wanted

    def hasty(self, **values: Json) -> Settings:
        """The same settings, with little patience for servers, and with other values."""
        from kfp_magics.settings import Settings  # noqa: PLC0415  (beside its only use)

        same = {name: getattr(self.settings, name) for name in self.settings.trait_names(config=True)}
        return Settings(**{**same, "server_timeout": 4.0, "server_patience": 0.0, **values})


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """Something that is looked at.

    Attributes:
        group: Which of `GROUPS`.
        name: What it is.
        look: Looks.
        patience: Seconds that it may take.
        mend: What helps when there is no answer.
    """

    group: str
    name: str
    look: Callable[[Case], Answer]
    patience: float = PATIENCE
    mend: Mend | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What came of a check.

    Attributes:
        group: Which of `GROUPS`.
        name: What was looked at.
        answer: What was found.
    """

    group: str
    name: str
    answer: Answer

    @property
    def fails(self) -> bool:
        """Whether something that is needed is not there or does not work."""
        return self.answer.needed and self.answer.word in {Word.MISSING, Word.BROKEN}

    def to_json(self) -> Mapping[str, Json]:
        """The finding as plain values."""
        answer = self.answer
        return {
            "group": self.group,
            "name": self.name,
            "state": str(answer.word),
            "needed": answer.needed,
            "note": answer.note,
            "mend": answer.mend.command if answer.mend else "",
        }


def examine(case: Case, checks: Sequence[Check]) -> Iterator[Finding]:
    """Looks at everything at once, and tells it in order, each as soon as it and what is before it are known.

    Args:
        case: What is looked at.
        checks: In the order in which they are told.
    """
    began = time.monotonic()
    looks = [_Look(case, check) for check in checks]
    for look in looks:
        look.start()
    for look in looks:
        look.join(max(0.0, began + look.check.patience - time.monotonic()))
        yield look.finding()


class _Look(threading.Thread):
    """A check under way; what does not answer is left behind, and keeps nobody from ending."""

    def __init__(self, case: Case, check: Check) -> None:
        super().__init__(name=f"kfp-magics {check.name}", daemon=True)
        self.case, self.check = case, check
        self._answer: Answer | None = None
        self._failure: BaseException | None = None

    def run(self) -> None:
        try:
            self._answer = self.check.look(self.case)
        except KfpMagicsError as error:
            self._answer = refused(error)
        except BaseException as error:  # noqa: BLE001  (raised again where it is waited for, with its stack)
            self._failure = error

    def finding(self) -> Finding:
        if self._failure is not None:
            raise self._failure
        silent = broken(f"no answer within {self.check.patience:g} s", self.check.mend)
        return Finding(group=self.check.group, name=self.check.name, answer=self._answer or silent)
