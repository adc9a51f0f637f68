"""The YAML of compiled pipelines, which anybody may have written: read as plain values, no larger than they look."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from kfp_magics.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kfp_magics.model import Json

    _Base = yaml.SafeLoader
else:
    _Base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_LARGEST = 64 << 20  # characters, with everything written out that aliases repeat
_DEEPEST = 200
_TOO_DEEP = "The compiled pipeline is nested too deeply."
HINT = "Compile the pipeline with kfp 2: kfp.compiler.Compiler().compile(pipeline, 'pipeline.yaml')"
"""What to type to get a compiled pipeline that reads."""


class _Loader(_Base):
    """Reads what JSON could say as well; what looks like a date stays a text, as on a cluster."""

    yaml_implicit_resolvers = {  # noqa: RUF012  (PyYAML's)
        first: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:timestamp"]
        for first, found in _Base.yaml_implicit_resolvers.items()
    }

    depth = 0

    def descend_resolver(self, *_: object) -> None:
        """Refuses a value inside too many others: composing them goes down the stack, in C to its very end."""
        self.depth += 1  # the resolvers of paths, which nobody has, are all that is called otherwise
        if self.depth > _DEEPEST:
            raise DefinitionError(_TOO_DEEP, HINT)

    def ascend_resolver(self) -> None:
        """Is back where the value stands in."""
        self.depth -= 1

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Refuses ``<<``, whose repetitions multiply before anybody could count them; no compiler writes it."""
        if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
            raise yaml.constructor.ConstructorError(None, None, "'<<' is not understood here", node.start_mark)


def documents(text: str) -> list[Json]:
    """Reads the documents of a YAML or JSON text; empty ones are left out.

    Raises:
        DefinitionError: It is no YAML, holds what JSON has no word for, or is far larger than it looks.
    """
    try:
        found = [one for one in yaml.load_all(text, Loader=_Loader) if one is not None]
        _measure(found, {})
    except yaml.YAMLError as error:
        raise DefinitionError(f"The compiled pipeline is no YAML: {' '.join(str(error).split())}", HINT) from error
    except RecursionError as error:
        raise DefinitionError(_TOO_DEEP, HINT) from error
    return found


def _measure(value: Json, known: dict[int, tuple[int, int]], depth: int = 0) -> tuple[int, int]:
    """How many characters a value has about, and how deep it is; what stands in two places is looked at once."""
    if isinstance(value, str):
        return len(value), 0
    if value is None or isinstance(value, bool | int | float):
        return 1, 0
    if not isinstance(value, dict | list):
        raise DefinitionError(f"The compiled pipeline holds a {type(value).__name__}, which JSON does not know.", HINT)
    if id(value) in known:
        return known[id(value)]
    if depth > _DEEPEST:  # or in a circle
        raise DefinitionError(_TOO_DEEP, HINT)
    parts = [_measure(one, known, depth + 1) for one in _parts(value)]
    size, height = 1 + sum(part[0] + 1 for part in parts), 1 + max((part[1] for part in parts), default=0)
    if size > _LARGEST or depth + height > _DEEPEST:
        what = f"would have more than {_LARGEST >> 20} MB" if size > _LARGEST else "is nested too deeply"
        raise DefinitionError(f"The compiled pipeline {what}: parts of it stand for others.", HINT)
    known[id(value)] = size, height
    return size, height


def _parts(value: dict[str, Json] | list[Json]) -> Iterable[Json]:
    if isinstance(value, list):
        return value
    for key in value:
        if not isinstance(key, str):
            raise DefinitionError(f"The compiled pipeline has a key that is no text: {key!r}.", "Quote it.")
    return [*value, *value.values()]
