"""The function that a new object calls: it reads the folder that it stands in, and starts a run or declines.

This file is copied beside the generated function.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import functions_framework
import requests
from flask import abort

from .claims import open_claims
from .once import AgainError, Once
from .rules import NewObject, Rule, RuleError
from .submit import RefusedError, StandIns, runs_of

if TYPE_CHECKING:
    from cloudevents.http import CloudEvent

    from .once import Answer

FOLDER = Path(__file__).resolve().parent.parent
"""Where the function is."""


@cache
def _rule() -> Rule:
    return rule_of(FOLDER)


@cache
def _once() -> Once:
    target = json.loads((FOLDER / "target.json").read_text(encoding="utf-8"))
    runs = runs_of(target, (FOLDER / "pipeline.yaml").read_text(encoding="utf-8"), FOLDER)
    if files := target.get("stand_ins"):
        runs = StandIns(runs, files)
    return Once(_rule(), open_claims(target["claims"]), runs, mark=target.get("mark", ""))


def rule_of(folder: Path) -> Rule:
    """Reads the rule of a function's folder."""
    rule = json.loads((folder / "rule.json").read_text(encoding="utf-8"))
    source = folder / "parameters.py"
    return Rule.from_json(rule | ({"function": source.read_text(encoding="utf-8")} if source.is_file() else {}))


@functions_framework.cloud_event
def on_finalized(event: CloudEvent) -> None:
    """Starts a run for a new object, once; anything but success has the event delivered again."""
    try:
        found = NewObject.from_event(event.get_attributes(), event.get_data())
    except RuleError as error:  # another delivery of it would be no better
        _say("WARNING", f"Declined: {error.message}", what="declined")
        return
    if not _rule().matches(found):
        _say("DEBUG", f"Declined: {found.uri} is not what the rule waits for.", what="declined", object=found.uri)
        return
    try:
        answer = _once().take(found)
    except AgainError as error:
        _say("INFO", f"Later: {found.uri}: {error}", what="later", object=found.uri)
        abort(503, str(error))
    except (RefusedError, RuleError, requests.RequestException) as error:
        _say("ERROR", f"Failed: {found.uri}: {error}", what="failed", object=found.uri)
        abort(500, str(error))
    _tell(found, answer)


def _tell(found: NewObject, answer: Answer) -> None:
    known = {"what": answer.what, "object": found.uri}
    if answer.started is not None:
        known |= {"run": answer.started.run, "url": answer.started.url}
    text = {
        "started": f"Started: {known.get('run')} for {', '.join(one.uri for one in answer.objects)[:1000]}",
        "before": f"Was started before: {known.get('run')} for {found.uri}",
        "waiting": f"Gathered: {found.uri}",
        "declined": f"Declined: the function gives no parameters for {found.uri}",
    }[answer.what]
    _say("INFO", text, parameters=answer.parameters, **known)


def _say(severity: str, message: str, **known: Any) -> None:  # noqa: ANN401  (JSON)
    """Prints a line as Cloud Logging reads it."""
    print(json.dumps({"severity": severity, "message": message, "kfp_magics": known}, default=str), flush=True)
