"""The same pipelines under kfp.local, KFP's own way to run them without a cluster.

Run as a program with a folder for the answers: names of cases come in, one a line; one file of JSON a case goes out.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from kfp import dsl, local

from tests.conformance.case import Case, content
from tests.conformance.pipelines import CASES


def main(folder: Path) -> None:
    by_name = {case.name: case for case in CASES}
    with tempfile.TemporaryDirectory() as root:
        local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=f"{root}/outputs")
        for name in map(str.strip, sys.stdin):
            scratch = Path(root, "scratch", name)
            scratch.mkdir(parents=True)
            answer = folder / f"{name}.json"
            draft = answer.with_suffix(".draft")
            draft.write_text(json.dumps(run(by_name[name], scratch)), encoding="utf-8")
            draft.replace(answer)


def run(case: Case, scratch: Path) -> dict[str, Any]:
    try:
        task = case.pipeline(**case.given(scratch))
        outputs = {name: plain(value) for name, value in task.outputs.items()}
    except Exception as error:  # noqa: BLE001  (one case that it cannot run must not end the others)
        state = "failed" if "finished with status" in str(error) else f"crashed: {error!r:.2000}"
        return {"state": state, "outputs": {}, "files": written(case, scratch)}
    return {"state": "succeeded", "outputs": outputs, "files": written(case, scratch)}


def written(case: Case, scratch: Path) -> dict[str, Any]:
    return {name: content(str(scratch / name)) for name in case.files}


def plain(value: Any) -> Any:
    if isinstance(value, dsl.Artifact):
        return {"type": value.schema_title, "metadata": dict(value.metadata), "content": content(value.path)}
    return [plain(one) for one in value] if isinstance(value, list) else value


if __name__ == "__main__":
    main(Path(sys.argv[1]))
