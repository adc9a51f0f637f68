"""All cases, by theme."""

from tests.conformance.case import Case

from . import artifacts, conditions, exits, loops, parameters

CASES: tuple[Case, ...] = (*parameters.CASES, *artifacts.CASES, *conditions.CASES, *loops.CASES, *exits.CASES)
