"""Inputs and outputs from annotations and from the magic's own words."""

from __future__ import annotations

import pytest

from kfp_magics.cells.ports import option_ports
from kfp_magics.errors import DefinitionError
from kfp_magics.model import ARTIFACT_TYPES, PARAMETER_TYPES, Port

from .conftest import make, ports

SCHEMA = "class VertexModel(dsl.Artifact):\n    schema_title = 'google.VertexModel'\n    schema_version = '0.0.2'\n"
BARE_SCHEMA = "class Table(Artifact):\n    schema_title = 'my.Table'\n"


@pytest.mark.parametrize("kind", PARAMETER_TYPES)
def test_every_parameter_type(kind: str) -> None:
    inputs, outputs = ports(f"(a: {kind}) -> {kind}")
    assert inputs == (Port(name="a", type=kind),)
    assert outputs == (Port(name="Output", type=kind),)


@pytest.mark.parametrize("kind", ARTIFACT_TYPES)
@pytest.mark.parametrize("prefix", ["", "dsl.", "kfp.dsl."])
def test_every_artifact_type(kind: str, prefix: str) -> None:
    inputs, outputs = ports(f"(a: {prefix}Input[{prefix}{kind}], b: Output[{prefix}{kind}])")
    assert inputs == (Port(name="a", type=kind),)
    assert outputs == (Port(name="b", type=kind),)


INPUTS = {
    "int = 3": Port(name="a", type="int", default=3),
    "int = -3": Port(name="a", type="int", default=-3),
    "float = 1e-3": Port(name="a", type="float", default=1e-3),
    "str = 'ü\"\\n'": Port(name="a", type="str", default='ü"\n'),
    "list = []": Port(name="a", type="list", default=[]),
    "dict = {'k': [1, None]}": Port(name="a", type="dict", default={"k": [1, None]}),
    "int = LIMIT": Port(name="a", type="int", default=7),
    "List[int]": Port(name="a", type="list"),
    "list[str]": Port(name="a", type="list"),
    "Dict[str, int]": Port(name="a", type="dict"),
    "dict[str, Any]": Port(name="a", type="dict"),
    "'int'": Port(name="a", type="int"),
    "'Input[Dataset]'": Port(name="a", type="Dataset"),
    "Input['Dataset']": Port(name="a", type="Dataset"),
    "Optional[Input[Dataset]] = None": Port(name="a", type="Dataset", optional=True),
    "Input[List[Dataset]] | None = None": Port(name="a", type="Dataset", is_list=True, optional=True),
    "'Union[None, Input[Dataset]]' = None": Port(name="a", type="Dataset", optional=True),
    "typing.Optional[int] = None": Port(name="a", type="int", optional=True),
    "Optional[int] = 3": Port(name="a", type="int", default=3, optional=True),
    "int | None = None": Port(name="a", type="int", optional=True),
    "None | int = None": Port(name="a", type="int", optional=True),
    "Union[str, None] = None": Port(name="a", type="str", optional=True),
    "Optional[int]": Port(name="a", type="int"),
    "int | None": Port(name="a", type="int"),
    "int = None": Port(name="a", type="int", optional=True),
    "Annotated[int, 'years']": Port(name="a", type="int"),
    "Input[Dataset] = None": Port(name="a", type="Dataset", optional=True),
    "Input[List[Dataset]]": Port(name="a", type="Dataset", is_list=True),
    "Input[list[Model]]": Port(name="a", type="Model", is_list=True),
    "InputPath(str)": Port(name="a", type="str", as_path=True),
    "InputPath('Dataset')": Port(name="a", type="Dataset", as_path=True),
    "InputPath()": Port(name="a", type="Artifact", as_path=True),
    "PipelineTaskFinalStatus": Port(name="a", type="TaskFinalStatus"),
    "Input[VertexModel]": Port(name="a", type="google.VertexModel@0.0.2"),
    "Input[Table]": Port(name="a", type="my.Table@0.0.1"),
    "Input[List[Table]]": Port(name="a", type="my.Table@0.0.1", is_list=True),
}


@pytest.mark.parametrize(("text", "expected"), INPUTS.items(), ids=list(INPUTS))
def test_inputs(text: str, expected: Port) -> None:
    assert ports(f"(a: {text})", before=f"import typing\nLIMIT = 7\n{SCHEMA}{BARE_SCHEMA}")[0] == (expected,)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("OutputPath(int)", Port(name="a", type="int", as_path=True)),
        ("OutputPath('Model')", Port(name="a", type="Model", as_path=True)),
        ("OutputPath()", Port(name="a", type="Artifact", as_path=True)),
        ("Output[List[Dataset]]", Port(name="a", type="Dataset", is_list=True)),
        ("dsl.Output[VertexModel]", Port(name="a", type="google.VertexModel@0.0.2")),
    ],
)
def test_outputs(text: str, expected: Port) -> None:
    inputs, outputs = ports(f"(a: {text})", before=SCHEMA)
    assert inputs == ()
    assert outputs == (expected,)


RESULTS = {
    "a class": ("class Outputs(NamedTuple):\n    '''Two.'''\n    rows: int\n    share: float\n", "Outputs"),
    "a class, quoted": (
        "import typing\nclass Outputs(typing.NamedTuple):\n    rows: int\n    share: float\n",
        "'Outputs'",
    ),
    "a list": ("", "NamedTuple('Outputs', [('rows', int), ('share', float)])"),
    "keywords": ("", "NamedTuple('Outputs', rows=int, share=float)"),
    "a variable": ("Outputs = NamedTuple('Outputs', [('rows', int), ('share', float)])\n", "Outputs"),
}


@pytest.mark.parametrize(("before", "result"), RESULTS.values(), ids=RESULTS)
def test_several_results(before: str, result: str) -> None:
    assert ports(f"() -> {result}", before)[1] == (Port(name="rows", type="int"), Port(name="share", type="float"))


@pytest.mark.parametrize("result", ["", " -> None", " -> 'None'"])
def test_no_result(result: str) -> None:
    assert ports(f"(){result}")[1] == ()


def test_artifacts_may_be_returned() -> None:
    assert ports("() -> Dataset")[1] == (Port(name="Output", type="Dataset"),)
    assert ports("() -> List[Dataset]")[1] == (Port(name="Output", type="Dataset", is_list=True),)


def test_order_is_that_of_the_signature() -> None:
    inputs, outputs = ports("(b: int, out: Output[Model], a: str = '', *, c: Input[Dataset], d: bool = True) -> int")
    assert [port.name for port in inputs] == ["b", "a", "c", "d"]
    assert [port.name for port in outputs] == ["out", "Output"]


WRONG = {
    "no type": ("(a)", r"The parameter 'a' of 'step' \(line 3\) has no type", "Annotate it: a: int"),
    "*args": ("(*args: int)", r"takes \*args", "a name and a type each"),
    "**kwargs": ("(**more: int)", r"takes \*args, \*\*kwargs", "a name and a type each"),
    "positional-only": ("(a: int, /)", "positional-only", "a name and a type each"),
    "a table": ("(a: pd.DataFrame)", "pd.DataFrame, which KFP does not know", "Input[Dataset] and pd.read_csv"),
    "an array": ("(a: np.ndarray)", "np.ndarray", "Input[Dataset]"),
    "a path": ("(a: Path)", "type Path", "Path(raw.path)"),
    "a tuple": ("() -> tuple", r"The result of 'step' \(line 3\)", "NamedTuple"),
    "a tuple with types": ("() -> tuple[int, str]", r"tuple\[int, str\]", "NamedTuple"),
    "a set": ("(a: set)", "type set", "Use list"),
    "a misspelt artifact": ("(a: Input[DataSet])", "type DataSet", "Did you mean 'Dataset'?"),
    "an unknown type": ("(a: complex)", "type complex", "Types are str, int"),
    "an unknown generic": ("(a: Iterable[int])", r"Iterable\[int\]", "Types are str, int"),
    "a union": ("(a: int | str)", r"int \| str", "Types are str, int"),
    "an artifact without direction": ("(a: Dataset)", "is a Dataset", "Write a: Input[Dataset] or a: Output[Dataset]."),
    "Input of a value": ("(a: Input[int])", r"Input\[int\], which is no artifact", "Write a: int."),
    "Output of a value": ("(a: Output[int])", r"Output\[int\], which is no artifact", "a: int, or return the value"),
    "Input of nothing": ("(a: Input)", "Input", "Input[Dataset]"),
    "a default that is computed": ("(a: int = 2 * f())", r"no plain value: 2 \* f\(\)", "Write the value itself"),
    "a default of unknown name": ("(a: int = OTHER)", "no plain value: OTHER", "Write the value itself"),
    "a default that is no number": (
        "(a: float = 1e999)",
        "the default inf, which no compiled",
        "None",
    ),
    "a name of KFP's own": ("(self: int)", "a port called 'self', which KFP does not take", "another name"),
    "a name with other letters": ("(größe: int)", "a port called 'größe', which KFP does not take", "from a to z"),
    "a name that begins with a line": ("(_a: int)", "a port called '_a'", "from a to z"),
    "a result with other letters": ("() -> NamedTuple('O', größe=int)", "a port called 'größe'", "from a to z"),
    "one name on both sides": (
        "(rows: int) -> NamedTuple('O', rows=int)",
        "input and an output called 'rows'",
        "Rename",
    ),
}


@pytest.mark.parametrize(("signature", "message", "advice"), WRONG.values(), ids=WRONG)
def test_wrong_signatures(signature: str, message: str, advice: str) -> None:
    with pytest.raises(DefinitionError, match=message) as caught:
        ports(signature)
    assert advice in caught.value.hint


def test_the_types_need_not_be_imported_or_exist() -> None:
    component = make("def step(raw: Input[Dataset], clean: Output[Dataset]) -> Optional[int]:\n    return 1\n")
    assert [port.name for port in component.outputs] == ["clean", "Output"]


OPTIONS = {
    ("--in", "year"): Port(name="year", type="str"),
    ("--in", "year:int"): Port(name="year", type="int"),
    ("--in", "year:int=2000"): Port(name="year", type="int", default=2000),
    ("--in", "share:float=1"): Port(name="share", type="float", default=1.0),
    ("--in", "on:bool=true"): Port(name="on", type="bool", default=True),
    ("--in", "on:bool=False"): Port(name="on", type="bool", default=False),
    ("--in", "text:str=a=b: c"): Port(name="text", type="str", default="a=b: c"),
    ("--in", "text:str="): Port(name="text", type="str", default=""),
    ("--in", "text=ü"): Port(name="text", type="str", default="ü"),
    ("--in", "all:list=[1, 'a']"): Port(name="all", type="list", default=[1, "a"]),
    ("--in", "all:dict={'a': 1}"): Port(name="all", type="dict", default={"a": 1}),
    ("--in", "year:int=None"): Port(name="year", type="int", optional=True),
    ("--in", "year:Optional[int]"): Port(name="year", type="int", optional=True),
    ("--in", "raw:Dataset"): Port(name="raw", type="Dataset"),
    ("--in", "raw:List[Dataset]"): Port(name="raw", type="Dataset", is_list=True),
    ("--out", "version:str=/tmp/version.txt"): Port(name="version", type="str", file="/tmp/version.txt"),
    ("--out", "model:Model"): Port(name="model", type="Model"),
}


@pytest.mark.parametrize(("words", "expected"), OPTIONS.items(), ids=[" ".join(words) for words in OPTIONS])
def test_words_of_the_magic(words: tuple[str, str], expected: Port) -> None:
    option, word = words
    assert option_ports([word], option) == (expected,)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["2:int"], "--in cannot be '2:int'"),
        ([":int"], "--in cannot be ':int'"),
        (["class:int"], "--in cannot be 'class:int'"),
        (["a-b"], "--in cannot be 'a-b'"),
        (["größe"], "--in has a port called 'größe', which KFP does not take"),
        (["a:float=1e999"], "has the default inf"),
        (["a:in t"], "a type that does not read"),
        (["a:Datset"], "which KFP does not know"),
        (["a:int=x"], "the default 'x', which is no int"),
        (["a:int=true"], "which is no int"),
        (["a:bool=1"], "which is no bool"),
        (["a:list={}"], "which is no list"),
        (["raw:Dataset=x"], "is an artifact and has no default"),
        (["a", "a:int"], "--in 'a' stands twice"),
    ],
)
def test_wrong_words(words: list[str], message: str) -> None:
    with pytest.raises(DefinitionError, match=message) as caught:
        option_ports(words, "--in")
    assert caught.value.hint
