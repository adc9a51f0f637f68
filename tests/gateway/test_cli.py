"""One story told with the official command line; each of its processes takes more than a second to begin."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.gateway.pipelines import doubling
from tests.gateway.servers import Gateway
from tests.local.conftest import ir_of


def kfp(gateway: Gateway, *words: str):
    command = [str(Path(sys.executable).with_name("kfp")), "--endpoint", gateway.url]
    login = ["--existing-token", gateway.token, "--output", "json"]
    done = subprocess.run(
        [*command, *login, *words], env=gateway.environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout[re.search(r"^[\[{]", done.stdout, re.MULTILINE).start() :])


@pytest.mark.slow
def test_a_pipeline_is_uploaded_run_listed_and_scheduled(gateway: Gateway, tmp_path: Path):
    ir_of(doubling, tmp_path)
    package = str(tmp_path / "compiled.yaml")
    pipeline = kfp(gateway, "pipeline", "create", "--pipeline-name", "sums", package)
    assert pipeline["display_name"] == "sums"
    run = kfp(gateway, "run", "create", "-e", "first", "-r", "by hand", "-f", package, "number=5")
    client = gateway.client()
    client.wait_for_run_completion(run["run_id"], timeout=60, sleep_duration=0.1)
    (listed,) = kfp(gateway, "run", "list")
    assert (listed["run_id"], listed["state"], listed["storage_state"]) == (run["run_id"], "SUCCEEDED", "AVAILABLE")
    assert "first" in {one["display_name"] for one in kfp(gateway, "experiment", "list")}
    words = ["--experiment-name", "first", "--job-name", "often", "--interval-second", "1", "--no-catchup", "--enabled"]
    made = kfp(gateway, "recurring-run", "create", *words, "--pipeline-package-path", package, "number=6")
    deadline = time.monotonic() + 60
    while not (fired := [one for one in client.list_runs().runs if one.recurring_run_id]):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert fired[0].recurring_run_id == made["recurring_run_id"]
    assert fired[0].runtime_config.parameters == {"number": 6}
    assert fired[0].display_name.startswith("often ")
    client.disable_recurring_run(made["recurring_run_id"])
