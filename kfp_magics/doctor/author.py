"""What authoring needs: Python and packages, the extension, the notebook; and what the panel needs."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.requirements import Requirement

import kfp_magics
from kfp_magics import __version__
from kfp_magics.doctor.findings import Answer, Check, broken, installed, missing, ok, refused, typed, unneeded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kfp_magics.doctor.findings import Case

_US = "kfp-magics"
_SHOWN = {"ipython": "IPython", "kfp": "kfp"}
_ENVIRONMENT = "python3 -m venv .venv && .venv/bin/pip install 'kfp-magics[lab]'"
_SECONDS = 4.0  # that a server on this machine may take to answer


def _python(case: Case) -> Answer:  # noqa: ARG001  (all checks are called alike)
    if not Path(sys.executable).exists():
        return broken(f"the interpreter {sys.executable} is gone: its environment was removed", typed(_ENVIRONMENT))
    return ok(f"{platform.python_version()}, {sys.executable}")


def _requirements(extra: str = "") -> Iterator[Requirement]:
    for line in importlib.metadata.requires(_US) or ():
        found = Requirement(line)
        ours = (
            found.marker is None if not extra else found.marker is not None and found.marker.evaluate({"extra": extra})
        )
        if ours:
            yield found


def _package(name: str, extra: str = "", *, needed: bool = True) -> Answer:
    wanted = next(one for one in _requirements(extra) if one.name == name)
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return missing(f"{name} is not installed", installed(_line(wanted)), needed=needed)
    if not wanted.specifier.contains(version, prereleases=True):
        return broken(f"{version} is here, {wanted.specifier} is wanted", installed(_line(wanted)), needed=needed)
    return ok(version)


def _line(wanted: Requirement) -> str:
    return f"{wanted.name}{wanted.specifier}"


def _packages(case: Case) -> Answer:  # noqa: ARG001  (as above)
    others = [one for one in _requirements() if one.name not in _SHOWN]
    found = [(one, _package(one.name)) for one in others]
    wrong = [(one, answer) for one, answer in found if answer.mend]
    if not wrong:
        return ok(f"{len(found)} as they should be")
    names = ", ".join(f"{one.name} ({answer.note})" for one, answer in wrong)
    return broken(names, installed("' '".join(_line(one) for one, _ in wrong)))


def _uv(case: Case) -> Answer:  # noqa: ARG001  (as above)
    from uv import find_uv_bin  # noqa: PLC0415  (beside its only use)

    mend = typed("pip install --force-reinstall uv", "%pip install --force-reinstall uv")
    try:
        program = find_uv_bin()
    except FileNotFoundError:
        return missing("its program is not installed: no step gets an environment", mend)
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=6, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return broken(f"{program} does not run: {error}", mend)
    if done.returncode:
        return broken(f"{program} does not run: {done.stderr.strip()[:200]}", mend)
    return ok(" ".join(done.stdout.split()[1:2]))


def _extension(case: Case) -> Answer:
    if not case.in_ipython:
        return unneeded("magics are for notebooks", typed("%load_ext kfp_magics", "%load_ext kfp_magics"))
    here = importlib.metadata.version(_US)
    if here != __version__:
        mend = typed("jupyter lab", "get_ipython().kernel.do_shutdown(True)")
        return broken(f"{__version__} is loaded, {here} is installed: restart the kernel", mend)
    return ok(f"kfp-magics {__version__}")


def _notebook(case: Case) -> Answer:
    if case.trouble is not None:
        return refused(case.trouble)
    if not case.notebook:
        how = typed("kfp-magics doctor --notebook FILE", "%kfp_doctor")
        return unneeded("none is known; runs do not say where they came from", None if case.in_ipython else how)
    found = case.definitions
    counted = f": {len(found.steps)} steps, {len(found.pipelines)} pipelines" if found else ""
    return ok(f"{Path(case.notebook).name}{counted}")


# The panel


def _lab(case: Case) -> Answer:
    answer = _package("jupyterlab", "lab", needed=case.wants("panel"))
    if answer.mend and answer.word != "broken":
        return missing("no JupyterLab in this environment", installed("kfp-magics[lab]"), needed=case.wants("panel"))
    return answer


def _has_lab() -> bool:
    try:
        importlib.metadata.version("jupyterlab")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _server_extension(case: Case) -> Answer:
    if not _has_lab():
        return unneeded("no JupyterLab in this environment")
    from jupyter_core.paths import jupyter_config_path  # noqa: PLC0415  (only where Jupyter is)

    enabled, where = None, ""
    for folder in reversed([Path(one) for one in jupyter_config_path()]):  # the first ones win
        for path in (
            *sorted((folder / "jupyter_server_config.d").glob("*.json")),
            folder / "jupyter_server_config.json",
        ):
            found = _read(path).get("ServerApp", {}).get("jpserver_extensions", {}).get("kfp_magics")
            enabled, where = (enabled, where) if found is None else (found, str(path))
    mend = typed("jupyter server extension enable kfp_magics")
    if enabled is None:
        return missing("it is not enabled: the panel shows no runs", mend, needed=_panel_is_wanted(case))
    return ok("enabled") if enabled else broken(f"switched off in {where}", mend, needed=_panel_is_wanted(case))


def _panel_is_wanted(case: Case) -> bool:
    return case.in_notebook or case.wants("panel")


def _front_end(case: Case) -> Answer:
    if not _has_lab():
        return unneeded("no JupyterLab in this environment")
    from jupyter_core.paths import jupyter_path  # noqa: PLC0415  (only where Jupyter is)

    again = "pip install --force-reinstall --no-deps kfp-magics"
    clone = Path(kfp_magics.__file__).resolve().parents[1]
    mend = typed(f"make -C {clone} labextension") if (clone / "labextension").is_dir() else typed(again, f"%{again}")
    for folder in jupyter_path("labextensions"):
        package = Path(folder, "kfp-magics", "package.json")
        if not package.is_file():
            continue
        version = str(_read(package).get("version", ""))
        if version != __version__:
            return broken(
                f"{version or 'something else'} is in {package.parent}, {__version__} is wanted",
                mend,
                needed=_panel_is_wanted(case),
            )
        return ok(f"{version}, in {package.parent}")
    return missing("JupyterLab finds no panel", mend, needed=_panel_is_wanted(case))


def _servers(case: Case) -> Answer:
    if not _has_lab():
        return unneeded("no JupyterLab in this environment")
    running = list(_running())
    start = typed("jupyter lab")
    if not running:
        return missing("no Jupyter Server runs here", start, needed=_panel_is_wanted(case))
    asked = [(port, _ask(server)) for port, server in running]
    good = [port for port, said in asked if said == __version__]
    if good:
        return ok(f"version {__version__} at port {', '.join(map(str, good))}")
    port, said = asked[0]
    restart = typed(f"jupyter server stop {port} && jupyter lab")
    if re.fullmatch(r"[\d.]+\w*", said):
        return broken(f"the server at port {port} has {said}, {__version__} is installed", restart)
    return broken(f"the server at port {port} {said}", restart)


def _running() -> Iterator[tuple[int, dict[str, Any]]]:
    from jupyter_core.paths import jupyter_runtime_dir  # noqa: PLC0415  (only where Jupyter is)

    for path in sorted(Path(jupyter_runtime_dir()).glob("jpserver-*.json")):
        server = _read(path)
        if server.get("pid") and _lives(int(server["pid"])):
            yield int(server.get("port", 0)), server


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _ask(server: dict[str, Any]) -> str:
    """The version of our extension there, or what is wrong; its token goes to no other place than the server itself."""
    import httpx  # noqa: PLC0415  (only where a server runs)

    headers = {"Authorization": f"token {server.get('token', '')}"}
    try:
        url = f"{server.get('url', '')}kfp-magics/api/status"
        answer = httpx.get(url, headers=headers, timeout=_SECONDS, trust_env=False, verify=False)  # noqa: S501  (this machine's own)
    except httpx.HTTPError as error:
        return f"does not answer ({type(error).__name__})"
    if answer.status_code == 404:
        return "does not have the extension"
    if answer.status_code != 200:
        return f"answers {answer.status_code}"
    try:
        return str(answer.json()["version"])
    except (ValueError, KeyError, TypeError):
        return "answers something else"


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


CHECKS = (
    Check(group="author", name="Python", look=_python),
    Check(group="author", name="IPython", look=lambda _: _package("ipython")),
    Check(group="author", name="kfp", look=lambda _: _package("kfp")),
    Check(group="author", name="packages", look=_packages),
    Check(group="author", name="uv", look=_uv),
    Check(group="author", name="extension", look=_extension),
    Check(group="author", name="notebook", look=_notebook),
    Check(group="panel", name="JupyterLab", look=_lab),
    Check(group="panel", name="server extension", look=_server_extension),
    Check(group="panel", name="front end", look=_front_end),
    Check(group="panel", name="server", look=_servers),
)
