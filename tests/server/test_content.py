"""Logs by ranges and artifacts in a sandbox."""

from __future__ import annotations

import asyncio
import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from kfp_magics.model import Artifact, Run, State, Task
from kfp_magics.runs.store import Store
from kfp_magics.server import logs
from kfp_magics.settings import Settings
from tests.local.conftest import Engine
from tests.server.conftest import Ask, options, until


class Written:
    """A run in the store whose files a test writes itself."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self.store = store
        self.tasks = settings.home_path / "runs" / "r" / "tasks"

    def save(self, *artifacts: Artifact, state: State = State.SUCCEEDED, attempt: int = 1) -> None:
        task = Task(id="loop/0/t", name="t", state=state, attempt=attempt, artifacts=artifacts)
        self.store.save(Run(id="r", name="x", tasks=(task,), state=State.RUNNING, attempt=attempt))

    def log(self, data: bytes, attempt: int = 1) -> Path:
        path = self.tasks / "loop/0/t" / f"attempt-{attempt}" / "log.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def file(self, name: str, data: bytes) -> Path:
        path = self.tasks / "loop/0/t" / "attempt-1" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path


def artifact(name: str, uri: object, kind: str = "system.Artifact") -> Artifact:
    return Artifact(name=name, io="output", type=kind, uri=str(uri))


@pytest.fixture
def written(store: Store, settings: Settings) -> Written:
    return Written(store, settings)


async def test_a_long_log_opens_at_its_end_and_is_read_back_to_its_beginning(ask: Ask, written: Written) -> None:
    lines = [f"{number:08} wört\n" for number in range(1_000_000)]
    whole = "".join(lines).encode() * 7
    assert len(whole) > 100_000_000
    written.log(whole)
    written.save()
    last = (await ask("GET", "/runs/r/log", task="loop/0/t", offset=-65536)).json
    assert last["end"] == last["size"] == len(whole)
    assert last["ended"]
    assert last["text"].endswith(lines[-1])
    assert last["text"].splitlines(keepends=True)[0] in lines[-5000:]
    before = (await ask("GET", "/runs/r/log", task="loop/0/t", offset=last["start"] - 1001, limit=1001)).json
    assert before["end"] == last["start"]
    assert whole[before["start"] : last["end"]].decode() == before["text"] + last["text"]
    found = (await ask("GET", "/runs/r/log/search", task="loop/0/t", text="00999999 WöRT", limit=3)).json
    assert [whole[one["start"] : one["end"]].decode() for one in found["matches"]] == ["00999999 wört"] * 3
    assert [one["text"] for one in found["matches"]] == ["00999999 wört"] * 3
    rest = (await ask("GET", "/runs/r/log/search", task="loop/0/t", text="00999999", offset=found["next"])).json
    assert (len(rest["matches"]), rest["next"]) == (4, None)


def test_pieces_join_to_the_whole_wherever_they_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    whole = "zeile 🙂 漢字 ü\n" * 40
    path.write_bytes(whole.encode())
    for limit in range(16, 40):
        text, at = "", 0
        while piece := logs.read_piece(path, at, limit, ended=False):
            if not piece.text:
                break
            assert piece.start == at
            text, at = text + piece.text, piece.end
        assert text == whole, limit
    cut = tmp_path / "cut.txt"
    cut.write_bytes("ab🙂".encode()[:-1])
    assert logs.read_piece(cut, 0, 100, ended=False).text == "ab"  # the rest of the character is still to come
    assert logs.read_piece(cut, 0, 100, ended=True).text == "ab\ufffd"
    assert logs.read_piece(path, 10**9, 100, ended=True).text == ""
    assert logs.read_piece(tmp_path / "none", -100, 100, ended=True).size == 0
    cut.write_bytes(b"\x80" * 100)
    assert logs.read_piece(cut, 50, 100, ended=True).text == "\ufffd" * 50


async def test_a_log_is_followed_to_its_end(ask: Ask, ir: str, engine: Engine) -> None:
    run = engine.start(ir, options(), seconds=1.0)
    text, at = "", 0
    while True:
        piece = (await ask("GET", f"/runs/{run.id}/log", task="wait", offset=at, follow=20)).json
        text, at = text + piece["text"], piece["end"]
        if piece["ended"] and at == piece["size"]:
            break
    assert text == "waiting\n"
    assert engine.end(run).state is State.SUCCEEDED
    saved = await ask("GET", f"/runs/{run.id}/log/file", task="wait")
    assert saved.body == b"waiting\n"
    assert saved.headers["Content-Disposition"].startswith('attachment; filename="wait.log"')
    ranged = await ask("GET", f"/runs/{run.id}/log/file", task="wait", headers={"Range": "bytes=0-3"})
    assert (ranged.status, ranged.body) == (206, b"wait")


async def test_who_follows_an_old_attempt_hears_of_the_new_one(ask: Ask, written: Written) -> None:
    written.log(b"first\n")
    written.save(state=State.RUNNING)
    waiting = asyncio.ensure_future(ask("GET", "/runs/r/log", task="loop/0/t", offset=6, attempt=1, follow=20))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    written.log(b"second\n", attempt=2)
    written.save(state=State.RUNNING, attempt=2)
    piece = (await waiting).json
    assert (piece["ended"], piece["attempt"], piece["attempts"], piece["text"]) == (True, 1, 2, "")
    assert (await ask("GET", "/runs/r/log", task="loop/0/t")).json["text"] == "second\n"


async def test_artifacts_of_a_real_run_are_shown_in_a_sandbox(ask: Ask, ir: str, engine: Engine) -> None:
    run = engine.run(ir, options())
    path = f"/runs/{run.id}/artifact"
    report = await ask("GET", path, task="make", name="report")
    assert report.body == b"<script>alert(1)</script>"
    assert report.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = report.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox; default-src 'none'")
    assert report.headers["X-Content-Type-Options"] == "nosniff"
    scripted = (await ask("GET", path, task="make", name="report", scripts="true")).headers["Content-Security-Policy"]
    assert scripted.startswith("sandbox allow-scripts; default-src 'none'")
    for one in (policy, scripted):
        assert "allow-same-origin" not in one
        assert "connect-src" not in one  # so default-src 'none' holds: no network
    data = (await ask("GET", f"{path}/info", task="make", name="data")).json
    assert (data["kind"], data["media_type"], data["size"]) == ("file", "text/csv", 12)
    assert data["metadata"]["rows"] == 2
    part = await ask("GET", path, task="make", name="data", headers={"Range": "bytes=-4"}, download="true")
    assert (part.status, part.body, part.headers["Content-Range"]) == (206, b"3,4\n", "bytes 8-11/12")
    assert part.headers["Content-Disposition"].startswith("attachment")
    folder = (await ask("GET", f"{path}/info", task="make", name="folder")).json
    assert (folder["kind"], [one["path"] for one in folder["files"]]) == ("folder", ["weights.bin"])
    assert (await ask("GET", path, task="make", name="folder", path="weights.bin")).body == b"w" * 1000
    whole = await ask("GET", path, task="make", name="folder")
    with tarfile.open(fileobj=io.BytesIO(whole.body)) as archive:
        assert archive.getnames() == ["folder", "folder/weights.bin"]
    missing = await ask("GET", path, task="make", name="dat")
    assert (missing.status, missing.json["hint"]) == (404, "Did you mean 'data'?")


async def test_nothing_but_what_tasks_wrote_is_given_out(ask: Ask, written: Written, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("TOP")
    request = written.file("x", b"").parents[5] / "request.json"
    request.write_text("TOP")
    inside = written.file("inside.txt", b"mine")
    link, good_link, pipe = (inside.with_name(name) for name in ("link", "good_link", "pipe"))
    link.symlink_to(secret)
    good_link.symlink_to(inside)
    os.mkfifo(pipe)
    folder = inside.with_name("folder")
    folder.mkdir()
    (folder / "a.txt").write_text("a")
    (folder / "out").symlink_to(tmp_path)
    (folder / "out.txt").symlink_to(secret)
    (folder / "in.txt").symlink_to("a.txt")
    hidden = [
        secret, request, link, pipe, inside.parent / "../../../../../request.json", f"file://{secret}", "gs://b/o",
        "relative", "/etc/passwd", "/proc/self/environ", written.tasks.parent, inside.with_name("gone"), f"{inside}\0",
    ]  # fmt: skip
    shown = {"folder": folder, "good": good_link}
    written.save(
        *(artifact(f"n{number}", uri) for number, uri in enumerate(hidden)),
        *(artifact(name, uri) for name, uri in shown.items()),
    )
    for number, uri in enumerate(hidden):
        answer = await ask("GET", "/runs/r/artifact", task="loop/0/t", name=f"n{number}")
        assert (answer.status, b"TOP" in answer.body) == (404, False), uri
        if uri != pipe:
            info = (await ask("GET", "/runs/r/artifact/info", task="loop/0/t", name=f"n{number}")).json
            assert info["kind"] == "none", uri
    for inner in ("../inside.txt", "../../../../../../secret.txt", "out/secret.txt", "out.txt", "/etc/passwd", "no\0"):
        answer = await ask("GET", "/runs/r/artifact", task="loop/0/t", name="folder", path=inner)
        assert answer.status == 404, inner
    for name in ("../../request.json", "..%2f..", "good/../good"):
        assert (await ask("GET", "/runs/r/artifact", task="loop/0/t", name=name)).status == 404
    assert (await ask("GET", "/runs/r/artifact", task="loop/0/t", name="good")).body == b"mine"
    listed = (await ask("GET", "/runs/r/artifact/info", task="loop/0/t", name="folder")).json["files"]
    assert {one["path"] for one in listed} == {"a.txt", "in.txt"}
    whole = (await ask("GET", "/runs/r/artifact", task="loop/0/t", name="folder")).body
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        assert set(archive.getnames()) == {"folder", "folder/a.txt", "folder/in.txt"}


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("a", b"\x89PNG\r\n\x1a\n...", "image/png"),
        ("b", b'{"a": 1}', "application/json; charset=utf-8"),
        ("c", b"<html><script>alert(1)</script></html>", "text/plain; charset=utf-8"),  # never a page by its bytes
        ("d", b"\0\1\2\3", "application/octet-stream"),
        ("e.svg", b"<svg onload='alert(1)'/>", "image/svg+xml"),
        ("f.md", b"# x", "text/markdown; charset=utf-8"),
        ("g", "漢".encode() * 3000, "text/plain; charset=utf-8"),
        ("h", b"", "text/plain; charset=utf-8"),
        ('Zeile"\r\nX: y.png', b"x", "image/png"),
    ],
)
async def test_what_a_file_is_told_as(ask: Ask, written: Written, name: str, data: bytes, kind: str) -> None:
    written.save(artifact("it", written.file(name, data)))
    answer = await ask("GET", "/runs/r/artifact", task="loop/0/t", name="it")
    assert (answer.status, answer.body, answer.headers["Content-Type"]) == (200, data, kind)
    assert answer.headers["Content-Security-Policy"].startswith("sandbox;")
    assert "X" not in answer.headers


@pytest.mark.parametrize(
    ("asked", "status", "expected"),
    [
        ("bytes=2-4", 206, b"234"),
        ("bytes=7-", 206, b"789"),
        ("bytes=-3", 206, b"789"),
        ("bytes=0-9999", 200, b"0123456789"),
        ("bytes=10-", 416, b""),
        ("bytes=1-2,4-5", 200, b"0123456789"),  # several ranges at once: the whole will do
        ("lines=1-2", 200, b"0123456789"),
    ],
)
async def test_ranges(ask: Ask, written: Written, asked: str, status: int, expected: bytes) -> None:
    written.save(artifact("it", written.file("digits", b"0123456789")))
    answer = await ask("GET", "/runs/r/artifact", task="loop/0/t", name="it", headers={"Range": asked})
    assert (answer.status, answer.body) == (status, expected)


async def test_a_client_that_goes_away_in_the_middle_leaves_nothing_open(
    ask: Ask, written: Written, jp_http_port: int, jp_base_url: str, jp_auth_header: dict[str, str]
) -> None:
    large = written.file("folder/large", b"").parent
    (large / "large").write_bytes(os.urandom(1 << 20) * 64)
    written.save(artifact("it", large))
    for path in ("artifact?task=loop/0/t&name=it", "artifact?task=loop/0/t&name=it&path=large"):
        before = _open_files(large)
        reader, writer = await asyncio.open_connection("127.0.0.1", jp_http_port)
        token = jp_auth_header["Authorization"]
        writer.write(f"GET {jp_base_url}kfp-magics/api/runs/r/{path} HTTP/1.1\r\nHost: localhost\r\n".encode())
        writer.write(f"Authorization: {token}\r\n\r\n".encode())
        assert (await reader.read(100)).startswith(b"HTTP/1.1 200")
        writer.transport.abort()

        async def closed(before: set[str] = before) -> bool:
            return _open_files(large) <= before

        await until(closed)
    assert (await ask("GET", "/status")).status == 200


def _open_files(folder: Path) -> set[str]:
    found: set[Any] = set()
    for one in Path("/proc/self/fd").iterdir():
        try:
            found.add(os.readlink(one))
        except FileNotFoundError:
            continue
    return {one for one in found if one.startswith((str(folder), "pipe:"))}
