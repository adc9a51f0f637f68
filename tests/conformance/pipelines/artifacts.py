"""Artifacts: every type with metadata, lists, metrics, paths, folders."""
# ruff: noqa: UP006, UP035, UP045  (kfp knows List[Dataset] and Optional)

from typing import List, NamedTuple, Optional

from kfp import dsl
from kfp.dsl import (
    HTML,
    Artifact,
    ClassificationMetrics,
    Dataset,
    Input,
    InputPath,
    Markdown,
    Metrics,
    Model,
    Output,
    OutputPath,
    SlicedClassificationMetrics,
)

from tests.conformance.case import Case, artifact

from .steps import copy, read, step, write


@step
def make_all(
    plain: Output[Artifact],
    data: Output[Dataset],
    model: Output[Model],
    page: Output[HTML],
    notes: Output[Markdown],
):
    for number, one in enumerate((plain, data, model, page, notes)):
        with open(one.path, "w") as file:
            file.write(f"{one.name} of {type(one).__name__}")
        one.metadata["number"] = number
    data.metadata["more"] = "Füße"
    model.framework = "none"


class Kinds(NamedTuple):
    plain: Artifact
    data: Dataset
    model: Model
    page: HTML
    notes: Markdown


@dsl.pipeline(name="every-kind")
def every_kind() -> Kinds:
    made = make_all()
    return Kinds(*(made.outputs[name] for name in ("plain", "data", "model", "page", "notes")))


@step
def measure(scores: Output[Metrics]) -> float:
    scores.log_metric("accuracy", 0.875)
    scores.log_metric("count", 12)
    scores.log_metric("name", "forest")
    return 0.875


class Scores(NamedTuple):
    scores: Metrics
    accuracy: float


@dsl.pipeline(name="metrics")
def metrics() -> Scores:
    task = measure()
    return Scores(task.outputs["scores"], task.outputs["Output"])


@step
def classify(found: Output[ClassificationMetrics]):
    found.log_confusion_matrix(["cat", "dog"], [[9, 1], [2, 8]])
    found.log_roc_curve([0.0, 0.5, 1.0], [0.0, 0.75, 1.0], [0.9, 0.5, 0.1])


@dsl.pipeline(name="classification")
def classification() -> ClassificationMetrics:
    return classify().outputs["found"]


@step
def slice_up(found: Output[SlicedClassificationMetrics]):
    found._sliced_metrics = {}
    found.load_confusion_matrix("young", ["a", "b"], [[1, 2], [3, 4]])


@step
def look(found: Input[ClassificationMetrics], scores: Input[Metrics]) -> list:
    matrix = found.metadata["confusionMatrix"]
    return [[row["row"] for row in matrix["rows"]], scores.metadata["accuracy"], scores.metadata["name"]]


@dsl.pipeline(name="metrics-read")
def metrics_read() -> list:
    return look(found=classify().outputs["found"], scores=measure().outputs["scores"]).output


class Chain(NamedTuple):
    text: str
    data: Dataset


@dsl.pipeline(name="read-what-was-written")
def read_what_was_written(text: str) -> Chain:
    first = write(text=text)
    return Chain(read(data=first.outputs["out"]).output, copy(data=first.outputs["out"]).outputs["out"])


@step
def by_path(
    text: str,
    data: OutputPath("Dataset"),
    name: OutputPath(str),
    count: OutputPath(int),
    share: OutputPath(float),
    good: OutputPath(bool),
    parts: OutputPath(list),
    about: OutputPath(dict),
):
    import json

    contents = [(data, text), (name, text), (count, "7"), (share, "0.5"), (good, "true")]
    contents += [(parts, json.dumps([text, 1])), (about, json.dumps({text: [1]}))]
    for path, content in contents:
        with open(path, "w", encoding="utf-8") as file:
            file.write(content)


@step
def from_path(data: InputPath("Dataset"), name: str, count: int) -> str:
    with open(data, encoding="utf-8") as file:
        return f"{file.read()} {name} {count + 1}"


class Paths(NamedTuple):
    data: Dataset
    name: str
    count: int
    share: float
    good: bool
    parts: list
    about: dict
    read: str


@dsl.pipeline(name="paths")
def paths(text: str) -> Paths:
    made = by_path(text=text).outputs
    told = from_path(data=made["data"], name=made["name"], count=made["count"])
    return Paths(*(made[name] for name in ("data", "name", "count", "share", "good", "parts", "about")), told.output)


@step
def fill(out: Output[Dataset]):
    import os

    os.makedirs(os.path.join(out.path, "inner"))
    for name in ("a.txt", "inner/b.txt"):
        with open(os.path.join(out.path, name), "w") as file:
            file.write(name)


@step
def list_files(folder: Input[Dataset]) -> list:
    import os

    return sorted(
        os.path.relpath(os.path.join(at, one), folder.path) for at, _, has in os.walk(folder.path) for one in has
    )


class Folder(NamedTuple):
    folder: Dataset
    names: list


@dsl.pipeline(name="folder")
def folder() -> Folder:
    made = fill()
    return Folder(made.outputs["out"], list_files(folder=made.outputs["out"]).output)


@step
def maybe(text: str, data: Optional[Input[Dataset]] = None) -> str:
    if data is None:
        return f"{text} alone"
    with open(data.path) as file:
        return f"{text} {file.read()}"


class Maybe(NamedTuple):
    without: str
    given: str


@dsl.pipeline(name="optional-artifact")
def optional_artifact() -> Maybe:
    return Maybe(maybe(text="x").output, maybe(text="y", data=write(text="z").outputs["out"]).output)


@step
def annotate(out: Output[Model]):
    out.metadata.update(
        {"text": "t", "whole": 3, "part": 0.5, "yes": True, "list": [1, "b"], "deep": {"a": {"b": [2.5]}}}
    )


@step
def annotations(model: Input[Model]) -> dict:
    return model.metadata


class Annotated(NamedTuple):
    model: Model
    metadata: dict


@dsl.pipeline(name="metadata-types")
def metadata_types() -> Annotated:
    made = annotate()
    return Annotated(made.outputs["out"], annotations(model=made.outputs["out"]).output)


@step
def count_datasets(data: Input[List[Dataset]]) -> list:
    return [[one.metadata["length"], type(one).__name__] for one in data]


@dsl.pipeline(name="artifact-list")
def artifact_list() -> list:
    with dsl.ParallelFor(["a", "bb", "ccc"]) as text:
        made = write(text=text)
    return count_datasets(data=dsl.Collected(made.outputs["out"])).output


@step
def nothing_written(out: Output[Dataset]) -> str:
    out.metadata["only"] = "metadata"
    return "done"


@dsl.pipeline(name="artifact-without-content")
def artifact_without_content() -> Dataset:
    return nothing_written().outputs["out"]


_ABOUT = {"text": "t", "whole": 3, "part": 0.5, "yes": True, "list": [1, "b"], "deep": {"a": {"b": [2.5]}}}

CASES = (
    Case(
        name="every-kind",
        pipeline=every_kind,
        outputs={
            "plain": artifact("plain of Artifact", kind="Artifact", number=0),
            "data": artifact("data of Dataset", number=1, more="Füße"),
            "model": artifact("model of Model", kind="Model", number=2, framework="none"),
            "page": artifact("page of HTML", kind="HTML", number=3),
            "notes": artifact("notes of Markdown", kind="Markdown", number=4),
        },
        peer=True,
    ),
    Case(
        name="metrics",
        pipeline=metrics,
        outputs={"scores": artifact(kind="Metrics", accuracy=0.875, count=12, name="forest"), "accuracy": 0.875},
        peer=True,
    ),
    Case(
        name="classification",
        pipeline=classification,
        outputs={
            "Output": artifact(
                kind="ClassificationMetrics",
                confusionMatrix={
                    "annotationSpecs": [{"displayName": "cat"}, {"displayName": "dog"}],
                    "rows": [{"row": [9, 1]}, {"row": [2, 8]}],
                },
                confidenceMetrics=[
                    {"confidenceThreshold": 0.9, "falsePositiveRate": 0.0, "recall": 0.0},
                    {"confidenceThreshold": 0.5, "falsePositiveRate": 0.5, "recall": 0.75},
                    {"confidenceThreshold": 0.1, "falsePositiveRate": 1.0, "recall": 1.0},
                ],
            )
        },
        peer=True,
    ),
    Case(
        name="metrics-read",
        pipeline=metrics_read,
        outputs={"Output": [[[9, 1], [2, 8]], 0.875, "forest"]},
        peer=True,
    ),
    Case(
        name="read-what-was-written",
        pipeline=read_what_was_written,
        arguments={"text": "grüß"},
        outputs={"text": "grüß 4", "data": artifact("GRÜSS", **{"from": "copy"})},
        peer=True,
    ),
    Case(
        name="paths",
        pipeline=paths,
        arguments={"text": "wört"},
        outputs={
            "data": artifact("wört"),
            "name": "wört",
            "count": 7,
            "share": 0.5,
            "good": True,
            "parts": ["wört", 1],
            "about": {"wört": [1]},
            "read": "wört wört 8",
        },
        peer=True,
    ),
    Case(
        name="folder",
        pipeline=folder,
        outputs={
            "folder": artifact({"a.txt": "a.txt", "inner/b.txt": "inner/b.txt"}),
            "names": ["a.txt", "inner/b.txt"],
        },
        peer=True,
    ),
    Case(
        name="optional-artifact", pipeline=optional_artifact, outputs={"without": "x alone", "given": "y z"}, peer=True
    ),
    Case(
        name="metadata-types",
        pipeline=metadata_types,
        outputs={"model": artifact(kind="Model", **_ABOUT), "metadata": _ABOUT},
        peer=True,
    ),
    Case(
        name="artifact-list",
        pipeline=artifact_list,
        outputs={"Output": [[1, "Dataset"], [2, "Dataset"], [3, "Dataset"]]},
        peer=True,
    ),
    Case(
        name="artifact-without-content",
        pipeline=artifact_without_content,
        outputs={"Output": artifact(only="metadata")},
        peer=True,
    ),
)
