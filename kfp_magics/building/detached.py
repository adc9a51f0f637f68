"""Builds that outlive the kernel: those of engines and of Cloud Build, which take minutes and hours.

``python -m kfp_magics.building.detached FOLDER LOCK`` carries one out.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from kfp_magics.backends.local.daemon import sign
from kfp_magics.building.build import Build, Work
from kfp_magics.building.choice import Builders
from kfp_magics.building.plan import Planner
from kfp_magics.building.record import Record
from kfp_magics.images.registry import Registries
from kfp_magics.runs.store import Store
from kfp_magics.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kfp_magics.model import Component, Run
    from kfp_magics.options import BuildOptions

_TASK = "work.pickle"


def start(
    record: Record,
    components: Sequence[Component],
    options: BuildOptions,
    settings: Settings,
    look: Callable[[], Run],
) -> Build:
    """Hands a build that was begun here to a process of its own.

    Args:
        record: Where it is written down.
        components: The steps.
        options: How; complete.
        settings: What the process works with.
        look: Gives the build as a run, as it stands.
    """
    work = {"run": record.run, "components": list(components), "options": options, "settings": settings.trait_values()}
    (record.folder / _TASK).write_bytes(pickle.dumps(work))
    command = [sys.executable, "-P", "-m", __name__, str(record.folder), str(record.held)]
    with (record.folder / "build.log").open("ab") as log:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # an interrupt of the kernel is not one of the build
            pass_fds=(record.held,),
        )
    sign(record.held, child.pid)
    os.close(record.held)
    threading.Thread(target=child.wait, name="kfp-magics build", daemon=True).start()  # so that it is not left a zombie

    def ended(seconds: float) -> bool:
        if look().state.final:
            return True
        time.sleep(seconds)
        return look().state.final

    return Build(look, ended, record.ask_to_end)


def main(folder: Path, held: int) -> None:
    """Carries out a build that another process began.

    Args:
        folder: The folder of the run.
        held: Its lock, open.
    """
    task = folder / _TASK
    work = pickle.loads(task.read_bytes())  # noqa: S301  (our own file in a folder that only the user reads)
    task.unlink()
    settings = Settings(**work["settings"])
    store, registries = Store(settings.store_path), Registries(settings)
    record = Record(store, folder, work["run"], held)
    planner, builders = Planner(settings, registries), Builders(settings, registries)
    Work(record, work["components"], work["options"], planner=planner, builders=builders, store=store).carry_out()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
