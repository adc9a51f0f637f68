"""What runs need: this machine's engine, room and memory of runs; and the server that runs go to."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from kfp_magics.doctor.build import has, look_at_engine
from kfp_magics.doctor.findings import (
    LOG_IN,
    Answer,
    Check,
    Mend,
    broken,
    hinted,
    installed,
    missing,
    ok,
    refused,
    typed,
    unneeded,
)
from kfp_magics.errors import BackendError, KfpMagicsError
from kfp_magics.model import Component, Port, State

if TYPE_CHECKING:
    from pathlib import Path

    from kfp_magics.backends.base import Backend
    from kfp_magics.doctor.findings import Case
    from kfp_magics.model import Run

_RUN = 40.0  # seconds that the smallest of all runs may take
_HERE = Mend(command="export KFP_MAGICS_BACKEND=local", magic="%kfp_connect local")
_LITTLE, _NONE = 2_000_000_000, 200_000_000  # bytes; an environment takes some hundred megabytes
_PROBE = Component(
    name="probe",
    language="python",
    source="#\ndef probe() -> int:\n    return 42\n",
    entry="probe",
    outputs=(Port(name="Output", type="int"),),
    base_image="python:3.11-slim",
)


def _engine(case: Case) -> Answer:
    """Runs a step of one line, in a home of its own that is removed again."""
    from kfp_magics import compiler  # noqa: PLC0415  (imports kfp)
    from kfp_magics.backends.local import LocalBackend  # noqa: PLC0415  (not needed to author)
    from kfp_magics.runs.store import Store  # noqa: PLC0415  (as above)

    began = time.monotonic()
    pipeline = compiler.single_step(_PROBE)
    with tempfile.TemporaryDirectory(prefix="kfp-magics-doctor-", ignore_cleanup_errors=True) as home:
        settings = case.hasty(home=home, grace=0.5, executor="process", disk_quota=0)
        store = Store(settings.store_path)
        try:
            ended = _ended(LocalBackend(settings, store), pipeline.ir, began + _RUN - 5)
        finally:
            store.close()
    if ended.state is State.SUCCEEDED:
        return ok(f"a step ran in a process of its own, in {time.monotonic() - began:.1f} s")
    errors = [error for error in (*(task.error for task in ended.tasks), ended.error) if error is not None]
    note = errors[0].message if errors else f"the smallest of all runs is still {ended.state} after {_RUN - 5:g} s"
    return broken(note, hinted(errors[0].hint) if errors else None)


def _ended(backend: Backend, ir: str, deadline: float) -> Run:
    from kfp_magics.backends.base import SubmitOptions  # noqa: PLC0415  (as above)

    run = backend.submit(ir, {}, SubmitOptions(kind="try", cache=False))
    while not run.state.final and time.monotonic() < deadline:
        time.sleep(0.05)
        run = backend.poll(run)
    if not run.state.final:
        with suppress(BackendError):  # it may end at this moment
            backend.cancel(run)
    return run


def _containers(case: Case) -> Answer:
    from kfp_magics.backends.local.containers import candidates  # noqa: PLC0415  (not needed to author)

    needed = case.settings.executor == "container"
    answers = {name: look_at_engine(name, needed=needed) for name in candidates(case.settings)}
    for name, answer in answers.items():
        if answer.word == "ok":
            return ok(f"{name} runs containers")
    name, answer = next(iter(answers.items()))
    if not needed:
        return unneeded("no container engine works here; steps run in processes", answer.mend)
    return Answer(word=answer.word, note=f"{name}: {answer.note}", mend=answer.mend)


def _room(case: Case) -> Answer:
    there = _existing(case.home)
    free = shutil.disk_usage(there).free
    note = f"{free / 1e9:.1f} GB free at {there}"
    clear = typed(f"uv cache prune; du -sh {case.home}/*")
    if not os.access(there, os.W_OK):
        return broken(f"nothing can be written to {there}", typed(f"chmod u+rwx {there}"))
    if free < _NONE:
        return broken(f"{note}: no environment fits", clear)
    return broken(f"{note}: that is little", clear, needed=False) if free < _LITTLE else ok(note)


def _existing(path: Path) -> Path:
    return next(one for one in (path, *path.parents) if one.exists())


def _store(case: Case) -> Answer:
    from kfp_magics.runs import database  # noqa: PLC0415  (not needed to author)

    path = case.home / "runs.sqlite"
    if not path.exists():
        return ok("no run yet")
    try:
        version = database.look(path, 3.0)
    except KfpMagicsError as error:
        newer = "newer" in error.message
        mend = installed("kfp-magics") if newer else typed(f"mv {path} {path}.damaged")
        return broken(error.message.rstrip("."), mend)
    older = ", brought up to date with the next use" if version < database.VERSION else ""
    return ok(f"{path}, version {version}{older}")


def _server(case: Case) -> Answer:
    settings = case.settings
    if settings.backend == "local":
        return unneeded("runs go to this machine")
    if settings.backend == "vertex" and not has("google-cloud-aiplatform"):
        return missing("Vertex AI needs Google's packages", installed("kfp-magics[vertex]"))
    from kfp_magics.backends.base import Checks  # noqa: PLC0415  (not needed to author)
    from kfp_magics.backends.connections import Connections  # noqa: PLC0415  (as above)
    from kfp_magics.backends.known import Backends  # noqa: PLC0415  (as above)
    from kfp_magics.runs.store import Store  # noqa: PLC0415  (as above)

    connection = Connections(case.home).get(settings.backend, settings.connection)
    hasty = case.hasty()
    backend = Backends(hasty, Store(hasty.store_path))[settings.backend]
    assert isinstance(backend, Checks)
    try:
        checked = backend.check(connection)
    except KfpMagicsError as error:
        return refused(error, _HERE)
    one = checked.connection
    facts = [f"{checked.server} at {one.host}" if one.host else checked.server, checked.user, one.namespace]
    return ok(", ".join(filter(None, facts)) + "".join(f"; {remark}" for remark in checked.remarks))


def _vertex(case: Case) -> Answer:
    needed = case.settings.backend == "vertex"
    if not has("google-cloud-aiplatform"):
        return missing("Google's packages are not here", installed("kfp-magics[vertex]"), needed=needed)
    if not needed:
        return unneeded("its packages are here; runs go elsewhere")
    from kfp_magics.backends.vertex.service import WORDS  # noqa: PLC0415  (imports Google's clients)

    _, project = WORDS.credentials()
    return ok(f"credentials are here{f', of the project {project}' if project else ''}")


CHECKS = (
    Check(group="run", name="engine", look=_engine, patience=_RUN),
    Check(group="run", name="containers", look=_containers, patience=16.0),
    Check(group="run", name="disk", look=_room),
    Check(group="run", name="store", look=_store),
    Check(group="run", name="server", look=_server, patience=10.0, mend=_HERE),
    Check(group="run", name="Vertex AI", look=_vertex, patience=10.0, mend=LOG_IN),
)
