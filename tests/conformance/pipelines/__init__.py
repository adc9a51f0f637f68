"""All cases, by theme."""

from tests.conformance.case import Case

from . import parameters

CASES: tuple[Case, ...] = (*parameters.CASES,)
