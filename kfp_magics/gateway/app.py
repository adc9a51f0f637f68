"""The web application: which request is answered by what."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

import kfp_magics
from kfp_magics import mlmd
from kfp_magics.backends.known import Backends
from kfp_magics.errors import ArgumentError, KfpMagicsError
from kfp_magics.gateway import status
from kfp_magics.gateway.access import Guard
from kfp_magics.gateway.content import Content
from kfp_magics.gateway.experiments import Experiments
from kfp_magics.gateway.jobs import Job
from kfp_magics.gateway.lists import Asked
from kfp_magics.gateway.metadata import Metadata
from kfp_magics.gateway.pipelines import Change, Naming, Pipelines, tags_of
from kfp_magics.gateway.runs import Runs
from kfp_magics.gateway.scheduler import Scheduler
from kfp_magics.gateway.schedules import Schedules
from kfp_magics.gateway.specs import ir_of
from kfp_magics.gateway.words import get, message, text
from kfp_magics.packages import LARGEST, unpack
from kfp_magics.runs.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.requests import Request

    from kfp_magics.model import Json
    from kfp_magics.settings import Settings

_PATIENCE = 10.0  # seconds to wait for a locked store: a client waits for the answer
_ROOT = "/apis/v2beta1"
_FRONT = """\
Here is Kubeflow Pipelines' API for the runs of one machine, for the kfp client and command line. It has no pages.

Runs are seen in JupyterLab's panel, by %kfp_runs in a notebook, and in a terminal:
  kfp-magics runs
  kfp-magics runs RUN        (RUN is the id behind 'local-')
  kfp-magics logs RUN
"""
_FRAME = 1 << 16  # bytes that an upload may have around its file


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """A request as it was read.

    Attributes:
        path: What the placeholders of the path stand for.
        query: What stands behind the question mark.
        body: The message that came with it.
    """

    path: Mapping[str, Any]
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Json] = field(default_factory=dict)

    @property
    def page(self) -> Asked:
        """Which page is asked for."""
        return Asked.of(self.query)

    def flag(self, name: str) -> bool:
        """A yes or no of the query."""
        return self.word(name).lower() in {"1", "true"}

    def word(self, name: str) -> str:
        """A text of the query."""
        return get(self.query, name) or ""


class Gateway:
    """Everything that answers.

    Args:
        settings: Where things are kept and how they run.
    """

    def __init__(self, settings: Settings) -> None:
        self.store = Store(settings.store_path, patience=_PATIENCE)
        backend = Backends(settings, self.store)["local"]
        self.experiments = Experiments(self.store)
        self.pipelines = Pipelines(self.store)
        self.runs = Runs(settings, self.store, backend, self.experiments, self.pipelines)
        self.schedules = Schedules(self.store, self.experiments, self.pipelines)
        self.content = Content(self.runs, backend)
        self.metadata = Metadata(self.store, self.runs)
        self.scheduler = Scheduler(self.schedules, self.runs, self.store, backend, settings.home_path / "serve.lock")

    def app(self, token: str) -> Starlette:
        """The web application.

        Args:
            token: What clients must know.
        """
        return Starlette(
            routes=[*self._run_routes(), *self._pipeline_routes(), *self._other_routes()],
            middleware=[Middleware(Guard, token=token)],
            exception_handlers={HTTPException: _refuse_route, KfpMagicsError: _refuse, Exception: _fail},
        )

    def _run_routes(self) -> list[Route]:
        runs, one = self.runs, "/runs/{run_id}"
        log = "/apis/v1alpha1/runs/{run_id}/nodes/{node:path}/log"
        artifact = "/runs/{run_id}/nodes/{node:path}/artifacts/{name}:read"
        return [
            _route("GET", "/runs", lambda call: runs.list(call.page, call.word("experiment_id"))),
            _route("POST", "/runs", self._create_run),
            Route(log, self._log, methods=["GET"]),
            *(Route(root + artifact, self._artifact, methods=["GET"]) for root in (_ROOT, "/apis/v1beta1")),
            _route("POST", f"{one}:terminate", lambda call: runs.terminate(**call.path)),
            _route("POST", f"{one}:retry", lambda call: runs.retry(**call.path)),
            _route("POST", f"{one}:archive", lambda call: runs.archive(**call.path, archived=True)),
            _route("POST", f"{one}:unarchive", lambda call: runs.archive(**call.path, archived=False)),
            _route("GET", one, lambda call: runs.get(**call.path)),
            _route("DELETE", one, lambda call: runs.delete(**call.path)),
        ]

    def _pipeline_routes(self) -> list[Route]:
        pipelines, one = self.pipelines, "/pipelines/{pipeline_id}"
        versions, version = f"{one}/versions", f"{one}/versions/{{version_id}}"
        return [
            _route("GET", "/pipelines", lambda call: pipelines.list(call.page)),
            _route("POST", "/pipelines", lambda call: pipelines.create(_naming(call.body))[0]),
            _route("POST", "/pipelines/create", self._create_pipeline_and_version),
            Route(f"{_ROOT}/pipelines/upload", self._upload, methods=["POST"]),
            Route(f"{_ROOT}/pipelines/upload_version", self._upload_version, methods=["POST"]),
            _route("GET", "/pipelines/names/{name}", lambda call: pipelines.by_name(**call.path)),
            _route("GET", one, lambda call: pipelines.get(**call.path)),
            _route("PATCH", one, lambda call: pipelines.update(**call.path, change=Change.of(call.body))),
            _route("DELETE", one, lambda call: pipelines.delete(**call.path, cascade=call.flag("cascade"))),
            _route("GET", versions, lambda call: pipelines.list_versions(**call.path, asked=call.page)),
            _route("POST", versions, self._create_version),
            _route("GET", version, lambda call: pipelines.version(**call.path)),
            _route("PATCH", version, lambda call: pipelines.update_version(**call.path, change=Change.of(call.body))),
            _route("DELETE", version, lambda call: pipelines.delete_version(**call.path)),
        ]

    def _other_routes(self) -> list[Route]:
        experiments, schedules = self.experiments, self.schedules
        experiment, recurring = "/experiments/{experiment_id}", "/recurringruns/{schedule_id}"
        return [
            Route(mlmd.PATH + "{method}", self._metadata, methods=["POST"]),
            Route("/", _front, methods=["GET"]),
            *(Route(f"/apis/{version}/healthz", _healthz, methods=["GET"]) for version in ("v2beta1", "v1beta1")),
            _route("GET", "/experiments", lambda call: experiments.list(call.page)),
            _route("POST", "/experiments", lambda call: experiments.create(call.body)),
            _route("POST", f"{experiment}:archive", lambda call: experiments.archive(**call.path, archived=True)),
            _route("POST", f"{experiment}:unarchive", lambda call: experiments.archive(**call.path, archived=False)),
            _route("GET", experiment, lambda call: experiments.get(**call.path)),
            _route("DELETE", experiment, lambda call: experiments.delete(**call.path)),
            _route("GET", "/recurringruns", lambda call: schedules.list(call.page, call.word("experiment_id"))),
            _route("POST", "/recurringruns", lambda call: schedules.create(call.body)),
            _route("POST", f"{recurring}:enable", lambda call: schedules.enable(**call.path, enabled=True)),
            _route("POST", f"{recurring}:disable", lambda call: schedules.enable(**call.path, enabled=False)),
            _route("GET", recurring, lambda call: schedules.get(**call.path)),
            _route("DELETE", recurring, lambda call: schedules.delete(**call.path)),
        ]

    def _create_run(self, call: Call) -> dict[str, Json]:
        return self.runs.start(Job.of(call.body, self.experiments.name, call.word("experiment_id")))

    def _create_version(self, call: Call) -> dict[str, Json]:
        return self.pipelines.create_version(
            call.path["pipeline_id"], _naming(call.body), ir_of(get(call.body, "pipeline_spec"))
        )

    def _create_pipeline_and_version(self, call: Call) -> dict[str, Json]:
        version = message(call.body, "pipeline_version")
        ir = ir_of(get(version, "pipeline_spec"))
        return self.pipelines.create(_naming(message(call.body, "pipeline")), ir)[0]

    async def _upload(self, request: Request) -> Response:
        naming, ir = await _uploaded(request)
        made, _ = await run_in_threadpool(self.pipelines.create, naming, ir)
        return _answer(made)

    async def _upload_version(self, request: Request) -> Response:
        pipeline_id = request.query_params.get("pipelineid", "")
        naming, ir = await _uploaded(request)
        return _answer(await run_in_threadpool(self.pipelines.create_version, pipeline_id, naming, ir))

    async def _log(self, request: Request) -> Response:
        follow = request.query_params.get("follow", "").lower() in {"1", "true"}
        pieces = await self.content.log(**request.path_params, follow=follow)
        return StreamingResponse(pieces, media_type="text/plain; charset=utf-8")

    async def _metadata(self, request: Request) -> Response:
        answer = await run_in_threadpool(self.metadata.answer, request.path_params["method"], await _data(request))
        return Response(answer, media_type=mlmd.CONTENT_TYPE)

    async def _artifact(self, request: Request) -> Response:
        pieces = await run_in_threadpool(self.content.artifact, **request.path_params)
        return StreamingResponse(pieces, media_type="application/json")


def _route(method: str, path: str, answer: Callable[[Call], dict[str, Json] | None]) -> Route:
    async def endpoint(request: Request) -> Response:
        body = await _body(request) if method in {"POST", "PATCH"} else {}
        call = Call(path=request.path_params, query=dict(request.query_params), body=body)
        return _answer(await run_in_threadpool(answer, call) or {})

    return Route(_ROOT + path, endpoint, methods=[method])


async def _data(request: Request) -> bytes:
    data = b""
    async for piece in request.stream():
        data += piece
        if len(data) > LARGEST:
            raise ArgumentError(f"The request is larger than {LARGEST >> 20} MB.", "Upload the pipeline instead.")
    return data


async def _body(request: Request) -> dict[str, Json]:
    try:
        found = json.loads(await _data(request) or b"{}")
    except ValueError as error:
        raise ArgumentError(f"The request is no JSON: {error}.") from error
    except RecursionError as error:
        raise ArgumentError("The request is nested too deeply.") from error
    if not isinstance(found, dict):
        raise ArgumentError("The request is no JSON object.")
    return found


def _naming(body: Mapping[str, Json]) -> Naming:
    return Naming(
        tags=tags_of(body),
        **{name: text(body, name) for name in ("name", "display_name", "description", "code_source_url")},
    )


async def _uploaded(request: Request) -> tuple[Naming, str]:
    if "content-length" not in request.headers:
        raise ArgumentError("The upload does not say how long it is.", "Send a Content-Length.")
    if int(request.headers["content-length"]) > LARGEST + _FRAME:
        raise ArgumentError(f"The file is larger than {LARGEST >> 20} MB.", "Upload the compiled pipeline alone.")
    query = request.query_params
    async with request.form(max_files=1, max_fields=10) as form:
        file = form.get("uploadfile")
        if file is None or isinstance(file, str):
            raise ArgumentError("There is no file 'uploadfile' in the request.", "Send it as multipart/form-data.")
        name = file.filename or "pipeline.yaml"
        ir = await run_in_threadpool(unpack, name, await file.read())
    try:
        tags = json.loads(query.get("tags") or "{}")
    except ValueError as error:
        raise ArgumentError(f"The tags are no JSON: {error}.", '{"team": "a"}') from error
    words = {key: query.get(key, "") for key in ("name", "display_name", "description", "code_source_url")}
    words["name"] = words["name"] or words["display_name"] or name
    return _naming({**words, "tags": tags}), ir


async def _front(request: Request) -> Response:  # noqa: ARG001  (Starlette's)
    """What a browser sees where the kfp client links to pages of a cluster."""
    return PlainTextResponse(_FRONT)


async def _healthz(request: Request) -> Response:  # noqa: ARG001  (Starlette's)
    return _answer(
        {
            "commit_sha": "unknown",
            "commit_time": "unknown",
            "tag_name": f"kfp-magics {kfp_magics.__version__}",
            "multi_user": False,
            "pipeline_store": "database",
        }
    )


def _answer(value: Json, http_status: int = 200) -> Response:
    try:
        content = json.dumps(value, allow_nan=False)
    except ValueError:  # a parameter may be no number, and JSON has no word for that
        content = json.dumps(_without_nan(value))
    return Response(content, http_status, media_type="application/json")


def _without_nan(value: Json) -> Json:
    if isinstance(value, float) and (value != value or value in {float("inf"), float("-inf")}):  # noqa: PLR0124  (NaN)
        return {"inf": "Infinity", "-inf": "-Infinity"}.get(str(value), "NaN")
    if isinstance(value, dict):
        return {key: _without_nan(one) for key, one in value.items()}
    return [_without_nan(one) for one in value] if isinstance(value, list | tuple) else value


async def _refuse(request: Request, error: Exception) -> Response:  # noqa: ARG001  (Starlette's)
    assert isinstance(error, KfpMagicsError)
    code = status.code_of(error)
    return _answer(status.status(code, error.message, error.hint), status.http_status(code))


async def _refuse_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        code, said = status.UNIMPLEMENTED, f"{request.method} {request.url.path} is not offered here."
    elif error.status_code == 404:
        code, said = status.NOT_FOUND, f"There is nothing at {request.url.path}."
    else:
        code, said = status.INVALID_ARGUMENT, str(error.detail)
    return _answer(status.status(code, said), status.http_status(code))


async def _fail(request: Request, error: Exception) -> Response:  # noqa: ARG001  (Starlette's)
    """Starlette raises the error again behind this answer, so that its stack is in the log."""
    return _answer(
        status.status(status.INTERNAL, f"The server failed: {type(error).__name__}.", "Its log has the stack."), 500
    )
