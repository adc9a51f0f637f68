"""All checks, in the order in which they are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kfp_magics.doctor import author, build, delivering, running
from kfp_magics.doctor.findings import GROUPS, examine
from kfp_magics.errors import ArgumentError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kfp_magics.doctor.findings import Case, Finding

CHECKS = (*author.CHECKS, *build.CHECKS, *running.CHECKS, *delivering.CHECKS)


def groups(words: Iterable[str]) -> frozenset[str]:
    """Reads which groups somebody asks for.

    Raises:
        ArgumentError: There is none of that name.
    """
    found = frozenset(words)
    wrong = next((one for one in sorted(found) if one not in GROUPS), "")
    if wrong:
        raise ArgumentError(f"Nothing is looked at under {wrong!r}.", did_you_mean(wrong, GROUPS))
    return found


def diagnose(case: Case) -> Iterator[Finding]:
    """Looks at what somebody asks for; at everything when nothing was named."""
    return examine(case, [one for one in CHECKS if not case.wanted or one.group in case.wanted])
