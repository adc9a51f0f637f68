"""The store: several processes at once, locks, damage, other people's files, and what is never undone."""

import gc
import math
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kfp_magics.errors import NotFoundError, StoreError
from kfp_magics.model import Artifact, Failure, Run, State, Task
from kfp_magics.runs import filesystem
from kfp_magics.runs.actions import current
from kfp_magics.runs.images import BuiltImage
from kfp_magics.runs.look import find_run
from kfp_magics.runs.store import Store
from kfp_magics.runs.watch import refresh

RUN = Run(id="20260101-120000-aaaaaa", name="Größe 1", pipeline="größe", state=State.RUNNING, created=1.0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "folder" / "runs.sqlite", patience=0.3)
    yield made
    made.close()


def many(store: Store, count: int = 5) -> list[Run]:
    return [
        store.save(replace(RUN, id=f"2026010{n}-120000-aaaaa{n}", name=f"run {n}", created=float(n)))
        for n in range(count)
    ]


def test_what_is_saved_is_read(store: Store) -> None:
    task = Task(
        id="for-loop-1/0/train",
        name="träin",
        needs=("a", "b"),
        state=State.FAILED,
        inputs={"wörter": ["漢字", "\ud800", None], "nan": math.inf},
        artifacts=(Artifact(name="m", io="output", type="system.Metrics", uri="/x", metadata={"rmse": 0.5}),),
        error=Failure(message="no", hint="do", line=3, text="x"),
    )
    run = replace(RUN, parameters={"a": {"b": [1, 2.5, True]}}, tasks=(task,), error=Failure(message="no"))
    assert store.save(run) == run
    assert store.get(run.id) == run
    assert store.list() == [replace(run, tasks=())]
    assert store.unfinished() == [replace(run, tasks=())]


def test_a_final_state_is_never_undone(store: Store) -> None:
    task = Task(id="a", name="a", state=State.RUNNING)
    store.save(replace(RUN, tasks=(task,)))
    ended = replace(RUN, state=State.SUCCEEDED, tasks=(replace(task, state=State.SUCCEEDED),))
    assert store.save(ended) == ended
    late = replace(RUN, state=State.FAILED, error=Failure(message="gone"), tasks=(replace(task, state=State.FAILED),))
    assert store.save(late) == ended
    store.save_tasks(RUN.id, [replace(task, state=State.CANCELLED)])
    assert store.get(RUN.id) == ended


def test_what_a_task_gave_may_be_told_after_its_end(store: Store) -> None:
    done = Task(id="t", name="t", state=State.SUCCEEDED, started=1.0, finished=2.0)
    run = store.save(Run(id="r", name="x", state=State.RUNNING, tasks=(done,)))
    told = replace(done, outputs={"Output": float("nan"), "more": 7})
    store.save(replace(run, tasks=(told,)))
    store.save(replace(run, tasks=(done,)))  # by somebody who has not heard of it
    store.save(replace(run, tasks=(replace(told, state=State.RUNNING, reason="an old look, long as it may be"),)))
    (kept,) = store.get("r").tasks
    assert (kept.state, kept.outputs["more"]) == (State.SUCCEEDED, 7)


def test_a_look_that_took_long_undoes_nothing_that_was_written_meanwhile(store: Store) -> None:
    task = Task(id="a", name="a", outputs={"Output": math.nan})
    known = store.save(Run(id="1", name="one", tasks=(task,)))
    running = replace(known, state=State.RUNNING, tasks=(replace(task, state=State.RUNNING),))
    assert store.update(known, running).tasks[0].state is State.RUNNING
    older = replace(known, stale=1.0)
    assert store.update(known, older).state is State.RUNNING
    assert (store.get("1").stale, store.get("1").tasks[0].state) == (None, State.RUNNING)
    store.delete("1")
    with pytest.raises(NotFoundError):
        store.update(known, older)


class Slow:
    """A backend that answers what was, while somebody writes what is."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def poll(self, run: Run) -> Run:
        self.store.save_tasks(run.id, [replace(run.tasks[0], state=State.RUNNING)])
        return replace(run, stale=1.0)


@pytest.mark.parametrize(
    "look",
    [
        refresh,
        lambda store, backends: find_run(store, backends, "1"),
        lambda store, backends: current(store, backends, "1"),
    ],
)
def test_whoever_looks_undoes_nothing(store: Store, look: Callable[[Store, object], object]) -> None:
    store.save(Run(id="1", name="one", backend="slow", tasks=(Task(id="a", name="a"),)))
    look(store, {"slow": Slow(store)})
    assert store.get("1").tasks[0].state is State.RUNNING


def test_only_a_higher_attempt_opens_a_run_again(store: Store) -> None:
    failed = replace(RUN, state=State.FAILED, tasks=(Task(id="a", name="a", state=State.FAILED),))
    store.save(failed)
    again = replace(RUN, attempt=2, tasks=(Task(id="a", name="a", state=State.PENDING),))
    assert store.save(again) == again
    assert store.save(replace(failed, state=State.CANCELLED)) == again
    store.save_tasks(RUN.id, [Task(id="a", name="a", state=State.FAILED)], attempt=1)
    assert store.get(RUN.id) == again
    with pytest.raises(NotFoundError):
        store.save_tasks("nothing", [])


WRITER = """
import sys
from pathlib import Path
from kfp_magics.model import Run, State, Task
from kfp_magics.runs.store import Store
store, me = Store(Path(sys.argv[1])), sys.argv[2]
for number in range(40):
    store.save(Run(id=f"run-{me}", name=me, state=State.RUNNING, tasks=(Task(id=f"{number}", name="t"),)))
    store.save(Run(id="shared", name="late", state=State.RUNNING))
    store.save_tasks("shared", [Task(id=f"{me}-{number}", name="t", state=State.SUCCEEDED)])
store.close()
"""


def test_several_processes_write_at_once(store: Store) -> None:
    done = store.save(replace(RUN, id="shared", state=State.SUCCEEDED))
    before = store.change()
    command = [sys.executable, "-c", WRITER, str(store.path)]
    writers = [subprocess.Popen([*command, str(number)]) for number in range(3)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert store.change() == before + 3 * 40 * 2  # what comes too late is no change
    shared = store.get("shared")
    assert replace(shared, tasks=()) == done
    assert {task.id for task in shared.tasks} == {f"{me}-{number}" for me in range(3) for number in range(40)}
    assert [task.id for task in store.get("run-1").tasks] == [str(number) for number in range(40)]


def test_many_processes_make_the_store_at_once(tmp_path: Path) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path / "new"), str(n)]) for n in range(4)]
    assert [writer.wait(60) for writer in writers] == [0] * 4


def hold(path: Path) -> tuple[threading.Thread, threading.Event]:
    """Locks a store until it is told to let go, as a stuck process would."""
    held, let_go = threading.Event(), threading.Event()

    def lock() -> None:
        with sqlite3.connect(path, isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            held.set()
            let_go.wait(60)
            other.execute("COMMIT")
        other.close()

    thread = threading.Thread(target=lock)
    thread.start()
    held.wait()
    return thread, let_go


def test_a_store_that_is_locked_is_waited_for(store: Store) -> None:
    store.save(RUN)
    thread, let_go = hold(store.path)
    assert store.get(RUN.id) == RUN  # reading needs no patience
    with pytest.raises(StoreError, match="locked by another process") as caught:
        store.save(RUN)
    assert f"lsof {store.path}" in caught.value.hint
    patient = Store(store.path)
    threading.Timer(0.5, let_go.set).start()
    assert patient.save(replace(RUN, name="later")).name == "later"
    patient.close()
    thread.join()


def damage(path: Path) -> None:
    path.write_bytes(b"this is no database" * 100)


def belongs_to_others(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE theirs (x)")
    other.close()


def is_newer(path: Path) -> None:
    store = Store(path)
    store.save(RUN)
    store.close()
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA user_version = 99")
    other.close()


def is_torn(path: Path) -> None:
    store = Store(path)
    many(store, 40)
    store.close()
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (damage, "is damaged"),
        (belongs_to_others, "a database of something else"),
        (is_newer, "written by a newer kfp-magics"),
        (is_torn, "is damaged"),
    ],
)
def test_a_file_that_cannot_be_used_is_left_as_it_is(tmp_path: Path, make: object, message: str) -> None:
    path = tmp_path / "runs.sqlite"
    make(path)  # type: ignore[operator]
    before, around = path.read_bytes(), set(tmp_path.iterdir())
    store = Store(path)
    for act in (store.list, lambda: store.save(RUN), lambda: store.find(""), store.change):
        with pytest.raises(StoreError, match=message) as caught:
            act()
        assert "left as it is" in caught.value.hint
        assert len(str(caught.value).splitlines()) == 2
    store.close()
    assert path.read_bytes() == before
    assert set(tmp_path.iterdir()) == around


def test_a_store_that_nobody_has_any_more_is_closed(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs.sqlite")
    store.save(RUN)
    [opened] = store._transactions._opened
    del store
    gc.collect()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        opened.connection.execute("SELECT 1")


def test_a_folder_in_the_place_of_the_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be"):
        Store(tmp_path).list()


def test_only_the_owner_reads_it(store: Store) -> None:
    store.save(RUN)
    assert store.path.stat().st_mode & 0o777 == 0o600
    assert store.path.parent.stat().st_mode & 0o777 == 0o700


def test_finding_a_run(store: Store) -> None:
    with pytest.raises(NotFoundError, match="no such run yet"):
        store.find()
    runs = many(store)
    assert store.find("") == store.find("last") == store.find("-1") == runs[4]
    assert store.find("-2") == runs[3]
    assert store.find(runs[2].id) == store.find("20260102") == store.find("run 2") == runs[2]
    newest = store.save(replace(RUN, id="other", name="run 2", created=99.0))
    assert store.find("run 2") == newest
    for text, message in (("-7", "no such run yet"), ("2026", "Several runs start"), ("%", "no run '%'")):
        with pytest.raises(NotFoundError, match=message):
            store.find(text)
    with pytest.raises(NotFoundError) as caught:
        store.find(runs[0].id[:-1] + "x")
    assert runs[0].id in caught.value.hint


def test_listing_runs(store: Store) -> None:
    runs = many(store)
    store.save(replace(runs[1], state=State.FAILED, experiment="e", notebook="n.ipynb"))
    store.save(replace(RUN, id="x", name="ÜBER alles", pipeline="p", kind="try", created=9.0))

    def ids(**filters: object) -> list[str]:
        return [run.id for run in store.list(**filters)]  # type: ignore[arg-type]

    assert ids() == ["x", *(run.id for run in reversed(runs))]
    assert ids(limit=2, offset=1) == [runs[4].id, runs[3].id]
    assert ids(states=[State.FAILED]) == ids(experiment="e") == ids(notebook="n.ipynb") == [runs[1].id]
    assert ids(states=[State.FAILED, State.RUNNING]) == ids()
    assert ids(search="RUN 3") == [runs[3].id]
    assert ids(search="über") == ids(kind="try") == ids(pipeline="p") == ["x"]
    assert ids(search="%") == ids(search="' OR 1=1") == []


def test_closed_it_opens_again(store: Store) -> None:
    store.save(RUN)
    store.close()
    assert store.get(RUN.id) == RUN


def journal_mode(path: Path) -> str:
    with sqlite3.connect(path) as other:
        mode: str = other.execute("PRAGMA journal_mode").fetchone()[0]
    other.close()
    return mode


@pytest.mark.skipif(sys.platform != "linux", reason="the list of mounts is Linux's")
@pytest.mark.parametrize(
    ("kind", "mode"),
    [("ext4", "wal"), ("btrfs", "wal"), ("nfs4", "delete"), ("cifs", "delete"), ("fuse.sshfs", "delete")],
)
def test_the_journal_suits_the_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, mode: str
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 0 8:1 / / rw - xfs /dev/a rw\n2 1 0:9 / {tmp_path}/home rw shared:1 - {kind} there rw\n")
    monkeypatch.setattr(filesystem, "_MOUNTINFO", mounts)
    store = Store(tmp_path / "home" / "runs.sqlite")
    store.save(RUN)
    store.close()
    assert journal_mode(store.path) == mode


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "xfs"),
        ("/homes", "xfs"),
        ("/home/me/runs.sqlite", "nfs4"),
        ("/home/me/with space/x", "tmpfs"),
        ("/data/x", "ext4"),  # the later mount hides the earlier one
    ],
)
def test_which_file_system_a_path_lies_on(path: str, kind: str) -> None:
    text = (
        "21 1 8:1 / / rw,noatime shared:1 - xfs /dev/sda1 rw\n"
        "22 21 0:5 / /home rw shared:2 master:3 - nfs4 server:/home rw,vers=4.2\n"
        "23 22 0:6 / /home/me/with\\040space rw - tmpfs tmpfs rw\n"
        "24 21 0:7 / /data rw - nfs server:/data rw\n"
        "25 21 8:2 / /data rw - ext4 /dev/sdb1 rw\n"
        "broken\n"
    )
    assert filesystem.mount_type(text, path) == kind


def test_images_are_remembered_newest_first(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs.sqlite")
    one = BuiltImage(
        place="r/train", repository="r/train", tag="c-1", digest="sha256:1", component="train", created=1.0
    )
    two = replace(one, tag="c-2", digest="sha256:2")
    store.remember_image(one)
    store.remember_image(two)
    assert (store.image("r/train", "c-1"), store.image("r/train"), store.image("r/other")) == (one, two, None)
    store.remember_image(one)
    assert store.image("r/train") == one


def test_connections_of_threads_that_ended_are_closed(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs.sqlite")
    for _ in range(20):
        thread = threading.Thread(target=store.change)
        thread.start()
        thread.join()
    assert store.change() == 0
    assert len(store._transactions._opened) == 1
