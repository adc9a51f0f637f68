"""kfp.local in a process of its own, because it keeps its settings in globals and replaces ``print``.

As a program it reads one JSON object a line, ``{"pipeline": NAME, "arguments": {…}, "venv": BOOL}``, and answers with
the seconds that the pipeline took.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from typing import Any, Self


class Peer:
    """Runs pipelines of `benchmarks.core.pipelines` with kfp.local."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.core.peer"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def run(self, pipeline: str, *, venv: bool = False, **arguments: Any) -> float:
        """Seconds that a pipeline takes; the first one of the process does not count its imports."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"pipeline": pipeline, "arguments": arguments, "venv": venv}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise RuntimeError(f"kfp.local: {answer['error']}")
        return float(answer["seconds"])


def main() -> None:
    """Answers until the input ends."""
    from kfp import local

    from benchmarks.core import pipelines

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what kfp.local prints
    for line in sys.stdin:
        wanted = json.loads(line)
        pipeline = getattr(pipelines, wanted["pipeline"])(**wanted["arguments"])
        with tempfile.TemporaryDirectory() as root:
            local.init(runner=local.SubprocessRunner(use_venv=wanted["venv"]), pipeline_root=root, workspace_root=root)
            start = time.perf_counter()
            try:
                pipeline()
            except Exception as error:
                answer: dict[str, Any] = {"error": str(error)[-500:]}
            else:
                answer = {"seconds": time.perf_counter() - start}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
