"""Carries out a GitHub Actions workflow on this machine: jobs, expressions, variables, and what `uses:` stands for.

It knows what exported workflows use, after GitHub's description, and fails on everything else.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

_TOKEN = re.compile(r"\s*(\|\||&&|==|!=|[(),]|'(?:[^']|'')*'|[A-Za-z_][\w.-]*)")


class Expression:
    """What stands in ``${{ }}``: names, text, ``format``, comparisons, ``&&`` and ``||``."""

    def __init__(self, text: str, contexts: Mapping[str, Any]) -> None:
        self._tokens: list[str] = []
        at = 0
        while text[at:].strip():
            match = _TOKEN.match(text, at)
            assert match, f"not understood: {text[at:]}"
            self._tokens.append(match[1])
            at = match.end()
        self._contexts = contexts

    def value(self) -> Any:
        found = self._either()
        assert not self._tokens, self._tokens
        return found

    def _either(self) -> Any:
        found = self._both()
        while self._take("||"):
            other = self._both()
            found = found or other
        return found

    def _both(self) -> Any:
        found = self._compared()
        while self._take("&&"):
            other = self._compared()
            found = found and other
        return found

    def _compared(self) -> Any:
        found = self._one()
        for word in ("==", "!="):
            if self._take(word):
                return (found == self._one()) is (word == "==")
        return found

    def _one(self) -> Any:
        token = self._tokens.pop(0)
        if token == "(":
            found = self._either()
            assert self._take(")")
            return found
        if token.startswith("'"):
            return token[1:-1].replace("''", "'")
        if self._take("("):
            assert token == "format", token
            given = [self._either()]
            while self._take(","):
                given.append(self._either())
            assert self._take(")")
            return given[0].format(*(one or "" for one in given[1:]))
        found = self._contexts
        for part in token.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
        return found

    def _take(self, token: str) -> bool:
        if self._tokens and self._tokens[0] == token:
            del self._tokens[0]
            return True
        return False


@dataclass
class Runner:
    """A machine that carries out jobs.

    Attributes:
        remote: The repository, as git knows it.
        variables: Of the machine.
        folder: Where it works; each job has a workspace of its own there.
        secrets: Of the repository.
        python: Its tool cache: made by the first job that sets Python up, and there for the next.
    """

    remote: str
    variables: dict[str, str]
    folder: Path
    secrets: dict[str, str] = field(default_factory=dict)
    jobs: int = 0

    def push(self, commit: str, before: str) -> dict[str, str]:
        """What a push starts: step → what it printed."""
        return self._run("push", commit, {"before": before, "after": commit})

    def pull_request(self, commit: str, base: str) -> dict[str, str]:
        return self._run("pull_request", commit, {"pull_request": {"base": {"sha": base}}})

    def _run(self, event: str, commit: str, payload: Mapping[str, Any]) -> dict[str, str]:
        self.jobs += 1
        workspace = self.folder / f"work-{self.jobs}"
        workspace.mkdir(parents=True)
        text = self._git(Path(self.remote.removeprefix("file://")), "show", f"{commit}:.github/workflows/images.yml")
        flow = yaml.safe_load(text)
        triggers = flow[True]  # YAML's word for what GitHub writes as `on`
        assert event in triggers, f"the workflow does not listen to {event}"
        secrets = {**self.secrets, "GITHUB_TOKEN": "of-this-job"}
        github = {"event_name": event, "event": payload, "actor": "me", "sha": commit}
        (job,) = flow["jobs"].values()
        told = {}
        for name in ("env", "path"):
            (self.folder / name).write_text("")
        for step in job["steps"]:
            contexts = {"github": github, "secrets": secrets}
            if "if" in step and not Expression(step["if"], contexts).value():
                continue
            environment = self._environment(workspace, github, contexts, flow, job, step)
            if "uses" in step:
                self._use(step, workspace, commit)
            else:
                told[step["name"]] = self._script(step, workspace, environment)
        return told

    def _environment(self, workspace: Path, github: Mapping[str, Any], contexts: Any, *levels: Any) -> dict[str, str]:
        written = dict(line.split("=", 1) for line in (self.folder / "env").read_text().splitlines())
        path = ":".join([*reversed((self.folder / "path").read_text().splitlines()), self.variables["PATH"]])
        found = self.variables | {
            "PATH": path,
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_EVENT_NAME": github["event_name"],
            "GITHUB_SHA": github["sha"],
            "GITHUB_REPOSITORY": "Me/House",
            "GITHUB_WORKSPACE": str(workspace),
            "GITHUB_ENV": str(self.folder / "env"),
            "GITHUB_PATH": str(self.folder / "path"),
        }
        flow, *inner = levels
        for level in (flow.get("env", {}), written, *(one.get("env", {}) for one in inner)):
            found |= {name: self._resolved(str(value), contexts) for name, value in level.items()}
        return found

    def _resolved(self, text: str, contexts: Any) -> str:
        return re.sub(r"\$\{\{(.*?)\}\}", lambda match: str(Expression(match[1], contexts).value() or ""), text)

    def _script(self, step: Mapping[str, Any], workspace: Path, environment: dict[str, str]) -> str:
        assert "${{" not in step["run"], "expressions in a script let whoever names a branch write it"
        script = self.folder / "script.sh"
        script.write_text(step["run"])
        command = ["bash", "-e", str(script)]
        done = subprocess.run(command, cwd=workspace, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{step['name']}:\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def _use(self, step: Mapping[str, Any], workspace: Path, commit: str) -> None:
        given = step.get("with", {})
        match step["uses"].partition("@")[0]:
            case "actions/checkout":
                depth = given.get("fetch-depth", 1)
                self._git(workspace, "init", "-q")
                self._git(workspace, "remote", "add", "origin", self.remote)
                # No depth is everything: all branches, as the action does it.
                what = ["+refs/heads/*:refs/remotes/origin/*"] if depth == 0 else [f"--depth={depth}"]
                self._git(workspace, "fetch", "-q", "origin", *what, *([] if depth == 0 else [commit]))
                self._git(workspace, "checkout", "-q", commit)
            case "actions/setup-python":
                assert re.fullmatch(r"3\.\d+", str(given["python-version"]))
                python = self.folder / "python"
                if not python.exists():
                    command = ["uv", "venv", "-q", "--seed", "--python", str(given["python-version"]), str(python)]
                    subprocess.run(command, check=True, env=self.variables)
                with (self.folder / "path").open("a") as file:
                    file.write(f"{python / 'bin'}\n")
            case other:
                raise AssertionError(f"what does {other} do?")

    def _git(self, folder: Path, *words: str) -> str:
        quiet = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
        done = subprocess.run(
            ["git", *words], cwd=folder, env=os.environ | quiet, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout
