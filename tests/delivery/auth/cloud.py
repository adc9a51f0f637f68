"""A place where gcloud and kubectl are those of `tools`, and what they were told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.delivery.auth import tools


class Cloud:
    """A folder of programs, to be put before all others.

    Args:
        folder: Where.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir(parents=True)
        text = Path(tools.__file__).read_text(encoding="utf-8")
        for name in ("gcloud", "kubectl"):
            program = self.bin / name
            program.write_text(f"#!{sys.executable} -I\n{text}", encoding="utf-8")
            program.chmod(0o755)
        self.path = f"{self.bin}{os.pathsep}{os.environ['PATH']}"

    @property
    def state(self) -> dict:
        """What there is."""
        path = self.folder / "state.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def change(self, **values: object) -> None:
        """Changes what there is."""
        (self.folder / "state.json").write_text(json.dumps(self.state | values))

    @property
    def calls(self) -> list[list[str]]:
        """How the programs were called."""
        path = self.folder / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def changes(self) -> list[list[str]]:
        """The calls that change something."""
        looks = {"get", "get-iam-policy", "describe", "service-agent"}
        return [call for call in self.calls if not looks & set(call)]

    def bash(self, script: str) -> subprocess.CompletedProcess[str]:
        """Runs a script, with these programs."""
        return subprocess.run(
            ["bash"], input=script, capture_output=True, text=True, env=os.environ | {"PATH": self.path}, check=False
        )

    def members(self, target: str, role: str) -> list[str]:
        """Who has a role on something: ``project shop-123``."""
        found = [one["members"] for one in self.state.get("policies", {}).get(target, []) if one["role"] == role]
        return found[0] if found else []
