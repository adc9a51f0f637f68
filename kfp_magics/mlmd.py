"""ML Metadata's messages, as far as runs are told in them, and the frames of gRPC-Web that carry them.

Kubeflow Pipelines keeps what steps took and gave (values, artifacts, metrics) in ML Metadata, beside its own API. Its
pages in a browser read it by gRPC-Web over the server's address, and so can we. Google's package for it does not
install beside KFP's client, so the few messages that matter are described here; other fields are skipped when read.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, struct_pb2

from kfp_magics.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kfp_magics.model import Json

PATH = "/ml_metadata.MetadataStoreService/"
"""Where the service is, below a server's address; the name of a method follows."""
CONTENT_TYPE = "application/grpc-web+proto"
RUN_CONTEXT = "system.PipelineRun"
"""The type of the context in which everything of a run is; its name is the run's id."""
DAG_EXECUTION, STEP_EXECUTION = "system.DAGExecution", "system.ContainerExecution"
OK, NOT_FOUND, UNIMPLEMENTED = 0, 5, 12
INPUT, OUTPUT, DECLARED_OUTPUT = 3, 4, 1
"""What an event says of an artifact."""
_TRAILER = 0x80
_Message = Any  # made as the program runs

# Message → field → number and type; a star stands for a list, "map" for a map from texts to values.
_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "Value": {
        "int_value": (1, "int64"),
        "double_value": (2, "double"),
        "string_value": (3, "string"),
        "struct_value": (4, "Struct"),
        "bool_value": (6, "bool"),
    },
    "Artifact": {
        "id": (1, "int64"),
        "type_id": (2, "int64"),
        "uri": (3, "string"),
        "custom_properties": (5, "map"),
        "state": (6, "int64"),
        "type": (8, "string"),
    },
    "ArtifactType": {"id": (1, "int64"), "name": (2, "string")},
    "Execution": {
        "id": (1, "int64"),
        "last_known_state": (3, "int64"),
        "custom_properties": (5, "map"),
        "type": (7, "string"),
    },
    "Context": {"id": (1, "int64"), "name": (3, "string"), "custom_properties": (5, "map"), "type": (6, "string")},
    "Step": {"index": (1, "int64"), "key": (2, "string")},
    "Path": {"steps": (1, "Step*")},
    "Event": {
        "artifact_id": (1, "int64"),
        "execution_id": (2, "int64"),
        "path": (3, "Path"),
        "type": (4, "int64"),
    },
    "Options": {"max_result_size": (1, "int64"), "next_page_token": (3, "string")},
    "GetContextByTypeAndNameRequest": {"type_name": (1, "string"), "context_name": (2, "string")},
    "GetContextByTypeAndNameResponse": {"context": (1, "Context")},
    "GetExecutionsByContextRequest": {"context_id": (1, "int64"), "options": (2, "Options")},
    "GetExecutionsByContextResponse": {"executions": (1, "Execution*"), "next_page_token": (2, "string")},
    "GetEventsByExecutionIDsRequest": {"execution_ids": (1, "int64*")},
    "GetEventsByExecutionIDsResponse": {"events": (1, "Event*")},
    "GetArtifactsByIDRequest": {"artifact_ids": (1, "int64*")},
    "GetArtifactsByIDResponse": {"artifacts": (1, "Artifact*"), "artifact_types": (2, "ArtifactType*")},
}
METHODS = tuple(name.removesuffix("Request") for name in _MESSAGES if name.endswith("Request"))
"""The questions that are asked here, and answered."""


def message(kind: str, /, **fields: Json) -> _Message:
    """Makes a message.

    Args:
        kind: Its name.
        fields: What it says.
    """
    return _classes()[kind](**fields)


def parse(kind: str, data: bytes) -> _Message:
    """Reads a message.

    Raises:
        BackendError: It is none.
    """
    made = _classes()[kind]()
    try:
        made.ParseFromString(data)
    except Exception as error:  # protobuf's own implementations raise different kinds
        if type(error).__name__ != "DecodeError":
            raise
        raise BackendError("The server's answer about what steps gave does not read.") from error
    return made


@cache
def _classes() -> dict[str, Any]:
    pool = descriptor_pool.DescriptorPool()
    struct = descriptor_pb2.FileDescriptorProto()
    struct_pb2.DESCRIPTOR.CopyToProto(struct)
    pool.Add(struct)
    file = descriptor_pb2.FileDescriptorProto(
        name="kfp_magics_mlmd.proto", package="mlmd", syntax="proto2", dependency=[struct.name]
    )
    for name, fields in _MESSAGES.items():
        described = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            _describe(described, name, field, number, kind)
    pool.Add(file)
    found = {name: pool.FindMessageTypeByName(f"mlmd.{name}") for name in _MESSAGES}
    return {name: message_factory.GetMessageClass(one) for name, one in found.items()}


def _describe(described: descriptor_pb2.DescriptorProto, message_name: str, field: str, number: int, kind: str) -> None:
    form = descriptor_pb2.FieldDescriptorProto
    repeated = kind.endswith("*") or kind == "map"
    made = described.field.add(
        name=field, number=number, label=form.LABEL_REPEATED if repeated else form.LABEL_OPTIONAL
    )
    kind = kind.removesuffix("*")
    if kind == "map":
        entry = described.nested_type.add(name="".join(map(str.title, field.split("_"))) + "Entry")
        entry.options.map_entry = True
        _describe(entry, entry.name, "key", 1, "string")
        _describe(entry, entry.name, "value", 2, "Value")
        made.type, made.type_name = form.TYPE_MESSAGE, f".mlmd.{message_name}.{entry.name}"
    elif kind in {"int64", "double", "string", "bool"}:
        made.type = getattr(form, f"TYPE_{kind.upper()}")
    else:
        made.type = form.TYPE_MESSAGE
        made.type_name = ".google.protobuf.Struct" if kind == "Struct" else f".mlmd.{kind}"


# Values


def value_of(value: Json) -> _Message:
    """A plain value as ML Metadata keeps it."""
    match value:
        case bool():
            return message("Value", bool_value=value)
        case int() if -(2**63) <= value < 2**63:
            return message("Value", int_value=value)
        case int() | float():
            return message("Value", double_value=float(value))
        case str():
            return message("Value", string_value=value)
        case dict() | list():  # as KFP wraps them
            return fields_of({"struct" if isinstance(value, dict) else "list": value})
    return message("Value")


def fields_of(values: Mapping[str, Json]) -> _Message:
    """Named values as one."""
    made = struct_pb2.Struct()
    made.update(dict(values))
    return message("Value", struct_value=made)


def fields(value: _Message) -> dict[str, Json]:
    """The named values that stand in one."""
    return {name: _unwrapped(one) for name, one in value.struct_value.fields.items()}


def _unwrapped(value: struct_pb2.Value) -> Json:
    match value.WhichOneof("kind"):
        case "struct_value":
            return {name: _unwrapped(one) for name, one in value.struct_value.fields.items()}
        case "list_value":
            return [_unwrapped(one) for one in value.list_value.values]
        case "number_value" | "string_value" | "bool_value" as kind:
            return getattr(value, kind)
    return None


def plain(value: _Message) -> Json:
    """A value that ML Metadata keeps as a plain one."""
    kinds = [name for name in _MESSAGES["Value"] if value.HasField(name)]
    if not kinds:
        return None
    if kinds[0] != "struct_value":
        return getattr(value, kinds[0])
    read = fields(value)
    return next(iter(read.values())) if set(read) in ({"list"}, {"struct"}) else read


# Frames


def frame(data: bytes) -> bytes:
    """A message as gRPC-Web carries it."""
    return b"\0" + len(data).to_bytes(4, "big") + data


def trailer(code: int = OK, said: str = "") -> bytes:
    """The end of an answer."""
    text = f"grpc-status:{code}\r\ngrpc-message:{said}\r\n".encode()
    return bytes([_TRAILER]) + len(text).to_bytes(4, "big") + text


def unframe(data: bytes) -> tuple[bytes, dict[str, str]]:
    """Takes an answer, or a question, apart.

    Returns:
        The message, and what stands at the end of it: ``grpc-status``, ``grpc-message``.

    Raises:
        BackendError: It is cut, or nothing of gRPC-Web.
    """
    message_bytes, end = b"", dict[str, str]()
    for kind, piece in _frames(data):
        if kind == 0:
            message_bytes += piece
        elif kind == _TRAILER:
            lines = (line.partition(":") for line in piece.decode("utf-8", "replace").splitlines() if line)
            end |= {name.strip().lower(): unquote(value.strip()) for name, _, value in lines}
        else:
            raise BackendError("The server's answer about what steps gave is compressed.")
    return message_bytes, end


def _frames(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at + 1 : at + 5], "big")
        piece = data[at + 5 : at + 5 + length]
        if len(data) < at + 5 or len(piece) < length:
            raise BackendError("The server's answer about what steps gave is cut, or none.")
        yield data[at], piece
        at += 5 + length
