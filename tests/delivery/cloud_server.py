"""Cloud Functions, Cloud Run, Eventarc and Cloud Logging over gRPC, with the packages' own messages.

Uploads and downloads of sources go to the Cloud Storage of the tests. What takes long is an operation that is done when
it is looked at for the second time; what Google adds to what is asked for is added here, too.
"""

from __future__ import annotations

import io
import re
import uuid
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import grpc
from google.cloud import eventarc_v1 as ea
from google.cloud import functions_v2 as gcf
from google.cloud import run_v2 as run
from google.cloud.logging_v2.types import ListLogEntriesRequest, ListLogEntriesResponse, LogEntry
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf import empty_pb2
from google.protobuf.json_format import ParseDict

from tests.delivery.storage_server import StorageServer

_UPLOADS = "gcf-v2-uploads"
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_DEFAULT_ACCOUNT = "1234-compute@developer.gserviceaccount.com"


@dataclass
class Fault:
    """What goes wrong with the next calls of one method."""

    code: grpc.StatusCode
    message: str
    times: int = 1


class CloudServer:
    """Google Cloud of every project, on a port of this machine.

    Args:
        store: Where buckets and sources are.
    """

    def __init__(self, store: StorageServer) -> None:
        self.functions: dict[str, gcf.Function] = {}
        self.services: dict[str, run.Service] = {}
        self.triggers: dict[str, ea.Trigger] = {}
        self.entries: list[LogEntry] = []
        self.calls: list[str] = []
        self.faults: dict[str, Fault] = {}
        self.broken = ""  # why the next builds fail
        self._store = store
        self._operations: dict[str, tuple[int, operations_pb2.Operation]] = {}
        self._server = grpc.server(ThreadPoolExecutor(4))
        store.storage.create_bucket(_UPLOADS, {"name": _UPLOADS, "location": "EUROPE-WEST4"})
        operation = operations_pb2.Operation
        self._serve(
            "google.cloud.functions.v2.FunctionService",
            {
                "GetFunction": (self._get_function, gcf.GetFunctionRequest, gcf.Function),
                "ListFunctions": (self._list_functions, gcf.ListFunctionsRequest, gcf.ListFunctionsResponse),
                "CreateFunction": (self._create_function, gcf.CreateFunctionRequest, operation),
                "UpdateFunction": (self._update_function, gcf.UpdateFunctionRequest, operation),
                "DeleteFunction": (self._delete_function, gcf.DeleteFunctionRequest, operation),
                "GenerateUploadUrl": (self._upload_url, gcf.GenerateUploadUrlRequest, gcf.GenerateUploadUrlResponse),
                "GenerateDownloadUrl": (
                    self._download_url,
                    gcf.GenerateDownloadUrlRequest,
                    gcf.GenerateDownloadUrlResponse,
                ),
            },
        )
        self._serve(
            "google.cloud.run.v2.Services",
            {
                "GetService": (self._get_service, run.GetServiceRequest, run.Service),
                "CreateService": (self._create_service, run.CreateServiceRequest, operation),
                "UpdateService": (self._update_service, run.UpdateServiceRequest, operation),
                "DeleteService": (self._delete_service, run.DeleteServiceRequest, operation),
            },
        )
        self._serve(
            "google.cloud.eventarc.v1.Eventarc",
            {
                "GetTrigger": (self._get_trigger, ea.GetTriggerRequest, ea.Trigger),
                "ListTriggers": (self._list_triggers, ea.ListTriggersRequest, ea.ListTriggersResponse),
                "CreateTrigger": (self._create_trigger, ea.CreateTriggerRequest, operation),
                "UpdateTrigger": (self._update_trigger, ea.UpdateTriggerRequest, operation),
                "DeleteTrigger": (self._delete_trigger, ea.DeleteTriggerRequest, operation),
            },
        )
        self._serve(
            "google.logging.v2.LoggingServiceV2",
            {
                "ListLogEntries": (self._entries, ListLogEntriesRequest, ListLogEntriesResponse),
            },
        )
        operations_pb2_grpc.add_OperationsServicer_to_server(_Operations(self), self._server)
        self.endpoint = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def close(self) -> None:
        self._server.stop(None)

    def _serve(self, service: str, methods: dict[str, tuple[Any, Any, Any]]) -> None:
        handlers = {name: self._handler(name, *parts) for name, parts in methods.items()}
        self._server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, handlers)])

    def _handler(self, name: str, call: Any, request: Any, response: Any) -> grpc.RpcMethodHandler:
        def answer(message: Any, context: grpc.ServicerContext) -> Any:
            self.calls.append(name)
            fault = self.faults.get(name)
            if fault is not None and fault.times > 0:
                fault.times -= 1
                context.abort(fault.code, fault.message)
            return call(message, context)

        def write(message: Any) -> bytes:
            return message.SerializeToString() if hasattr(message, "SerializeToString") else response.serialize(message)

        return grpc.unary_unary_rpc_method_handler(answer, request.deserialize, write)

    # Operations

    def _operation(self, result: Any, error: tuple[int, str] | None = None) -> operations_pb2.Operation:
        made = operations_pb2.Operation(name=f"operations/{uuid.uuid4().hex}")
        if error is not None:
            made.error.code, made.error.message = error
        else:
            made.response.Pack(type(result).pb(result) if hasattr(type(result), "pb") else result)
        self._operations[made.name] = (1, made)
        return operations_pb2.Operation(name=made.name)

    def look(self, name: str, context: grpc.ServicerContext) -> operations_pb2.Operation:
        if name not in self._operations:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such operation")
        left, made = self._operations[name]
        self._operations[name] = (left - 1, made)
        if left > 0:
            return operations_pb2.Operation(name=name)
        made.done = True
        return made

    # Functions

    def _get_function(self, request: Any, context: grpc.ServicerContext) -> gcf.Function:
        return _known(self.functions, request.name, context)

    def _list_functions(self, request: Any, context: grpc.ServicerContext) -> Any:
        place = request.parent.replace("/locations/-", "/locations/")
        found = [one for name, one in self.functions.items() if name.startswith(place)]
        at = int(request.page_token or 0)  # one on each page
        more = str(at + 1) if at + 1 < len(found) else ""
        return gcf.ListFunctionsResponse(functions=found[at : at + 1], next_page_token=more)

    def _create_function(self, request: Any, context: grpc.ServicerContext) -> Any:
        if not _NAME.fullmatch(request.function_id):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"invalid function id {request.function_id!r}")
        name = f"{request.parent}/functions/{request.function_id}"
        if name in self.functions:
            context.abort(grpc.StatusCode.ALREADY_EXISTS, f"Resource {name!r} already exists")
        return self._deploy(_copy(request.function), name, context)

    def _update_function(self, request: Any, context: grpc.ServicerContext) -> Any:
        kept = _copy(_known(self.functions, request.function.name, context))
        for path in request.update_mask.paths:
            setattr(kept, path, getattr(request.function, path))
        return self._deploy(kept, kept.name, context)

    def _deploy(self, function: gcf.Function, name: str, context: grpc.ServicerContext) -> Any:
        trigger, service = function.event_trigger, function.service_config
        if function.environment != gcf.Environment.GEN_2:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "environment must be GEN_2")
        self._check_place({one.attribute: one.value for one in trigger.event_filters}, trigger.trigger_region, context)
        function.name = name
        function.state = gcf.Function.State.ACTIVE
        function.url = f"https://{name.rpartition('/')[2]}-x.a.run.app"
        function.update_time = datetime.now(UTC)
        service.uri, service.service = function.url, name.replace("/functions/", "/services/")
        service.service_account_email = service.service_account_email or _DEFAULT_ACCOUNT
        service.environment_variables["LOG_EXECUTION_ID"] = "true"
        service.available_cpu = "0.3333"
        service.max_instance_request_concurrency = 1
        trigger.trigger = name.replace("/functions/", "/triggers/")
        trigger.service_account_email = trigger.service_account_email or _DEFAULT_ACCOUNT
        source = function.build_config.source.storage_source
        problem = self.broken or self._problem(source.bucket, source.object_)
        if problem:
            return self._operation(None, (3, problem))
        self.functions[name] = function
        return self._operation(function)

    def _problem(self, bucket: str, name: str) -> str:
        if not self._store.meta(bucket, name):
            return "Build failed: the source is not there"
        with zipfile.ZipFile(io.BytesIO(self._store.storage.get_file(bucket, name))) as archive:
            return "" if "main.py" in archive.namelist() else "Build failed: missing main.py and GOOGLE_FUNCTION_SOURCE"

    def _check_place(self, filters: dict[str, str], region: str, context: grpc.ServicerContext) -> None:
        bucket = self._store.storage.buckets.get(filters.get("bucket", ""))
        if bucket is None:
            context.abort(grpc.StatusCode.NOT_FOUND, f"The bucket {filters.get('bucket')!r} was not found")
            return
        if bucket["location"].lower() != region:
            what = f"The trigger region {region} does not match the region of the bucket, {bucket['location'].lower()}."
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, what)

    def _delete_function(self, request: Any, context: grpc.ServicerContext) -> Any:
        _known(self.functions, request.name, context)
        del self.functions[request.name]
        return self._operation(empty_pb2.Empty())

    def _upload_url(self, request: Any, context: grpc.ServicerContext) -> Any:
        name = f"{uuid.uuid4()}.zip"
        source = gcf.StorageSource(bucket=_UPLOADS, object_=name)
        url = f"{self._store.url}/{_UPLOADS}/{name}"
        return gcf.GenerateUploadUrlResponse(upload_url=url, storage_source=source)

    def _download_url(self, request: Any, context: grpc.ServicerContext) -> Any:
        source = _known(self.functions, request.name, context).build_config.source.storage_source
        return gcf.GenerateDownloadUrlResponse(download_url=f"{self._store.url}/{source.bucket}/{source.object_}")

    def edit(self, name: str, path: str, content: bytes) -> None:
        """Changes a file of a function's source, as a person does in the console."""
        [function] = [one for key, one in self.functions.items() if key.endswith(f"/{name}")]
        source = function.build_config.source.storage_source
        with zipfile.ZipFile(io.BytesIO(self._store.storage.get_file(source.bucket, source.object_))) as archive:
            files = {one: archive.read(one) for one in archive.namelist()} | {path: content}
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w") as archive:
            for key, value in files.items():
                archive.writestr(key, value)
        meta = self._store.meta(source.bucket, source.object_)
        self._store.storage.create_file(source.bucket, source.object_, made.getvalue(), meta)

    # Services

    def _get_service(self, request: Any, context: grpc.ServicerContext) -> run.Service:
        return _known(self.services, request.name, context)

    def _create_service(self, request: Any, context: grpc.ServicerContext) -> Any:
        name = f"{request.parent}/services/{request.service_id}"
        if name in self.services:
            context.abort(grpc.StatusCode.ALREADY_EXISTS, f"Resource {name!r} already exists")
        if request.service.name:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "service.name must be empty")
        return self._put_service(name, _copy(request.service))

    def _update_service(self, request: Any, context: grpc.ServicerContext) -> Any:
        _known(self.services, request.service.name, context)
        return self._put_service(request.service.name, _copy(request.service))

    def _put_service(self, name: str, service: run.Service) -> Any:
        service.name = name
        service.uri = f"https://{name.rpartition('/')[2]}-x.a.run.app"
        service.template.service_account = service.template.service_account or _DEFAULT_ACCOUNT
        for container in service.template.containers:
            container.ports = container.ports or [run.ContainerPort(name="http1", container_port=8080)]
            container.resources.limits.setdefault("cpu", "1000m")
        self.services[name] = service
        return self._operation(service)

    def _delete_service(self, request: Any, context: grpc.ServicerContext) -> Any:
        gone = _known(self.services, request.name, context)
        del self.services[request.name]
        return self._operation(gone)

    # Triggers

    def _get_trigger(self, request: Any, context: grpc.ServicerContext) -> ea.Trigger:
        return _known(self.triggers, request.name, context)

    def _list_triggers(self, request: Any, context: grpc.ServicerContext) -> Any:
        place = request.parent.replace("/locations/-", "/locations/")
        return ea.ListTriggersResponse(triggers=[one for name, one in self.triggers.items() if name.startswith(place)])

    def _create_trigger(self, request: Any, context: grpc.ServicerContext) -> Any:
        name = f"{request.parent}/triggers/{request.trigger_id}"
        if name in self.triggers:
            context.abort(grpc.StatusCode.ALREADY_EXISTS, f"Resource {name!r} already exists")
        if not request.trigger.service_account:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "service_account must be set for Cloud Run destinations")
        return self._put_trigger(name, _copy(request.trigger), context)

    def _update_trigger(self, request: Any, context: grpc.ServicerContext) -> Any:
        kept = _copy(_known(self.triggers, request.trigger.name, context))
        for path in request.update_mask.paths:
            setattr(kept, path, getattr(request.trigger, path))
        return self._put_trigger(kept.name, kept, context)

    def _put_trigger(self, name: str, trigger: ea.Trigger, context: grpc.ServicerContext) -> Any:
        filters = {one.attribute: one.value for one in trigger.event_filters}
        self._check_place(filters, name.split("/")[3], context)
        trigger.name = name
        trigger.uid = uuid.uuid4().hex
        trigger.transport.pubsub.topic = "projects/shop/topics/eventarc-1"
        self.triggers[name] = trigger
        return self._operation(trigger)

    def _delete_trigger(self, request: Any, context: grpc.ServicerContext) -> Any:
        gone = _known(self.triggers, request.name, context)
        del self.triggers[request.name]
        return self._operation(gone)

    # Logs

    def print(self, service: str, line: str, severity: str = "INFO", payload: dict[str, Any] | None = None) -> None:
        """Has a service print a line."""
        raw: dict[str, Any] = {
            "insertId": uuid.uuid4().hex,
            "resource": {"type": "cloud_run_revision", "labels": {"service_name": service}},
            "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            "severity": severity,
        }
        raw |= {"jsonPayload": {"message": line, **payload}} if payload is not None else {"textPayload": line}
        entry = LogEntry()
        ParseDict(raw, LogEntry.pb(entry))
        self.entries.append(entry)

    def _entries(self, request: Any, context: grpc.ServicerContext) -> Any:
        form = r'resource\.type="cloud_run_revision" AND resource\.labels\.service_name="(?P<name>[a-z0-9-]+)"'
        match = re.match(form + r' AND timestamp>="[^"]+"$', request.filter)
        if match is None or request.resource_names != ["projects/shop"] or request.order_by != "timestamp desc":
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"invalid filter {request.filter!r}")
            return None
        found = [one for one in self.entries if dict(one.resource.labels)["service_name"] == match["name"]][::-1]
        at = int(request.page_token or 0)
        token = str(at + 2) if at + 2 < len(found) else ""  # small pages, so that reading on is tried
        return ListLogEntriesResponse(entries=found[at : at + 2], next_page_token=token)


class _Operations(operations_pb2_grpc.OperationsServicer):
    def __init__(self, owner: CloudServer) -> None:
        self._owner = owner

    def GetOperation(self, request: Any, context: grpc.ServicerContext) -> operations_pb2.Operation:  # noqa: N802
        return self._owner.look(request.name, context)


def _known(things: dict[str, Any], name: str, context: grpc.ServicerContext) -> Any:
    if name not in things:
        context.abort(grpc.StatusCode.NOT_FOUND, f"Resource {name!r} was not found")
    return things[name]


def _copy(message: Any) -> Any:
    kind: Callable[[bytes], Any] = type(message).deserialize
    return kind(type(message).serialize(message))
