"""Rules from what a person types: ``--run PIPELINE data=$uri epochs=3``."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from string import Template
from typing import TYPE_CHECKING

from kfp_magics import ir as irs
from kfp_magics.arguments import read_value, split_words
from kfp_magics.backends.base import SubmitOptions
from kfp_magics.backends.local.checks import check_arguments
from kfp_magics.cells.names import unavailable
from kfp_magics.delivery.newdata.rules import UNFINISHED, NewObject, Rule, RuleError
from kfp_magics.errors import ArgumentError, DeliveryError, NamesError, did_you_mean
from kfp_magics.model import MISSING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kfp_magics.model import Json, Pipeline


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What a person wants new data to do.

    Attributes:
        on: Pattern of URIs, see `Rule`.
        values: ``key=value`` words.
        name: Of the rule; made of the place and the pipeline when empty.
        function: Source of a module whose last function takes an event.
        ignore: More patterns of files that start nothing.
        gather: Seconds for which files are gathered into one run.
    """

    on: str = ""
    values: Sequence[str] = ()
    name: str = ""
    function: str = ""
    ignore: Sequence[str] = ()
    gather: float = 0.0


def rule_of(pipeline: Pipeline, wanted: Wanted) -> Rule:
    """Makes the rule by which new data starts a pipeline, and sees that its runs would be given what they need.

    Other places where new files are awaited and that the pipeline is told of, such as the folder it writes to, are its
    own affair: what appears there starts nothing.

    Raises:
        ArgumentError: A parameter is missing, unknown or of the wrong type.
        DeliveryError: The rule could not work.
        NamesError: The function reads names that it will not have.
    """
    ports = {port.name: port for port in pipeline.parameters}
    templates: dict[str, Json] = {}
    as_json = []
    for key, text in split_words(wanted.values).items():
        if key not in ports:
            raise ArgumentError(f"The pipeline {pipeline.name!r} takes no argument {key!r}.", did_you_mean(key, ports))
        if _asks(text):
            templates[key] = text
            as_json += [key] if ports[key].type != "str" else []
        elif (value := read_value(text, ports[key])) is not None:
            templates[key] = value
    if wanted.function and (unknown := unavailable(wanted.function)):
        name, line = next(iter(unknown.items()))
        raise NamesError(
            f"The function reads {name!r} (line {line}), which it will not have.",
            "It runs without the notebook: import or define what it needs in its cell.",
        )
    own = [place for value in templates.values() if isinstance(value, str) for place in _own(value, wanted.on)]
    with said():
        rule = Rule(
            name=wanted.name or name_of(wanted.on, pipeline.name),
            on=wanted.on,
            pipeline=pipeline.name,
            templates=templates,
            as_json=tuple(as_json),
            function=wanted.function,
            ignore=(*UNFINISHED, *wanted.ignore, *own),
            gather=wanted.gather,
        )
        sample = _sample(rule)
    if not wanted.function:  # which may give the rest
        needed = [one.name for one in pipeline.parameters if one.default is MISSING and not one.optional]
        if missing := [name for name in needed if name not in sample]:
            words = " ".join(f"{name}=…" for name in missing)
            raise ArgumentError(
                f"The pipeline {pipeline.name!r} also needs {', '.join(missing)}.",
                f"Say it behind the pipeline, with $uri for the new file: --run {rule.pipeline} {words}",
            )
        check_arguments(irs.parse(pipeline.ir), sample, SubmitOptions())
    return rule


@contextmanager
def said() -> Iterator[None]:
    """Turns what rules complain of into errors that people are shown."""
    try:
        yield
    except RuleError as error:
        raise DeliveryError(error.message, error.hint) from error


def _asks(text: str) -> bool:
    return bool(Template(text).get_identifiers())


def _sample(rule: Rule) -> dict[str, Json]:
    """What a run would be given, but for what the function gives."""
    sample = NewObject(bucket="sample", name="sample", generation="1", time="2000-01-01T00:00:00Z")
    plain = Rule(
        name=rule.name, on=rule.on, pipeline=rule.pipeline, templates=rule.templates, as_json=rule.as_json
    ).parameters([sample])
    assert plain is not None
    return plain


def _own(value: str, on: str) -> list[str]:
    """Patterns for a place besides the new file that the pipeline is told of, when it lies where files are awaited."""
    fixed = re.split(r"[*?\[]", on)[0].rpartition("/")[0] + "/"
    if _asks(value) or not value.startswith(fixed) or value.rstrip("/") + "/" == fixed:
        return []
    place = re.sub(r"([*?[])", r"[\1]", value.rstrip("/"))
    return [place, f"{place}/"]


def name_of(on: str, pipeline: str) -> str:
    """A name for a rule: the last folder of a pattern that is named whole, and the pipeline."""
    parts = [one for one in on.removeprefix("gs://").split("/")[:-1] if one and not re.search(r"[*?\[]", one)]
    words = re.sub(r"[^a-z0-9]+", "-", f"{parts[-1] if parts else 'files'}-{pipeline}".lower()).strip("-")
    return (words if words[:1].isalpha() else f"on-{words}")[:49].rstrip("-")
