"""The functions in the cloud that were written beside a notebook, as far as rights depend on them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kfp_magics.errors import DeliveryError

if TYPE_CHECKING:
    from pathlib import Path

    from kfp_magics.model import Json


@dataclass(frozen=True, kw_only=True, slots=True)
class Function:
    """A function that starts runs.

    Attributes:
        name: Of its folder.
        claims: The bucket in which it remembers what has started a run: ``gs://BUCKET``.
        kind: Where runs go: ``local``, ``kfp`` or ``vertex``.
        account: Account of the steps on Vertex AI; empty for the usual one.
        token: Variable in which it is given a token; empty when it needs none.
    """

    name: str
    claims: str
    kind: str
    account: str = ""
    token: str = ""


def functions_in(folder: Path) -> list[Function]:
    """Reads the functions of a folder, by name.

    Args:
        folder: The folder that they are in; need not be there.

    Raises:
        DeliveryError: A function's file does not read.
    """
    return [_function(path.parent) for path in sorted(folder.glob("*/rule.json"))]


def _function(place: Path) -> Function:
    rule, target = _read(place / "rule.json"), _read(place / "target.json")
    where = str(target.get("claims") or rule.get("on", ""))
    return Function(
        name=place.name,
        claims=f"gs://{where.removeprefix('gs://').partition('/')[0]}",
        kind=str(target.get("kind", "local")),
        account=str(target.get("service_account", "")) if target.get("kind") == "vertex" else "",
        token=str(target.get("token_env", "")),
    )


def _read(path: Path) -> dict[str, Json]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DeliveryError(
            f"{str(path)!r} cannot be read: {error}.",
            f"Write the function again: %kfp_cd create; or remove {path.parent}",
        ) from error
    return found if isinstance(found, dict) else {}
