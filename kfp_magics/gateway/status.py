"""What goes wrong, as Kubeflow Pipelines says it: a ``google.rpc.Status``, and the HTTP status that goes with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kfp_magics.errors import ArgumentError, BackendError, DefinitionError, KfpMagicsError, NotFoundError, StoreError

if TYPE_CHECKING:
    from kfp_magics.model import Failure, Json

INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, FAILED_PRECONDITION = 3, 5, 6, 9
UNIMPLEMENTED, INTERNAL, UNAVAILABLE, UNAUTHENTICATED = 12, 13, 14, 16
_HTTP = {
    INVALID_ARGUMENT: 400,
    NOT_FOUND: 404,
    ALREADY_EXISTS: 409,
    FAILED_PRECONDITION: 400,
    UNIMPLEMENTED: 501,
    INTERNAL: 500,
    UNAVAILABLE: 503,
    UNAUTHENTICATED: 401,
}


class ExistsError(BackendError):
    """Something of that name is there already."""


_CODES: tuple[tuple[type[KfpMagicsError], int], ...] = (
    (ExistsError, ALREADY_EXISTS),
    (NotFoundError, NOT_FOUND),
    (ArgumentError, INVALID_ARGUMENT),
    (DefinitionError, INVALID_ARGUMENT),
    (StoreError, UNAVAILABLE),
)


def code_of(error: KfpMagicsError) -> int:
    """The code of an error; what cannot be done as things stand is a failed precondition."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILED_PRECONDITION)


def http_status(code: int) -> int:
    """The HTTP status that goes with a code."""
    return _HTTP[code]


def status(code: int, message: str, hint: str = "") -> dict[str, Json]:
    """A ``google.rpc.Status``; what to do about it stands in its details."""
    details = (
        [{"@type": "type.googleapis.com/google.rpc.LocalizedMessage", "locale": "en", "message": hint}] if hint else []
    )
    return {"code": code, "message": message, "details": details}


def of_failure(failure: Failure) -> dict[str, Json]:
    """Why a run or a task failed; the step's own frames stand in the details."""
    found = status(INTERNAL, failure.message, failure.hint)
    if failure.traceback:
        frames = {"@type": "type.googleapis.com/google.rpc.DebugInfo", "stack_entries": failure.traceback.splitlines()}
        found["details"].append(frames)
    return found
