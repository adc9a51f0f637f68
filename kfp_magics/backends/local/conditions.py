"""Conditions of the IR: CEL, evaluated on typed values by a CEL library.

A condition that cannot be evaluated fails its task; it never counts as false, and nothing is ever given to ``eval``.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from kfp_magics.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kfp_magics.model import Json

_PARAMETER = r"inputs\.parameter_values\['(?:pipelinechannel--)?([^']*)'\]"
_CAST = re.compile(rf"\b(?:int|double|string|bool)\({_PARAMETER}\)")


def readable(expression: str) -> str:
    """Writes a condition as a person would: ``check-Output > 3``."""
    return re.sub(_PARAMETER, r"\1", _CAST.sub(r"\1", expression))


def holds(expression: str, parameters: Mapping[str, Json]) -> bool:
    """Evaluates a trigger condition.

    Args:
        expression: CEL over ``inputs.parameter_values``.
        parameters: The task's input parameters, typed.

    Raises:
        BackendError: It does not evaluate to true or false.
    """
    import celpy  # noqa: PLC0415  (takes 0.2 s; most pipelines have no condition)
    from celpy import json_to_cel  # noqa: PLC0415

    values = json_to_cel({"parameter_values": dict(parameters)})
    try:
        found = _program(expression).evaluate({"inputs": values})
    except (celpy.CELEvalError, celpy.CELParseError) as error:
        raise BackendError(
            f"The condition {expression} cannot be evaluated: {error.args[0] if error.args else error}.",
            "Compare values of one type.",
        ) from error
    if not isinstance(found, bool | celpy.celtypes.BoolType):
        raise BackendError(f"The condition {expression} gives {found!r}, which is neither true nor false.")
    return bool(found)


@lru_cache(maxsize=256)
def _program(expression: str) -> Any:  # noqa: ANN401  (celpy is untyped)
    import celpy  # noqa: PLC0415

    environment = celpy.Environment()
    return environment.program(environment.compile(expression))
