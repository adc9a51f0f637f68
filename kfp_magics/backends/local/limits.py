"""What a container may use, from the words of the IR to the options of an engine."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kfp_magics.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kfp_magics.engines import Engine
    from kfp_magics.model import Json

_QUANTITY = re.compile(r"^\s*(\d+(?:\.\d+)?(?:e\d+)?)\s*(m|k|[KMGTPE]i?)?\s*$")
_FACTORS = {"m": 1e-3, "": 1.0, "k": 1e3, "K": 1e3} | {
    f"{letter}{i}": (1024.0 if i else 1000.0) ** power
    for power, letter in enumerate("KMGTPE", start=1)
    for i in ("", "i")
}
_GIGABYTE = 1e9  # the unit of the IR's older field


def quantity(text: str) -> float:
    """Reads a quantity as Kubernetes writes it: ``500m``, ``2``, ``1.5G``, ``512Mi``.

    Raises:
        EngineError: It is none.
    """
    match = _QUANTITY.match(text)
    if match is None:
        raise EngineError(f"{text!r} is no amount of cores or memory.", "Write 500m, 2, 512Mi or 2G.")
    return float(match[1]) * _FACTORS[match[2] or ""]


def limits(resources: Mapping[str, Json], engine: Engine) -> tuple[tuple[str, ...], str]:
    """Finds the options that limit a container.

    Args:
        resources: The container's resources as the IR says them, placeholders resolved.
        engine: What shall run it.

    Returns:
        Options of ``run``, and a remark on what is asked for and cannot be had here; mostly empty.

    Raises:
        EngineError: An amount is none.
    """
    wanted: dict[str, tuple[str, str]] = {}
    if cores := _amount(resources, "Cpu", 1.0):
        wanted["cpu"] = "--cpus", f"{cores:g}"
    if memory := _amount(resources, "Memory", _GIGABYTE):
        wanted["memory"] = "--memory", f"{memory:.0f}b"
    lacking = [f"{name} is not limited" for name in wanted if name not in engine.limits]
    if any(resources.get("accelerator", {}).values()):
        lacking.append("no accelerator is handed in")
    remark = f"{' and '.join(lacking)}: {engine.name} cannot do it here" if lacking else ""
    return tuple(word for name, words in wanted.items() if name in engine.limits for word in words), remark


def _amount(resources: Mapping[str, Json], what: str, unit: float) -> float:
    text = resources.get(f"resource{what}Limit", "")
    return quantity(str(text)) if text else float(resources.get(f"{what.lower()}Limit", 0)) * unit
