"""The same step built again and again: at first, after a change, after none, on a machine that is new to it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
import uuid
from pathlib import Path

from benchmarks.harness import Row, medians
from benchmarks.images.place import Place, Silent, place, timed

_LOG = Silent()


def measure(rounds: int) -> list[Row]:
    """Ours, buildah's and podman's, and `kfp component build`, in turns."""
    with place() as here:
        ours, buildah, podman = Ours(here), Engine(here, "buildah"), Engine(here, "podman")
        kfp = Component(here)
        with here.engines.serve(here.folder / "docker.sock", [here.host]):
            for one in (ours, buildah, podman, kfp):  # warms uv's caches, pip's and the engines' layers
                one.first()
            buildah.keep_cache()
            taken = medians(
                rounds,
                {
                    "edit": ours.edit,
                    "edit buildah": buildah.edit,
                    "edit podman": podman.edit,
                    "edit kfp": kfp.edit,
                    "same": ours.same,
                    "same buildah": buildah.same,
                    "same podman": podman.same,
                    "same kfp": kfp.same,
                    "new machine": ours.new_machine,
                    "new machine buildah": buildah.new_machine,
                    "more": ours.more,
                    "more buildah": buildah.more,
                    "first": ours.first,
                    "first all": ours.first_with_bytecode,
                    "first buildah": buildah.first,
                    "first podman": podman.first,
                    "first kfp": kfp.first,
                    "process": ours.edit_in_new_process,
                },
            )

    def row(what: str, key: str, peer: str, most: float | None = None, least: float | None = None) -> Row:
        theirs = taken[f"{key} {peer.split(maxsplit=1)[0]}"]
        return Row(what=what, ours=taken[key], peer=peer, theirs=theirs, most=most, least=least)

    return [
        row("only the code changed, in a live kernel", "edit", "buildah", 0.05, 8),
        row("only the code changed", "edit", "podman"),
        row(
            "only the code changed, on a machine that never built it", "new machine", "buildah --cache-from", None, 100
        ),
        row("nothing changed", "same", "buildah", 0.02, 15),
        row("nothing changed", "same", "podman"),
        row("one requirement added", "more", "buildah", 0.6, 15),
        row("first build, warm uv cache", "first", "buildah", 2.0, 4),
        row("first build, warm uv cache", "first", "podman"),
        Row(what="first build with byte-code for everything", ours=taken["first all"]),
        row("first build", "first", "kfp component build", None, 15),
        row("only the code changed", "edit", "kfp component build", None, 40),
        row("nothing changed", "same", "kfp component build", None, 100),
        Row(what="only the code changed, as a new Python process", ours=taken["process"]),
    ]


def _code() -> str:
    return f"print({uuid.uuid4().hex!r})\n"


class Ours:
    """Images by appending layers."""

    def __init__(self, here: Place) -> None:
        self._here = here
        self._path, self._cache = here.path(), here.cache()
        self._live = here.builder(self._path, self._cache)
        self._last = here.spec(_code())
        self._live.build(self._last, _LOG)
        self._live.build(here.spec(_code(), here.more, "warm"), _LOG)

    def first(self) -> float:
        """Nothing of it is anywhere but in uv's cache."""
        builder = self._here.builder(self._here.path(), self._here.cache())
        return timed(lambda: builder.build(self._here.spec(_code()), _LOG))

    def first_with_bytecode(self) -> float:
        """The same, and every module is compiled."""
        builder = self._here.builder(self._here.path(), self._here.cache(), bytecode="all")
        return timed(lambda: builder.build(self._here.spec(_code()), _LOG))

    def edit(self) -> float:
        """Other code."""
        self._last = self._here.spec(_code())
        return timed(lambda: self._live.build(self._last, _LOG))

    def same(self) -> float:
        """The same once more."""
        return timed(lambda: self._live.build(self._last, _LOG))

    def new_machine(self) -> float:
        """Other code, and nothing known here."""
        return timed(lambda: self._here.builder(self._path, self._here.cache()).build(self._here.spec(_code()), _LOG))

    def more(self) -> float:
        """One requirement more, which no layer holds yet."""
        builder = self._here.builder(self._here.path(), cache := self._here.cache())
        builder.build(self._here.spec(_code()), _LOG)
        assert cache.exists()
        return timed(lambda: builder.build(self._here.spec(_code(), self._here.more), _LOG))

    def edit_in_new_process(self) -> float:
        """As from a command line: the interpreter, the imports, the connection."""
        program = textwrap.dedent(f"""
            from pathlib import Path
            from kfp_magics.images.append import AppendBuilder
            from kfp_magics.images.base import ImageSpec
            from kfp_magics.images.credentials import Anonymous
            from kfp_magics.images.registry import Registry
            class Silent:
                def write(self, text): pass
                def step(self, what, done=None): pass
                def fact(self, name, value): pass
                def check(self): pass
            client = Registry({self._here.host!r}, credentials=Anonymous())
            cache = Path({str(self._cache)!r})
            builder = AppendBuilder({f"{self._here.host}/{self._path}"!r}, lambda host: client, cache)
            builder.build({self._here.spec(_code())!r}, Silent())
        """)
        return timed(lambda: subprocess.run([sys.executable, "-c", program], check=True))


class Engine:
    """An engine with a Dockerfile that leaves little to wish for.

    Args:
        here: Where.
        program: ``buildah`` or ``podman``.
    """

    def __init__(self, here: Place, program: str) -> None:
        self._here, self._program = here, program
        self._name = f"{here.host}/{here.path()}/train"
        self._context = here.context(_code(), here.locked)
        self._build(self._context, self._name)

    def _build(self, context: Path, name: str, *options: str, root: str = "") -> None:
        where = ("--root", root, "--runroot", f"{root}-run") if root else ()
        build = ("bud", "--isolation", "chroot") if self._program == "buildah" else ("build",)
        known = ("--layers", "--tls-verify=false", "--quiet", "--tag", name)
        self._here.call(self._program, *where, *build, *known, *options, str(context))
        self._here.call(self._program, *where, "push", "--quiet", "--tls-verify=false", name)

    def first(self) -> float:
        """No layer of it is cached; the base image and uv's cache are."""
        name = f"{self._here.host}/{self._here.path()}/train"
        context = self._here.context(_code(), self._here.locked, uuid.uuid4().hex)
        return timed(lambda: self._build(context, name))

    def edit(self) -> float:
        """Other code."""
        (self._context / "src/step_train.py").write_text(_code())
        return timed(lambda: self._build(self._context, self._name))

    def same(self) -> float:
        """The same once more."""
        return timed(lambda: self._build(self._context, self._name))

    def keep_cache(self) -> None:
        """Leaves its layers in the registry, for machines that have none."""
        cache = f"{self._name}-cache"
        root = str(self._here.cache())
        self._build(self._context, self._name, "--cache-to", cache, "--cache-from", cache, root=root)

    def new_machine(self) -> float:
        """Other code, its layers in the registry, nothing here."""
        cache, root = f"{self._name}-cache", str(self._here.cache())
        (self._context / "src/step_train.py").write_text(_code())
        return timed(lambda: self._build(self._context, self._name, "--cache-from", cache, root=root))

    def more(self) -> float:
        """One requirement more."""
        context = self._here.context(_code(), self._here.more, uuid.uuid4().hex)
        return timed(lambda: self._build(context, self._name))


class Component:
    """KFP's own command."""

    def __init__(self, here: Place) -> None:
        self._here = here
        self._folder = here.cache()
        self._needs = [line.split()[0] for line in here.locked if not line.startswith(("kfp==", "typing-ext"))]
        self._write(self._needs)

    def _write(self, needs: list[str]) -> None:
        target = f"{self._here.host}/component/train:latest"
        (self._folder / "component.py").write_text(
            "from kfp import dsl\n\n"
            f"@dsl.component(base_image={self._here.base!r}, target_image={target!r}, packages_to_install={needs!r})\n"
            f"def train() -> str:\n    return {uuid.uuid4().hex!r}\n"
        )

    def _run(self) -> float:
        kfp = Path(sys.executable).with_name("kfp")
        words = (str(kfp), "component", "build", str(self._folder), "--component-filepattern", "*.py", "--push-image")
        socket = f"unix://{self._here.folder / 'docker.sock'}"
        return timed(lambda: self._here.call(*words, environment={"DOCKER_HOST": socket}))

    def first(self) -> float:
        """No layer of it is cached; the base image is. KFP's Dockerfile keeps no cache for pip."""
        shutil.rmtree(self._folder)
        self._folder.mkdir()
        self._write([*self._needs, f"typing-extensions!={uuid.uuid4().int % 10**6}"])
        return self._run()

    def edit(self) -> float:
        """Other code."""
        path = self._folder / "component.py"
        lines = path.read_text().splitlines()
        path.write_text("\n".join([*lines[:-1], f"    return {uuid.uuid4().hex!r}", ""]))
        return self._run()

    def same(self) -> float:
        """The same once more."""
        return self._run()
