"""What all handlers have in common: who may, what was asked, how the answer is written, what an error becomes."""

from __future__ import annotations

import json
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from tornado import web

from kfp_magics.errors import ArgumentError, BackendError, DefinitionError, KfpMagicsError, NotFoundError, StoreError
from kfp_magics.server.description import read_body, read_query

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Awaitable, Callable

    from kfp_magics.model import Json
    from kfp_magics.server.service import Service

P = ParamSpec("P")
RESOURCE = "kfp_magics"
SERVICE = "kfp_magics_service"
"""Key of the `Service` among the settings of the web application."""

_STATUS: tuple[tuple[type[KfpMagicsError], int], ...] = (
    (NotFoundError, 404),
    (ArgumentError, 400),
    (DefinitionError, 400),
    (StoreError, 503),
    (BackendError, 409),
)


def status_of(error: KfpMagicsError) -> int:
    """The HTTP status of an error; what cannot be done as things stand is a conflict."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 409)


class Handler(APIHandler):
    """A handler of the extension."""

    auth_resource = RESOURCE

    @property
    def service(self) -> Service:
        """The store, the backends and the threads."""
        found: Service = self.settings[SERVICE]
        return found

    def finish(self, *args: Any, **kwargs: Any) -> Future[None]:  # noqa: ANN401  (Jupyter's)
        """Ends the answer; Jupyter would call everything JSON."""
        kwargs.setdefault("set_content_type", self._headers.get("Content-Type", "application/json"))
        return super().finish(*args, **kwargs)

    def answer(self, value: Json, status: int = 200) -> None:
        """Writes JSON."""
        self.set_status(status)
        self.set_header("Content-Type", "application/json; charset=UTF-8")
        self.finish(_as_json(value))

    def unchanged(self, version: str) -> bool:
        """Whether the client has this version; it is told so and needs no more."""
        self.set_header("ETag", f'W/"{version}"')
        self.set_header("Cache-Control", "private, no-cache")
        if not self.check_etag_header():
            return False
        self.set_status(304)
        self.finish()
        return True

    def refuse(self, error: KfpMagicsError) -> None:
        """Writes an error as two lines: what is wrong, and what to do."""
        for name in ("ETag", "Content-Disposition", "Location"):
            self.clear_header(name)
        self.answer({"message": error.message, "hint": error.hint}, status_of(error))


def operation(
    name: str, action: str = "read"
) -> Callable[
    [Callable[Concatenate[Any, dict[str, Json], P], Awaitable[None]]], Callable[Concatenate[Any, P], Awaitable[None]]
]:
    """Makes a handler's method answer an operation of the API description.

    The user must be logged in and allowed the action; the method gets the parameters and the body as the
    description types them; errors of the domain become HTTP here and nowhere else.

    Args:
        name: The ``operationId``.
        action: ``read``, ``write``, or ``execute`` for what starts code.
    """

    def decorate(
        method: Callable[Concatenate[Any, dict[str, Json], P], Awaitable[None]],
    ) -> Callable[Concatenate[Any, P], Awaitable[None]]:
        @web.authenticated
        @authorized(action, RESOURCE)  # type: ignore[untyped-decorator]  # Jupyter's gives no types
        @wraps(method)
        async def answer(self: Handler, /, *args: P.args, **kwargs: P.kwargs) -> None:
            self._track_activity = action != "read"  # a panel that is open must not keep an idle server alive
            try:
                asked = read_query(name, lambda key: self.get_query_arguments(key, strip=False))
                asked |= read_body(name, self.request.body)
                await method(self, asked, *args, **kwargs)
            except KfpMagicsError as error:
                self.refuse(error)

        answer.operation = name  # type: ignore[attr-defined]  # a test walks these
        return answer  # type: ignore[return-value]  # so says Tornado's

    return decorate


def _as_json(value: Json) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:  # a metric may be no number, and browsers know no JSON for that
        return json.dumps(_without_nan(value))


def _without_nan(value: Json) -> Json:
    if isinstance(value, float) and (value != value or value in {float("inf"), float("-inf")}):  # noqa: PLR0124  (NaN)
        return {"inf": "Infinity", "-inf": "-Infinity"}.get(str(value), "NaN")
    if isinstance(value, dict):
        return {key: _without_nan(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(one) for one in value]
    return value
