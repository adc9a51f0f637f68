"""What continuous integration and delivery need: a repository that is in step, triggers, watchers."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

from kfp_magics.delivery.auth.functions import functions_in
from kfp_magics.delivery.cloud.options import FOLDER
from kfp_magics.doctor.build import has
from kfp_magics.doctor.findings import (
    LOG_IN,
    Answer,
    Check,
    broken,
    installed,
    missing,
    ok,
    refused,
    setting,
    typed,
    unneeded,
)
from kfp_magics.errors import KfpMagicsError

if TYPE_CHECKING:
    from kfp_magics.doctor.findings import Case, Mend

_FILES = ("main.py", "pipeline.yaml", "requirements.txt", "target.json")
_GOOGLES = ("google-cloud-functions", "google-cloud-eventarc", "google-cloud-storage")
_LOCK = "kfp-magics.lock"


def _git(case: Case) -> Answer:
    program = shutil.which("git")
    if program is None:
        return missing("not on this machine", typed("sudo apt-get install git"), needed=case.wants("ci"))
    done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=6, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it gave no reason"])[-1]
        return broken(f"{program} does not run: {said}", typed("git --version"), needed=case.wants("ci"))
    return ok(done.stdout.strip().removeprefix("git version "))


def _repository(case: Case) -> Answer:
    from kfp_magics.delivery.git import Repository  # noqa: PLC0415  (only for CI)

    needed = case.wants("ci") or (case.folder / _LOCK).is_file()
    try:
        top = Repository(case.folder).top
    except KfpMagicsError:
        mend = typed(f"git init {case.folder.absolute()}")
        return missing(f"{case.folder.absolute()} is in no repository", mend, needed=needed)
    return ok(str(top))


def _in_step(case: Case) -> Answer:
    exported = (case.folder / _LOCK).is_file()
    name = case.notebook or "NOTEBOOK"
    again = verb_on(f"export {name} {case.folder}", f"%kfp_export {case.folder}")
    if not exported:
        where = verb_on(f"export {name} DIR", "%kfp_export DIR")
        return missing(f"nothing was exported to {case.folder.absolute()}", where, needed=case.wants("ci"))
    if case.definitions is None or not (case.definitions.steps or case.definitions.pipelines):
        how = verb_on(f"ci check NOTEBOOK --dir {case.folder}", f"%kfp_ci check --dir {case.folder}")
        return unneeded("no notebook is known to compare it with", how)
    from kfp_magics.building.images import Images  # noqa: PLC0415  (not needed to author)
    from kfp_magics.options import BuildOptions  # noqa: PLC0415  (as above)
    from kfp_magics.runs.store import Store  # noqa: PLC0415  (as above)

    images = Images(case.settings, case.definitions, lambda: Store(case.settings.store_path))
    try:
        found = images.exported(BuildOptions(), notebook=case.notebook).differences(case.folder)
    except KfpMagicsError as error:
        return refused(error)
    if found:
        return broken(f"notebook and export differ in {', '.join(sorted(found)[:3])}{' …' * (len(found) > 3)}", again)
    return ok(f"{case.folder.absolute()} is what the notebook says")


def verb_on(shell: str, magic: str) -> Mend:
    """One of our own verbs, which a shell has to tell the notebook."""
    return typed(f"kfp-magics {shell}", magic)


def _triggers(case: Case) -> Answer:
    needed = case.wants("ci") and bool(case.settings.google_project)
    if not case.settings.google_project:
        return unneeded("no Google Cloud project is set", setting("google_project", "PROJECT"))
    if not has("google-cloud-build"):
        return missing("Google's packages are not here", installed("kfp-magics[gcp]"), needed=needed)
    from kfp_magics.delivery.triggers import Triggers  # noqa: PLC0415  (imports Google's clients)

    try:
        found = Triggers.from_settings(case.settings).list()
    except KfpMagicsError as error:
        return refused(error, needed=needed)
    return ok(f"{len(found)} triggers" if found else "Cloud Build answers; no trigger yet")


def _watchers(case: Case) -> Answer:
    from kfp_magics.delivery.newdata.ledger import Ledger  # noqa: PLC0415  (only for CD)
    from kfp_magics.delivery.newdata.watchers import Watchers  # noqa: PLC0415  (as above)
    from kfp_magics.runs import database  # noqa: PLC0415  (as above)
    from kfp_magics.runs.store import Store  # noqa: PLC0415  (as above)

    needed = case.wants("cd") and not (case.folder / FOLDER).is_dir()
    start = verb_on("cd watch DIR --run NOTEBOOK 'data=$uri'", "%kfp_cd watch DIR --run PIPELINE data=$uri")
    path = case.home / "runs.sqlite"
    if not path.exists() or database.look(path, 3.0) < database.VERSION:
        return missing("no folder is watched", start, needed=needed)
    store = Store(path)
    try:
        watches = Ledger(store).watches()
    finally:
        store.close()
    if not watches:
        return missing("no folder is watched", start, needed=needed)
    holders = Watchers(case.settings)
    asleep = [one.rule.name for one in watches if holders.holder(one.rule.name) is None]
    if asleep:
        return broken(f"nobody watches {', '.join(asleep)}", verb_on("cd watch", "%kfp_cd watch"))
    return ok(f"{len(watches)} watched: {', '.join(one.folder for one in watches)}")


def _functions(case: Case) -> Answer:
    folder = case.folder / FOLDER
    create = "cd create --on 'gs://BUCKET/PREFIX*' --run NOTEBOOK 'data=$uri'"
    found = functions_in(folder)
    if not found:
        return unneeded("no function was written for the cloud", verb_on(create, "%kfp_cd create --on … --run …"))
    names = ", ".join(one.name for one in found)
    absent = [one for one in _GOOGLES if not has(one)]
    if absent:
        return missing(f"{names} cannot be deployed: Google's packages are not here", installed("kfp-magics[gcp]"))
    for one in found:
        lacks = [name for name in _FILES if not (folder / one.name / name).is_file()]
        if lacks:
            return broken(
                f"{one.name} has no {', '.join(lacks)}", verb_on(f"{create} --replace", "%kfp_cd create … --replace")
            )
        if one.kind == "local":
            where = verb_on("run … --connect https://HOST", "%kfp_connect https://HOST")
            return broken(f"{one.name} would start runs on this machine, which the cloud cannot reach", where)
    return ok(f"{names}; cd list --cloud tells what is deployed")


CHECKS = (
    Check(group="ci", name="git", look=_git),
    Check(group="ci", name="repository", look=_repository),
    Check(group="ci", name="export", look=_in_step, patience=20.0),
    Check(group="ci", name="triggers", look=_triggers, patience=10.0, mend=LOG_IN),
    Check(group="cd", name="watchers", look=_watchers),
    Check(group="cd", name="functions", look=_functions),
)
