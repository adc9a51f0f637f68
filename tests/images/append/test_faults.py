from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from kfp_magics.errors import (
    BuildCancelledError,
    BuildError,
    DefinitionError,
    DigestMismatchError,
    ImageNotFoundError,
    RegistryError,
    RegistryUnavailableError,
)
from kfp_magics.images.credentials import Password
from kfp_magics.images.layers import LayerCache
from kfp_magics.images.wheels import Locked
from tests.images.append.conftest import Lines, Site, layers_of, push_small_base
from tests.images.append.wheelhouse import Wheelhouse
from tests.images.containers import lacking, skopeo_inspect
from tests.images.faulty import Faulty
from tests.images.registries import Server


@pytest.fixture
def proxy(faulty: Callable[[Server], Faulty], registry: Server) -> Faulty:
    return faulty(registry)


@pytest.fixture
def behind(proxy: Faulty, small_base: str, repository: str, tmp_path: Path) -> Iterator[Site]:
    """Images go through a proxy; the base comes from the registry itself, which to the builder is another one."""
    made = Site(proxy.host, small_base, repository, tmp_path / "machines")
    yield made
    made.close()


def published(site: Site, registry: Server, name: str = "train") -> list[str]:
    """The tags that are there, without the ones of requirements."""
    return [tag for tag in site.client(registry.host).tags(f"{site.path}/{name}") if tag.startswith("c-")]


@pytest.mark.parametrize(
    ("match", "fault"),
    [
        ("POST .*train/blobs/uploads/", {"status": 500}),
        ("PUT .*train/blobs/uploads/", {"cut": 100}),
        ("PUT .*kfpm-layers/blobs/uploads/", {"cut": 5000}),
        ("PUT .*kfpm-layers/manifests/", {"status": 500}),
        ("PUT .*train/manifests/d-", {"status": 503}),
        ("PUT .*train/manifests/c-", {"status": 500}),
        ("PUT .*train/manifests/c-", {"status": 400}),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else str(*value),
)
def test_a_push_that_dies_leaves_no_tag_and_the_next_one_succeeds(
    behind: Site, registry: Server, proxy: Faulty, requirements: tuple[str, ...], match: str, fault: dict[str, int]
) -> None:
    spec = behind.spec("x = 1\n", *requirements)
    proxy.fail(match, times=1000, **fault)
    with pytest.raises(RegistryError):
        behind.builder().build(spec, Lines())
    assert published(behind, registry) == []
    proxy.faults.clear()
    ref = behind.builder().build(spec, Lines())
    assert published(behind, registry) == [spec.tag]
    assert len(skopeo_inspect(f"{registry.host}/{behind.path}/train@{ref.digest}")["Layers"]) == 5


@pytest.mark.parametrize("status", [429, 500, 502])
def test_a_registry_that_fails_now_and_then_is_asked_again(
    behind: Site, registry: Server, proxy: Faulty, status: int
) -> None:
    proxy.fail("PUT|POST|HEAD|GET", status=status)
    proxy.fail("PUT|POST", status=status)
    behind.builder().build(behind.spec(), Lines())
    assert published(behind, registry) == [behind.spec().tag]


def test_a_registry_that_is_down_is_named(small_base: str, tmp_path: Path) -> None:
    site = Site("127.0.0.1:1", small_base, "x", tmp_path)
    with pytest.raises(RegistryUnavailableError, match=r"127.0.0.1:1"):
        site.builder().build(site.spec(), Lines())
    site.close()


def test_a_base_image_that_was_tampered_with_on_the_way_is_refused(
    registry: Server, proxy: Faulty, repository: str, small_base: str, tmp_path: Path
) -> None:
    site = Site(registry.host, f"{proxy.host}/{small_base.partition('/')[2]}", repository, tmp_path)
    proxy.fail("GET .*base/small/blobs/", times=1000, tamper=True)
    with pytest.raises(DigestMismatchError):
        site.builder().build(site.spec(), Lines())
    assert published(site, registry) == []
    site.close()


def test_a_base_image_elsewhere_is_brought_once_for_all_steps(
    registry: Server, proxy: Faulty, repository: str, small_base: str, tmp_path: Path
) -> None:
    site = Site(registry.host, f"{proxy.host}/{small_base.partition('/')[2]}", repository, tmp_path)
    layer = site.client().manifest("base/small", small_base.partition("@")[2])
    assert layer is not None
    for machine, name in (("one", "a"), ("one", "b"), ("two", "c")):
        ref = site.builder(machine).build(site.spec(name=name), Lines())
        assert skopeo_inspect(str(ref))["Architecture"] == "amd64"
    assert len(layers_of(ref)) == 2
    assert len(proxy.lines(f"GET .*blobs/{layers_of(ref)[0]['digest']}")) == 1
    site.close()


def test_what_does_not_exist_is_said(site: Site) -> None:
    nowhere = f"{site.host}/base/nothing@sha256:{'0' * 64}"
    with pytest.raises(ImageNotFoundError, match=r"There is no image .*base/nothing"):
        site.builder().build(site.spec(base=nowhere), Lines())
    only = push_small_base(site.host, machines=("arm64",))
    with pytest.raises(ImageNotFoundError, match=r"does not exist for linux/amd64.\nIt does for: linux/arm64"):
        site.builder().build(site.spec(base=only, platform="linux/amd64"), Lines())
    with pytest.raises(BuildError, match=r"not pinned to a digest.\n"):
        site.builder().build(site.spec(base="python:3.11-slim"), Lines())
    with pytest.raises(BuildError, match=r"comes from a Dockerfile.*\n.*--builder podman"):
        site.builder().build(site.spec(folder="/somewhere", folder_digest="0" * 64), Lines())
    with pytest.raises(BuildError, match=r"'kfpm==1' is locked without hashes"):
        site.builder().build(site.spec("", "kfpm==1"), Lines())
    with pytest.raises(BuildError, match="would leave its folder"):
        site.builder().build(replace(site.spec(), files={"src/../../etc/passwd": b""}), Lines())
    with pytest.raises(DefinitionError, match="packed by 'lzma'"):
        site.builder(compression="lzma")
    assert site.tags() == []


def test_layers_that_changed_on_this_disk_are_refused_once(site: Site, requirements: tuple[str, ...]) -> None:
    away = Site(site.host, site.base, f"{site.path}-away", site._folder)
    away.builder("here").build(site.spec("", *requirements), Lines())
    away.close()
    for packed in (site._folder / "here" / "layers").glob("*.layer"):
        content = bytearray(packed.read_bytes())
        content[len(content) // 2] ^= 1
        packed.write_bytes(content)
    failures = 0
    while failures < 6:
        try:
            ref = site.builder("here").build(site.spec("", *requirements), Lines())
            break
        except DigestMismatchError:
            failures += 1
            assert [tag for tag in site.tags() if tag.startswith("c-")] == []
    assert 0 < failures < 6
    assert len(skopeo_inspect(str(ref))["Layers"]) == 5


@pytest.mark.parametrize("deleted", ["train", ""])
def test_what_was_deleted_in_the_registry_is_brought_again(
    site: Site, registry: Server, requirements: tuple[str, ...], deleted: str
) -> None:
    builder, log = site.builder(), Lines()
    builder.build(site.spec("x = 1\n", *requirements), log)
    shutil.rmtree(registry.folder / "content/docker/registry/v2/repositories" / site.path / deleted)
    ref = builder.build(site.spec("x = 2\n", *requirements), log)
    assert "Looking again at everything" in log.text
    assert len(skopeo_inspect(str(ref))["Layers"]) == 5


class Impatient(Lines):
    """A log of somebody who asks for the end when it comes to a step, and a number of questions later."""

    def __init__(self, step: str, later: int) -> None:
        super().__init__()
        self._step, self._later = step, later

    def check(self) -> None:
        if any(self._step in one for one in self.steps):
            self._later -= 1
            if self._later < 0:
                raise BuildCancelledError("enough")


@pytest.mark.parametrize(
    ("step", "later"), [("installing", 0), ("packing", 1), ("packing", 6), ("bringing", 0), ("adding the code", 0)]
)
def test_a_build_that_is_told_to_end_ends_and_publishes_nothing(
    site: Site, registry: Server, requirements: tuple[str, ...], step: str, later: int
) -> None:
    with pytest.raises(BuildCancelledError):
        site.builder().build(site.spec("", *requirements), Impatient(step, later))
    assert published(site, registry) == []
    assert not list((site._folder / "here" / "layers").glob(".*")), "nothing half-written"
    ref = site.builder().build(site.spec("", *requirements), Lines())
    assert len(skopeo_inspect(str(ref))["Layers"]) == 5


def test_a_build_that_waits_for_another_ends_when_it_is_told_to(site: Site, requirements: tuple[str, ...]) -> None:
    builder, spec = site.builder(), site.spec("", *requirements)
    locked = sorted((Locked.read(one) for one in requirements), key=lambda one: one.name)
    key = builder._target(spec).key("set", *(one.line for one in locked))
    with LayerCache(site._folder / "here" / "layers").holding([key]), pytest.raises(BuildCancelledError):
        builder.build(spec, Impatient("looking", 3))


def test_thirty_steps_at_once_make_and_send_each_layer_once(
    behind: Site, registry: Server, proxy: Faulty, requirements: tuple[str, ...]
) -> None:
    specs = [behind.spec(f"x = {number}\n", *requirements, name=f"step-{number}") for number in range(30)]
    builders = [behind.builder(), behind.builder()]  # as two kernels of one machine
    log = Lines()
    with ThreadPoolExecutor(30) as pool:
        refs = list(pool.map(lambda pair: builders[pair[0] % 2].build(pair[1], log), enumerate(specs)))
    assert log.steps.count("installing 4 packages") == 1
    direct = [replace(ref, repository=ref.repository.replace(proxy.host, registry.host)) for ref in refs[::7]]
    below = {tuple(one["digest"] for one in layers_of(ref)[:4]) for ref in direct}
    assert len(below) == 1
    for digest in next(iter(below)):
        assert len(proxy.lines(f"PUT .*digest={digest.replace(':', '(:|%3A)')}")) == 1


def test_kernels_that_build_at_once_make_each_layer_once(site: Site, requirements: tuple[str, ...]) -> None:
    program = (
        "import sys, json\n"
        "from pathlib import Path\n"
        "from tests.images.append.conftest import Lines, Site\n"
        "host, base, path, folder, name, *lines = json.loads(sys.argv[1])\n"
        "site, log = Site(host, base, path, Path(folder)), Lines()\n"
        "ref = site.builder().build(site.spec('x = 1', *lines, name=name), log)\n"
        "print(json.dumps([log.steps, ref.digest]))\n"
    )
    facts = [site.host, site.base, site.path, str(site._folder)]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program, json.dumps([*facts, name, *requirements])],
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("same", "same", "other")
    ]
    printed = [process.communicate()[0] for process in running]
    assert [process.returncode for process in running] == [0, 0, 0]
    told = [json.loads(one) for one in printed]
    assert sum("installing 4 packages" in steps for steps, _ in told) == 1
    assert told[0][1] == told[1][1], "two builds of one tag at once"
    assert (
        site.client().has_manifest(f"{site.path}/same", site.spec("x = 1", *requirements, name="same").tag)
        == told[0][1]
    )


@pytest.fixture(params=["1m", "3m"])
def small_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A disk with room for less than what is installed, or for that and not for its layers."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={request.param}", "kfpm", place], check=False)
    if done.returncode:
        lacking("a small disk cannot be mounted: run the tests of images as root")
    yield place
    done = subprocess.run(["umount", place], check=False)
    if done.returncode:  # what keeps it busy fails this test, and must not fail those after it
        subprocess.run(["umount", "--lazy", place], check=True)
    assert done.returncode == 0


def test_a_full_disk_leaves_nothing_half_written(
    registry: Server, small_base: str, repository: str, small_disk: Path, requirements: tuple[str, ...]
) -> None:
    site = Site(registry.host, small_base, repository, small_disk)
    with pytest.raises(BuildError, match=r"(?i)no space left on device"):
        site.builder().build(site.spec("", *requirements), Lines())
    left = [path for path in (small_disk / "here" / "layers").rglob("*") if path.is_file()]
    assert all(path.suffix in {".json", ".layer", ".lock"} for path in left), left
    whole = {path.stem for path in left if path.suffix == ".json"}
    assert {path.stem for path in left if path.suffix == ".layer"} == whole
    assert published(site, registry) == []
    site.close()


def test_whoever_may_write_only_images_sends_layers_to_each(
    token_registry: Server, requirements: tuple[str, ...], tmp_path: Path
) -> None:
    tokens = token_registry.tokens
    assert tokens is not None
    tokens.passwords["narrow"] = "secret-narrow"
    tokens.rights["narrow"] = {"team-narrow/train": {"pull", "push"}, "base/": {"pull"}}
    owner = Password(token_registry.host, "ada", tokens.passwords["ada"])
    base = push_small_base(token_registry.host, credentials=owner)
    for user, path in (("narrow", "team-narrow"), ("ada", "team-ada")):
        login = Password(token_registry.host, user, tokens.passwords[user])
        site = Site(token_registry.host, base, path, tmp_path / user, login)
        ref = site.builder().build(site.spec("x = 1", *requirements), Lines())
        edited = site.builder("fresh").build(site.spec("x = 2", *requirements), Lines())
        manifest = site.client().manifest(f"{path}/train", edited.digest)
        assert manifest is not None
        assert len(manifest.layers) == 5
        assert ref.digest != edited.digest
        site.close()


def test_a_large_step_has_few_layers(site: Site, wheelhouse: Wheelhouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kfp_magics.images.dependencies._LARGE", 1000)  # a megabyte for each would take a while
    names = [f"kfpm_part{number}" for number in range(30)]
    lines = [wheelhouse.locked(name, {f"{name}.dat": os.urandom(2000 + 100 * n)}) for n, name in enumerate(names)]
    ref = site.builder().build(site.spec("x = 1", *lines), Lines())
    assert len(layers_of(ref)) == 1 + 22 + 1 + 1
    fresh = site.builder("fresh")
    more = wheelhouse.locked("kfpm_more", {"kfpm_more.dat": os.urandom(9000)})
    log = Lines()
    other = fresh.build(site.spec("x = 1", *lines, more), log)
    assert "found the layers of" in log.text, "those that had layers of their own"
    found = sorted(name for layer in site.layers(other.digest) for name in layer.getnames() if name.endswith(".dat"))
    assert found == sorted(f"opt/kfpm/site/{name}.dat" for name in [*names, "kfpm_more"])


def test_distributions_that_share_a_file_are_kept_apart(site: Site, wheelhouse: Wheelhouse) -> None:
    lines = [
        wheelhouse.locked("kfpm_first", {"shared/__init__.py": "", "shared/who.txt": "first", "shared/first.py": ""}),
        wheelhouse.locked(
            "kfpm_second", {"shared/__init__.py": "", "shared/who.txt": "second", "shared/second.py": ""}
        ),
    ]
    made = []
    for given in (lines, lines[::-1], lines[:1]):
        ref = site.builder(f"m{len(made)}").build(site.spec("", *given, name=f"n{len(made)}"), Lines())
        group = site.layers(ref.digest, f"n{len(made)}")[0]
        made.append({one.name: group.extractfile(one).read() for one in group if one.isreg()})  # type: ignore[union-attr]
    assert made[0] == made[1]
    assert made[0]["opt/kfpm/site/shared/who.txt"] == b"second"
    assert made[2]["opt/kfpm/site/shared/who.txt"] == b"first"
