"""From a commit to an image in the registry."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path

from benchmarks.harness import Row, medians
from benchmarks.images.place import Place, place, timed
from kfp_magics.cells.options import CellOptions
from kfp_magics.options import BuildOptions
from kfp_magics.session import Session
from kfp_magics.settings import Settings

_CELL = "import pandas\nimport sklearn\n\ndef train() -> str:\n    return 'first'\n"
_ME = {f"GIT_{who}_{what}": "a@b.c" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
_ME |= {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}


def measure(rounds: int) -> list[Row]:
    """Commits, and builds what the commit changed."""
    with place() as here:
        repository = Exported(here)
        repository.ours(), repository.buildah()  # locks, caches and layers
        taken = medians(rounds, {"kfp-magics": repository.ours, "buildah": repository.buildah})
    return [
        Row(
            what="a commit that changes code is a pushed image",
            ours=taken["kfp-magics"],
            peer="buildah",
            theirs=taken["buildah"],
            most=1.0,
        )
    ]


class Exported:
    """A repository of one step."""

    def __init__(self, here: Place) -> None:
        self._here = here
        self._folder = here.folder / "repository"
        self._home = here.folder / "home"
        self._registry = f"{here.host}/{here.path()}"
        settings = Settings(base_image=here.base, registry=self._registry, home=str(self._home))
        session = Session(settings)
        session.component(_CELL, CellOptions(name="train"))
        session.images.exported(BuildOptions()).write(self._folder)
        self._git("init", "-qb", "main")
        self._commit()
        self._step = self._folder / "steps" / "train"

    def _git(self, *words: str) -> None:
        subprocess.run(["git", *words], cwd=self._folder, env=os.environ | _ME, check=True)

    def _commit(self) -> None:
        self._git("add", "-A")
        self._git("commit", "-qm", "change")

    def _change(self) -> None:
        (source,) = (self._step / "src").glob("*.py")
        source.write_text(_CELL.replace("first", uuid.uuid4().hex))
        self._commit()

    def ours(self) -> float:
        """What the hook and the workflow run."""
        self._change()
        command = [str(Path(sys.executable).with_name("kfp-magics")), "ci", "run", "--dir", str(self._folder)]
        command += ["--since", "HEAD^", "--registry", self._registry, "--builder", "append"]
        environment = os.environ | {"KFP_MAGICS_HOME": str(self._home)}
        return timed(lambda: subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True))

    def buildah(self) -> float:
        """The same folder, by its Dockerfile."""
        self._change()
        name = f"{self._registry}/by-buildah"
        build = ("buildah", "bud", "--isolation", "chroot", "--layers", "--tls-verify=false", "--quiet", "--tag", name)

        def act() -> None:
            self._here.call(*build, str(self._step))
            self._here.call("buildah", "push", "--quiet", "--tls-verify=false", name)

        return timed(act)
