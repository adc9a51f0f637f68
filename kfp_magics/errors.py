"""What can go wrong, said in two lines: what is wrong with what, and what to type next.

::

    KfpMagicsError
    ├── DefinitionError     a cell, an option or a pipeline is not what it must be
    │   └── NamesError      a step reads names that it will not have
    ├── NotFoundError       a step, pipeline, run, task or artifact of that name does not exist
    ├── ArgumentError       an argument of a run is missing, unknown or of the wrong type
    ├── RequirementsError   the environment that a step needs cannot be made
    ├── EngineError         a container engine is not here, or does not work
    ├── BackendError        a backend cannot do what was asked
    │   ├── LoginError          a server does not know who asks, or does not let them
    │   └── UnavailableError    a server cannot be reached, or fails again and again
    │       └── UncertainError  nobody knows whether it has done what was asked
    ├── BuildError          an image cannot be built or stored
    │   ├── BuildCancelledError  somebody asked for the end of the build
    │   └── RegistryError   a registry refuses, or does not answer
    │       ├── AccessDeniedError         it refuses to let this login read or write
    │       ├── DigestMismatchError       content is not what its digest says
    │       ├── ImageNotFoundError        it holds no such image, blob or platform
    │       └── RegistryUnavailableError  it cannot be reached, or fails again and again
    ├── DeliveryError       a repository, a trigger or a commit stands in the way of delivery
    ├── StoreError          the store of runs cannot be read or written
    └── RunFailedError      a run that was waited for did not succeed

    KeyboardInterrupt
    └── WaitInterrupted     somebody stopped waiting for something that goes on, or has ended with it
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kfp_magics.model import Run


class _InTwoLines(BaseException):
    """What is said in two lines, without a stack: what it is about, and what to type next.

    Args:
        message: What is wrong with what.
        hint: What to type next.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message

    def _render_traceback_(self) -> list[str]:
        """IPython prints these lines instead of a stack and keeps the exception's type."""
        return str(self).splitlines()


class KfpMagicsError(_InTwoLines, Exception):
    """A mistake that the user can mend: shown as two lines in a notebook, without a stack."""


class WaitInterrupted(_InTwoLines, KeyboardInterrupt):
    """Somebody stopped waiting; the lines say whether what was waited for goes on."""


class DefinitionError(KfpMagicsError):
    """A cell, an option or a pipeline is not what it must be."""


class NamesError(DefinitionError):
    """A step reads names that it neither defines, imports nor takes as input."""


class NotFoundError(KfpMagicsError):
    """A step, pipeline, run, task or artifact of that name does not exist."""


class ArgumentError(KfpMagicsError):
    """An argument of a run is missing, unknown or of the wrong type."""


class RequirementsError(KfpMagicsError):
    """The environment that a step needs cannot be made."""


class EngineError(KfpMagicsError):
    """A container engine is not on this machine, or does not work."""


class BackendError(KfpMagicsError):
    """A backend cannot do what was asked of it."""


class LoginError(BackendError):
    """A server does not know who asks, or does not let them do it."""


class UnavailableError(BackendError):
    """A server cannot be reached, or fails again and again."""


class UncertainError(UnavailableError):
    """The answer got lost: nobody knows whether a server has done what was asked."""


class BuildError(KfpMagicsError):
    """An image cannot be built or stored; nothing is half-published."""


class BuildCancelledError(BuildError):
    """Somebody asked for the end of the build."""


class RegistryError(BuildError):
    """A registry refuses what was asked of it, or does not answer."""


class AccessDeniedError(RegistryError):
    """A registry does not let this login read or write there."""


class DigestMismatchError(RegistryError):
    """Content is not what its digest says: damaged on the way, or tampered with."""


class ImageNotFoundError(RegistryError):
    """A registry holds no such image or blob, or not for this platform."""


class RegistryUnavailableError(RegistryError):
    """A registry cannot be reached, or fails again and again."""


class DeliveryError(KfpMagicsError):
    """A repository, a trigger or a commit stands in the way of delivery."""


class StoreError(KfpMagicsError):
    """The store of runs cannot be read or written."""


class RunFailedError(KfpMagicsError):
    """A run that was waited for did not succeed.

    Attributes:
        run: The run as it ended.
    """

    def __init__(self, message: str, hint: str = "", *, run: Run) -> None:
        super().__init__(message, hint)
        self.run = run


def did_you_mean(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """Names the known words closest to a wrong one, or lists the first few.

    Args:
        word: What the user typed.
        known: What would have been right.
        otherwise: What to say instead of a list.

    Returns:
        ``Did you mean 'preprocess'?``, or ``Known: a, b, c.``, or an empty string when nothing is known.
    """
    words = sorted(known)
    close = difflib.get_close_matches(word, words, n=2, cutoff=0.6)
    if close:
        return "Did you mean " + " or ".join(repr(one) for one in close) + "?"
    if otherwise or not words:
        return otherwise
    return "Known: " + ", ".join(words[:8]) + (f" and {len(words) - 8} more." if len(words) > 8 else ".")
