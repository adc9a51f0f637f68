"""Tasks that are to end in the moment in which they are forked."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from kfp_magics.backends.local import forkserver

SERVER = Path(forkserver.__file__)


def wanted(folder: Path, name: str, command: list[str]) -> dict[str, Any]:
    task = folder / f"{name}.json"
    task.write_text(json.dumps({"command": command}))
    log = str(folder / f"{name}.log")
    return {"start": name, "task": str(task), "log": log, "folder": str(folder), "env": {}, "quota": 0}


def test_a_signal_that_comes_with_the_start_of_a_task_is_not_lost(tmp_path: Path) -> None:
    names = [f"task {number}" for number in range(20)]
    lines = [
        line
        for name in names
        for line in (wanted(tmp_path, name, ["/bin/sleep", "3"]), {"signal": signal.SIGTERM, "id": name})
    ]
    command = [sys.executable, "-P", str(SERVER), "--bare"]
    ends: dict[str, int] = {}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write("".join(f"{json.dumps(line)}\n" for line in lines).encode())
        server.stdin.flush()
        while len(ends) < len(names):
            event = json.loads(server.stdout.readline())
            ends |= {event["id"]: event["status"]} if "status" in event else {}
        server.stdin.close()
    assert ends == dict.fromkeys(names, -signal.SIGTERM)


def test_a_task_whose_server_ended_while_it_was_forked_does_not_begin(tmp_path: Path) -> None:
    task = wanted(tmp_path, "orphan", ["/bin/touch", str(tmp_path / "began")])
    program = f"""
import os, sys, time
sys.path.insert(0, {str(SERVER.parent)!r})
import forkserver
ended, holds = os.pipe()
server = os.fork()
if server == 0:
    server = os.getpid()
    if os.fork():
        os._exit(0)
    while os.getppid() == server:
        time.sleep(0.001)
    forkserver._child({task!r}, server, ())
os.waitpid(server, 0)
os.close(holds)
os.read(ended, 1)  # until the task has ended, too
"""
    subprocess.run([sys.executable, "-c", program], check=True)
    assert not os.path.exists(tmp_path / "orphan.log")
    assert not os.path.exists(tmp_path / "began")
