"""Cloud Build's calls about triggers, over gRPC; and which triggers a push starts, told apart from the client."""

from __future__ import annotations

import re
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.cloud.devtools import cloudbuild_v1 as cb
from google.longrunning import operations_pb2
from google.protobuf import empty_pb2

_SERVICE = "google.devtools.cloudbuild.v1.CloudBuild"


class TriggerServer:
    def __init__(self) -> None:
        self.triggers: dict[str, cb.BuildTrigger] = {}
        self.calls: list[str] = []
        self.fired: list[tuple[str, str]] = []
        self._server = grpc.server(ThreadPoolExecutor(4))
        methods = {
            "CreateBuildTrigger": (self._create, cb.CreateBuildTriggerRequest, cb.BuildTrigger),
            "ListBuildTriggers": (self._list, cb.ListBuildTriggersRequest, cb.ListBuildTriggersResponse),
            "UpdateBuildTrigger": (self._update, cb.UpdateBuildTriggerRequest, cb.BuildTrigger),
            "DeleteBuildTrigger": (self._delete, cb.DeleteBuildTriggerRequest, empty_pb2.Empty),
            "RunBuildTrigger": (self._run, cb.RunBuildTriggerRequest, operations_pb2.Operation),
        }
        handlers = {name: self._handler(name, *parts) for name, parts in methods.items()}
        self._server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(_SERVICE, handlers)])
        self.endpoint = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def close(self) -> None:
        self._server.stop(None)

    def _handler(self, name: str, call: Any, request: Any, response: Any) -> grpc.RpcMethodHandler:
        def answer(message: Any, context: grpc.ServicerContext) -> Any:
            self.calls.append(name)
            return call(message, context)

        def write(message: Any) -> bytes:
            return message.SerializeToString() if hasattr(message, "SerializeToString") else response.serialize(message)

        return grpc.unary_unary_rpc_method_handler(answer, request.deserialize, write)

    def _create(self, request: Any, context: grpc.ServicerContext) -> cb.BuildTrigger:
        trigger = cb.BuildTrigger.deserialize(cb.BuildTrigger.serialize(request.trigger))
        if any(one.name == trigger.name for one in self.triggers.values()):
            context.abort(grpc.StatusCode.ALREADY_EXISTS, f"trigger {trigger.name} already exists")
        if not re.fullmatch(r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,62}[a-zA-Z0-9])?", trigger.name):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "invalid trigger name")
        trigger.id = str(uuid.uuid4())
        trigger.resource_name = f"{request.parent}/triggers/{trigger.id}"
        trigger.create_time = {"seconds": 1}
        if trigger.github.owner:
            trigger.github.installation_id = 7
        self.triggers[trigger.id] = trigger
        return trigger

    def _list(self, request: Any, context: grpc.ServicerContext) -> Any:
        """One on each page."""
        known = list(self.triggers.values())
        at = int(request.page_token or 0)
        more = str(at + 1) if at + 1 < len(known) else ""
        return cb.ListBuildTriggersResponse(triggers=known[at : at + 1], next_page_token=more)

    def _update(self, request: Any, context: grpc.ServicerContext) -> cb.BuildTrigger:
        self._known(request.trigger_id, context)
        self.triggers[request.trigger_id] = cb.BuildTrigger.deserialize(cb.BuildTrigger.serialize(request.trigger))
        return self.triggers[request.trigger_id]

    def _delete(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._known(request.name.rpartition("/")[2], context)
        del self.triggers[request.name.rpartition("/")[2]]
        return empty_pb2.Empty()

    def _run(self, request: Any, context: grpc.ServicerContext) -> Any:
        trigger = self._known(request.name.rpartition("/")[2], context)
        self.fired.append((trigger.name, request.source.branch_name))
        operation = operations_pb2.Operation(name="operations/build/shop/1")
        build = cb.Build(id="1", log_url="https://console.cloud.google.com/cloud-build/builds/1")
        operation.metadata.Pack(cb.BuildOperationMetadata.pb(cb.BuildOperationMetadata(build=build)))
        return operation

    def _known(self, name: str, context: grpc.ServicerContext) -> cb.BuildTrigger:
        if name not in self.triggers:
            context.abort(grpc.StatusCode.NOT_FOUND, "Requested entity was not found.")
        return self.triggers[name]

    def started_by(self, branch: str, files: list[str]) -> set[str]:
        """The triggers that a push starts, after Google's description of included and ignored files."""
        return {one.name for one in self.triggers.values() if not one.disabled and _starts(one, branch, files)}


def _starts(trigger: cb.BuildTrigger, branch: str, files: list[str]) -> bool:
    push = trigger.github.push if trigger.github.owner else trigger.repository_event_config.push
    if not re.search(push.branch, branch):
        return False
    left = [one for one in files if not any(_glob(pattern, one) for pattern in trigger.ignored_files)]
    wanted = trigger.included_files
    return bool(left) and (not wanted or any(_glob(pattern, one) for pattern in wanted for one in left))


def _glob(pattern: str, path: str) -> bool:
    parts = re.split(r"(\*\*|\*|\?)", pattern)
    words = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.fullmatch("".join(words.get(one, re.escape(one)) for one in parts), path) is not None
