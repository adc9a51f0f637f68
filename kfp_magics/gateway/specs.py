"""Compiled pipelines as clients send them, and as they are given back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from kfp_magics import ir as irs
from kfp_magics.errors import DefinitionError
from kfp_magics.gateway.words import get
from kfp_magics.packages import HINT

if TYPE_CHECKING:
    from kfp_magics.model import Json

_KEPT = 256  # pipelines that are kept read: a list of runs names each of them, and is asked for again and again


def ir_of(spec: Json) -> str:
    """A pipeline that stands in a request, as the text that the engine takes.

    Args:
        spec: A PipelineSpec, or an object that holds one as ``pipeline_spec`` beside a ``platform_spec``.

    Raises:
        DefinitionError: It is no compiled pipeline.
    """
    if not isinstance(spec, Mapping):
        raise DefinitionError("The pipeline_spec is no object.", HINT)
    inner = get(spec, "pipeline_spec")
    documents = [spec] if inner is None else [inner, get(spec, "platform_spec")]
    text = "\n---\n".join(json.dumps(one) for one in documents if one)
    irs.parse(text)
    return text


@lru_cache(_KEPT)
def spec_of(ir: str) -> dict[str, Json]:
    """A compiled pipeline as it is given back, in the shape of `ir_of`; nobody may change it."""
    found = irs.parse(ir)
    spec = dict(found.spec)
    return {"pipeline_spec": spec, "platform_spec": dict(found.platform)} if found.platform else spec
