"""Which files of a folder are taken, and when."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from kfp_magics.delivery.newdata.folder import QUIET, QUIET_BLIND, Folder
from kfp_magics.delivery.newdata.ledger import Ledger, Watch
from kfp_magics.delivery.newdata.rules import NewObject, Rule, literal
from kfp_magics.delivery.newdata.verbs import NewData
from kfp_magics.runs.store import Store
from tests.conftest import requires
from tests.delivery.watched import PATIENCE, Place


class Looking:
    """A folder that is looked at as a watcher does, without the rest."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.keys: set[str] = set()
        self.said: list[str] = []
        rule = Rule(name="retrain", on=f"{literal(str(path))}/", pipeline="train")
        self.folder = Folder(str(path), lambda one: rule.matches(one) and one.key not in self.keys, self.said.append)

    def take(self, count: int = 0, seconds: float = 2 * QUIET) -> list[NewObject]:
        """What is taken within a time, and longer if so many are still to come."""
        end, found = time.monotonic() + seconds, []
        while time.monotonic() < end or (len(found) < count and time.monotonic() < end + PATIENCE):
            self.folder.scan()
            ready = self.folder.ready()
            self.keys |= {one.key for one in ready}
            self.folder.taken(ready)
            found += ready
            time.sleep(0.02)
        return found

    def names(self, count: int = 0, seconds: float = 2 * QUIET) -> list[str]:
        return sorted(one.name for one in self.take(count, seconds))


@pytest.fixture
def looking(tmp_path: Path) -> Looking:
    path = tmp_path / "in[1] *"
    path.mkdir()
    return Looking(path)


def test_a_file_is_taken_once_and_its_replacement_once_more(looking: Looking) -> None:
    path = looking.path / "a.csv"
    path.write_text("one")
    [first] = looking.take(1)
    assert (first.uri, first.size) == (str(path), 3)
    assert first.time.startswith("20")
    assert looking.take() == []
    draft = looking.path / ".a"
    draft.write_text("two")
    draft.replace(path)
    [second] = looking.take(1)
    assert second.uri == first.uri
    assert second.key != first.key
    path.write_text("three")
    assert [one.size for one in looking.take(1)] == [5]
    path.unlink()
    assert looking.take() == []


def test_a_file_that_is_still_written_is_taken_when_it_is_done(looking: Looking) -> None:
    with (looking.path / "growing.csv").open("w") as file:
        file.write("one\n")
        file.flush()
        assert looking.names(seconds=4 * QUIET) == []  # long quiet, and still open
        file.write("two\n")
    assert [one.size for one in looking.take(1)] == [8]


def test_a_file_that_changes_again_is_taken_when_that_ends(looking: Looking) -> None:
    path = looking.path / "log.csv"
    for _ in range(6):
        began = time.monotonic()
        with path.open("a") as file:
            file.write("line\n")
        looking.folder.scan()
        ready = looking.folder.ready()
        assert ready == [] or time.monotonic() - began >= QUIET  # this machine stood still for so long
        time.sleep(QUIET / 3)
    assert [one.size for one in looking.take(1)] == [30]


def test_a_file_that_was_finished_elsewhere_is_taken_at_once(looking: Looking, tmp_path: Path) -> None:
    path = tmp_path / "done.csv"
    path.write_text("x")
    os.utime(path, (1_000_000_000, 1_000_000_000))
    path.rename(looking.path / "done.csv")
    looking.folder.scan()
    assert [one.time for one in looking.folder.ready()] == ["2001-09-09T01:46:40.000Z"]


def test_unfinished_hidden_and_other_things_are_left_alone(looking: Looking) -> None:
    for name in ("a.csv.part", ".hidden", "b.tmp", "c.crdownload", "d~", ".git/config"):
        (looking.path / name).parent.mkdir(exist_ok=True)
        (looking.path / name).write_text("x")
    os.mkfifo(looking.path / "pipe")
    (looking.path / "nowhere").symlink_to("nothing")
    (looking.path / "round").symlink_to(looking.path)
    (looking.path / "empty folder").mkdir()
    assert looking.names() == []
    (looking.path / "a.csv.part").rename(looking.path / "a.csv")
    assert looking.names(1) == ["a.csv"]
    assert looking.said == []


def test_files_in_folders_below_and_behind_links_are_files(looking: Looking, tmp_path: Path) -> None:
    (looking.path / "x/y").mkdir(parents=True)
    (looking.path / "x/y/deep.csv").write_text("x")
    (tmp_path / "target").write_text("x")
    (looking.path / "link.csv").symlink_to(tmp_path / "target")
    assert looking.names(2) == ["link.csv", "x/y/deep.csv"]


def test_a_folder_that_is_moved_here_is_looked_into(looking: Looking, tmp_path: Path) -> None:
    (tmp_path / "batch/1").mkdir(parents=True)
    (tmp_path / "batch/1/a.csv").write_text("x")
    (tmp_path / "batch").rename(looking.path / "batch")
    looking.folder.look(str(looking.path / "batch"))  # all that the system tells of
    time.sleep(2 * QUIET)
    assert [one.name for one in looking.folder.ready()] == ["batch/1/a.csv"]


@pytest.mark.parametrize("name", [b"line\nbreak.csv", b"\x1b[31mred.csv", b"not \xff text.csv", b"\xe2\x80\xa8.csv"])
def test_a_name_that_is_hostile_is_told_of_once_and_starts_nothing(looking: Looking, name: bytes) -> None:
    path = os.fsencode(looking.path) + b"/" + name
    Path(os.fsdecode(path)).write_text("x")
    assert looking.names() == []
    [said] = looking.said
    assert "control characters" in said
    assert "rename it" in said
    assert said.isprintable()
    os.rename(path, looking.path / "fine.csv")
    assert looking.names(1) == ["fine.csv"]


@pytest.mark.parametrize(
    "name", ["a b.csv", "$uri ${x} $(rm).csv", "{{$.inputs.parameters['x']}}.csv", "家 ü.csv", "-x"]
)
def test_a_name_that_is_only_odd_is_taken(looking: Looking, name: str) -> None:
    (looking.path / name).write_text("x")
    assert looking.names(1) == [name]


@pytest.mark.parametrize("seconds", [-5_000_000_000, 0, 4_000_000_000])
def test_a_file_of_another_age_is_taken(looking: Looking, seconds: int) -> None:
    path = looking.path / "old.csv"
    path.write_text("x")
    os.utime(path, (seconds, seconds))
    assert looking.names(1) == ["old.csv"]


_OTHER_PERSON = """
import os, sys, time
from kfp_magics.delivery.newdata.folder import Folder
os.setuid(65534)
path, seconds = sys.argv[1], float(sys.argv[2])
folder, end = Folder(path, lambda one: True, print), time.monotonic() + seconds
while time.monotonic() < end:
    folder.scan()
    for one in folder.ready():
        print("took", one.name, flush=True)
        folder.taken([one])
    time.sleep(0.1)
"""


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A folder that other people may look into."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another person")
def test_what_cannot_be_read_is_told_of_and_taken_when_it_can(elsewhere: Path) -> None:
    path = elsewhere / "secret.csv"
    path.write_text("x")
    path.chmod(0o600)
    command = [sys.executable, "-c", _OTHER_PERSON, str(elsewhere)]
    done = subprocess.run([*command, "1"], capture_output=True, text=True, check=True)
    assert done.stdout == f"{path} cannot be read; it is taken when it can.\n"
    path.chmod(0o644)
    began = time.monotonic()
    with subprocess.Popen([*command, str(QUIET_BLIND + 5)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "took secret.csv\n"
        # Who writes other people's files is not told. What was quiet before it was looked at counts for a bit.
        assert time.monotonic() - began > QUIET_BLIND - QUIET
        process.kill()


# With the process that watches.


def watched(place: Place, **rule: object) -> Watch:
    made = place.watch(**rule)
    place.watchers.start("retrain")
    place.until(lambda: "Watching" in place.log())
    return made


def test_a_folder_that_is_removed_and_made_again_is_watched_again(place: Place) -> None:
    watched(place)
    place.drop("a.csv", "1")
    place.runs(1)
    kept = place.folder.with_name("kept")
    place.folder.rename(kept)
    place.until(lambda: "There is no folder" in place.log())
    assert place.log().count("There is no folder") == 1
    place.folder.mkdir()
    shutil.copy2(kept / "a.csv", place.folder / "a.csv")  # the same file as before
    place.drop("b.csv", "12")
    assert [run.parameters["first"] for run in place.runs(2)] == [1, 2]
    place.folder.rename(place.folder.with_name("other"))  # and at once
    place.folder.mkdir()
    place.drop("c.csv", "123")
    assert [run.parameters["first"] for run in place.runs(3)] == [1, 2, 3]


def test_where_the_system_tells_of_nothing_files_are_found_by_looking(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHFILES_FORCE_POLLING", "1")
    watched(place)
    place.drop("deep/a.csv", "1")
    place.drop("b.csv", "12")
    assert sorted(run.parameters["first"] for run in place.runs(2)) == [1, 2]


def test_what_lies_in_our_own_home_starts_nothing(place: Place) -> None:
    place.folder = place.settings.home_path.parent
    watched(place)
    (place.settings.home_path / "a.csv").write_text("x")
    place.drop("b.csv", "12")
    [run] = place.runs(1)
    place.until(lambda: place.store.get(run.id).state.final)
    assert [run.parameters["first"] for run in place.runs(1)] == [2]


def test_a_thousand_files_at_once_are_a_thousand_deliveries(place: Place) -> None:
    watched(place, gather=1.5)
    for number in range(1000):
        (place.folder / f"{number}.csv").write_text("x")
    place.until(lambda: Ledger(place.store).counts("retrain")["started"] == 1000)
    assert len(place.store.list()) < 50
    assert NewData(place.settings, place.store).log("retrain").count(" is new: ") == 1000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "home"
    disk.mkdir()
    requires("mount")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "kfpm", disk], check=False).returncode:
        pytest.skip("a small disk cannot be mounted: run the tests as root")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def test_a_full_disk_loses_nothing(small_disk: Path, place: Place, store: Store) -> None:
    watched(place)
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    place.drop("a.csv", "1")
    place.drop("b.csv", "12")
    time.sleep(2.0)
    assert store.list() == []
    filler.unlink()
    assert sorted(run.parameters["first"] for run in place.runs(2)) == [1, 2]
    place.until(lambda: Ledger(store).counts("retrain") == {"started": 2})
