"""Doing what the plan says, by the very commands that were shown."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

from kfp_magics.delivery.auth.commands import SHELL
from kfp_magics.errors import DeliveryError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kfp_magics.delivery.auth.commands import Command

_PATIENCE = 300.0  # seconds that one command may take
_PAUSES = (2.0, 4.0, 8.0, 16.0, 30.0)  # seconds: a new account is not known everywhere at once
_INSTALL = {
    "gcloud": "Install the Google Cloud CLI: https://cloud.google.com/sdk/docs/install, then: gcloud auth login",
    "kubectl": "Install it: gcloud components install kubectl, then: gcloud container clusters get-credentials CLUSTER",
}
_SECRET = re.compile(r"-----BEGIN.*|[\"']?private_key[\"']?.*|ya29\.\S+", re.DOTALL)


def apply(commands: Sequence[Command], tell: Callable[[str], None], pauses: Sequence[float] = _PAUSES) -> None:
    """Runs commands one after the other; what is there already is said and left alone.

    Args:
        commands: What to do.
        tell: Told what happens, a line at a time.
        pauses: Seconds between two attempts, while an account that was just made is not known yet.

    Raises:
        DeliveryError: One failed; those behind it did not run.
    """
    _needs_tools(commands)
    width = len(str(len(commands)))
    made = False
    for number, command in enumerate(commands, start=1):
        here = f"[{number:{width}}/{len(commands)}] {command.title}"
        if _is_there(command):
            tell(f"{here}: there already")
            continue
        _carry_out(command, pauses if made else ())
        made = made or command.title.startswith("Account ")
        tell(f"{here}: done")


def _needs_tools(commands: Sequence[Command]) -> None:
    if shutil.which("bash") is None:
        raise DeliveryError("bash is not on this machine.", "Install it, or run the commands by hand.")
    for tool, install in _INSTALL.items():
        if shutil.which(tool) is None and any(re.search(rf"\b{tool} ", one.text) for one in commands):
            raise DeliveryError(f"{tool} is not on this machine; nothing was done.", install)


def _is_there(command: Command) -> bool:
    if not command.look:
        return False
    done = _bash(command, command.look)
    found = done.stdout.strip()
    if done.returncode or not found:
        return False  # also when it may not be looked at: the command itself says what is wrong
    if command.expected:
        return found == command.expected
    return _has_member(found, command) if command.member else True


def _has_member(policy: str, command: Command) -> bool:
    try:
        bindings = json.loads(policy).get("bindings", [])
    except (ValueError, AttributeError):
        return False
    return any(
        one.get("role") == command.role and command.member in one.get("members", ()) and "condition" not in one
        for one in bindings
    )


def _carry_out(command: Command, pauses: Sequence[float]) -> None:
    waits = iter(pauses)
    while True:
        done = _bash(command, command.text)
        if not done.returncode:
            return
        pause = next(waits, None)
        if pause is None or "does not exist" not in done.stderr:
            why = _reason(done.stderr) or f"exit code {done.returncode}"
            raise DeliveryError(
                f"{command.title}: {why}", "Mend that and say --apply again: what was done is there and stays."
            )
        time.sleep(pause)


def _bash(command: Command, text: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["bash", "-c", "\n".join((*SHELL, text))],  # noqa: S607  (the user's bash)
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        message = f"{command.title}: no answer within {_PATIENCE:g} s."
        raise DeliveryError(message, "Look at the network, and say --apply again.") from None


def _reason(said: str) -> str:
    """The line that says what went wrong; nothing in it that looks like a key."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    wrong = next((line for line in lines if line.lower().startswith("error")), lines[-1] if lines else "")
    return _SECRET.sub("…", wrong)[:300]
