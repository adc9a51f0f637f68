"""``test FILE``: the function as it is, served on this machine and sent a real event."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING

from filelock import FileLock

from kfp_magics.delivery.cloud.folder import ENTRY, bucket_of, rule_in
from kfp_magics.delivery.newdata.rules import FINALIZED
from kfp_magics.errors import DeliveryError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kfp_magics.model import Json
    from kfp_magics.settings import Settings

_PATIENCE = 60.0  # seconds until a server on this machine has begun to answer
_ANSWER = 120.0  # seconds that an answer may take, besides the time for which files are gathered
_TOKEN = "KFP_MAGICS_TRIAL_TOKEN"  # noqa: S105  (a variable's name)


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What the function said of an event.

    Attributes:
        status: What it answered over HTTP.
        lines: What it logged.
        output: Everything that it printed besides.
    """

    status: int
    lines: list[dict[str, Json]]
    output: str

    @property
    def last(self) -> dict[str, Json]:
        """What it said last of what it did; empty when nothing."""
        return self.lines[-1]["kfp_magics"] if self.lines else {}


def event_of(rule_on: str, file: str, facts: Mapping[str, Json]) -> tuple[dict[str, str], dict[str, Json]]:
    """The event by which Cloud Storage tells of a new object.

    Args:
        rule_on: The pattern of the rule, which says where a file of this machine would be.
        file: ``gs://bucket/name``, or a file of this machine.
        facts: What is known of the object, in Cloud Storage's words.

    Returns:
        The attributes of the event, and its data.
    """
    if file.startswith("gs://"):
        bucket, _, name = file.removeprefix("gs://").partition("/")
    else:
        bucket = bucket_of(rule_on)
        place = re.split(r"[*?\[]", rule_on.removeprefix(f"gs://{bucket}/"))[0].rpartition("/")[0]
        name = f"{place}/{Path(file).name}".lstrip("/")
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    data: dict[str, Json] = {
        "kind": "storage#object",
        "bucket": bucket,
        "name": name,
        "generation": str(time.time_ns() // 1000),
        "size": "0",
        "timeCreated": now,
        "updated": now,
        **facts,
    }
    attributes = {
        "id": secrets.token_hex(8),
        "type": FINALIZED,
        "source": f"//storage.googleapis.com/projects/_/buckets/{bucket}",
        "subject": f"objects/{name}",
        "bucket": bucket,
        "specversion": "1.0",
        "time": now,
    }
    return attributes, data


def local_facts(path: Path) -> dict[str, Json]:
    """What Cloud Storage would say of a file of this machine.

    Raises:
        DeliveryError: There is no such file.
    """
    if not path.is_file():
        raise DeliveryError(f"There is no file {str(path)!r}.", "Name a file of this machine, or gs://BUCKET/NAME.")
    status = path.stat()
    written = datetime.fromtimestamp(status.st_mtime, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"size": str(status.st_size), "timeCreated": written, "updated": written}


class Trial:
    """A function's folder, tried on this machine.

    Args:
        settings: Where environments are kept.
        files: The folder: path → content.
    """

    def __init__(self, settings: Settings, files: Mapping[str, bytes]) -> None:
        self._settings = settings
        self._files = dict(files)
        self.rule = rule_in(files)

    def send(self, file: str, facts: Mapping[str, Json], *, here: bool) -> Told:
        """Serves the function, sends it the event of a file, and ends it.

        Args:
            file: ``gs://bucket/name``, or a file of this machine.
            facts: What is known of the object.
            here: Whether runs go to this machine, whatever the folder says.

        Raises:
            DeliveryError: The function cannot be served.
        """
        attributes, data = event_of(self.rule.on, file, facts)
        with ExitStack() as stack:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kfp-magics-trial-")))
            target = json.loads(self._files["target.json"])
            variables: dict[str, str] = {}
            if here:
                token = secrets.token_urlsafe(16)
                target = {"kind": "kfp", "host": stack.enter_context(self._door(token)), "token_env": _TOKEN}
                variables[_TOKEN] = token
                if not file.startswith("gs://"):
                    target["stand_ins"] = {f"gs://{data['bucket']}/{data['name']}": str(Path(file).resolve())}
            # A trial counts for itself: it neither finds the runs of what is deployed nor keeps it from starting them.
            target |= {"claims": str(scratch / "claims"), "mark": f"trial-{secrets.token_hex(4)}-"}
            folder = self._write(scratch / "function", target)
            url = stack.enter_context(self._served(folder, scratch / "log", variables))
            status = _post(url, attributes, data, self.rule.gather + _ANSWER)
            lines, output = _read_log(scratch / "log")
        return Told(status=status, lines=lines, output=output)

    def _write(self, folder: Path, target: Mapping[str, Json]) -> Path:
        for path, content in (self._files | {"target.json": json.dumps(target).encode()}).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        return folder

    @contextmanager
    def _served(self, folder: Path, log: Path, variables: Mapping[str, str]) -> Iterator[str]:
        """functions-framework with the function, as it runs in the cloud."""
        port = _free_port()
        python = environment(self._settings, self._files["requirements.txt"].decode())
        words = ["--target", ENTRY, "--signature-type", "cloudevent", "--host", "127.0.0.1", "--port", str(port)]
        command = [str(python), "-m", "functions_framework", "--source", "main.py", *words]
        known = {**os.environ, **variables, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        with log.open("wb") as output, _running(command, folder, known, output) as process:
            _until_it_answers(process, port, "The function", log)
            yield f"http://127.0.0.1:{port}/"

    @contextmanager
    def _door(self, token: str) -> Iterator[str]:
        """Kubeflow Pipelines' interface to the engine of this machine."""
        if find_spec("uvicorn") is None or find_spec("starlette") is None:
            raise DeliveryError(
                "Runs of a trial reach this machine through kfp-magics serve, which is not installed.",
                "pip install 'kfp-magics[serve]', or --connected to start the run where runs go.",
            )
        port = _free_port()
        command = [sys.executable, "-m", "kfp_magics.cli", "serve", "--port", str(port)]
        known = {
            **os.environ,
            "KFP_MAGICS_SERVE_TOKEN": token,
            "KFP_MAGICS_HOME": str(self._settings.home_path.resolve()),
        }
        with _running(command, Path.cwd(), known, subprocess.DEVNULL) as process:
            _until_it_answers(process, port, "kfp-magics serve")
            yield f"http://127.0.0.1:{port}"


def environment(settings: Settings, requirements: str) -> Path:
    """The interpreter of an environment with what a function requires, made once.

    Args:
        settings: Where environments are kept.
        requirements: The content of its requirements.txt.

    Raises:
        DeliveryError: It cannot be made.
    """
    from uv import find_uv_bin  # noqa: PLC0415  (only for trials)

    key = hashlib.sha256(f"{requirements}\n{sys.version} {sys.base_prefix}".encode()).hexdigest()[:16]
    place = settings.home_path / "functions" / key
    python = place / "bin" / "python"
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with FileLock(f"{place}.lock"):
        if (place / ".ready").exists():
            return python
        shutil.rmtree(place, ignore_errors=True)
        offline = ["--offline"] if settings.offline else []
        for words in (
            ["venv", "--quiet", "--no-project", "--python", sys.executable, str(place)],
            ["pip", "install", "--quiet", *offline, "--python", str(python), *requirements.split()],
        ):
            done = subprocess.run(
                [find_uv_bin(), *words], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
            )
            if done.returncode:
                raise DeliveryError(
                    f"What the function requires cannot be installed: {done.stderr.strip()[:600]}",
                    "Look at its requirements.txt and at the network.",
                )
        (place / ".ready").touch()
    return python


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _running(
    command: list[str], folder: Path, environment: Mapping[str, str], output: int | IO[bytes]
) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _until_it_answers(process: subprocess.Popen[bytes], port: int, what: str, log: Path | None = None) -> None:
    end = time.monotonic() + _PATIENCE
    while process.poll() is None and time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    said = log.read_text("utf-8", "replace").strip() if log is not None else ""
    raise DeliveryError(f"{what} does not answer on this machine.", said[-2000:] or "Try again.")


def _post(url: str, attributes: Mapping[str, str], data: Mapping[str, Json], patience: float) -> int:
    import httpx  # noqa: PLC0415  (only for trials)

    headers = {f"ce-{name}": _header(value) for name, value in attributes.items()}
    with httpx.Client(trust_env=False, timeout=patience) as client:
        return client.post(url, json=dict(data), headers=headers).status_code


def _header(value: str) -> str:
    """A value as CloudEvents writes it into a header: percent signs for what is no plain ASCII."""
    from urllib.parse import quote  # noqa: PLC0415  (only for trials)

    return quote(value, safe="!#$&'()*+,/:;=?@[]-._~ <>^`{|}")


def _read_log(path: Path) -> tuple[list[dict[str, Json]], str]:
    lines, rest = [], []
    for line in path.read_text("utf-8", "replace").splitlines():
        try:
            found = json.loads(line)
        except ValueError:
            found = None
        if isinstance(found, dict) and "kfp_magics" in found:
            lines.append(found)
        else:
            rest.append(line)
    return lines, "\n".join(rest)
