"""The command line: the same session as in a notebook, for terminals and CI machines."""

from __future__ import annotations

import argparse
import ast
import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kfp_magics import __version__, cli_delivery, cli_runs, cli_servers, cli_setup, sources
from kfp_magics.errors import (
    ArgumentError,
    DefinitionError,
    KfpMagicsError,
    NotFoundError,
    RunFailedError,
    WaitInterrupted,
    did_you_mean,
)
from kfp_magics.model import State
from kfp_magics.options import BUILDERS, PLATFORMS, RunOptions
from kfp_magics.session import Session
from kfp_magics.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from IPython.core.interactiveshell import InteractiveShell

    from kfp_magics.building.build import Build
    from kfp_magics.model import Run
    from kfp_magics.widgets.live import LiveRun

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001  (argparse has no public name for it)

_DEFINITIONS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_VERBS = (
    "build|run|runs|logs|artifacts|diff|cancel|retry|clone|archive|delete|compile|export|cd|connect|upload|schedule|"
    "experiments|pipelines"
)
"""Those that a shell has by the same name."""
_DEFINING = ("%%kfp_component", "%%kfp_pipeline", "%kfp_component", "%kfp_pipeline", "%kfp_connect")


def main(argv: Sequence[str] | None = None) -> int:
    """Carries out one command.

    Args:
        argv: Its words; those of the process when left out.

    Returns:
        Exit code: 0 when all went well, 1 when a run failed, 2 for a mistake of the user's.
    """
    words = _read(argv)
    try:
        code: int = words.command(words)
    except RunFailedError as error:
        sys.stderr.write(f"{_spoken(str(error), words)}\n")
        return 1
    except KfpMagicsError as error:
        sys.stderr.write(f"{_spoken(str(error), words)}\n")
        return 2
    except WaitInterrupted as interrupt:
        sys.stderr.write(f"{_spoken(str(interrupt), words)}\n")
        return 130
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        return 130
    return code


def _read(argv: Sequence[str] | None) -> argparse.Namespace:
    """Reads the words; key=value may stand behind options, where argparse does not look for it."""
    parser, commands = _parser()
    words, rest = parser.parse_known_args(argv)
    wrong = [word for word in rest if word.startswith("-") or not hasattr(words, "values")]
    if wrong:
        known = commands[words.verb].format_usage().replace("[", " ").replace("]", " ").split()
        hint = did_you_mean(wrong[0], [word for word in known if word.startswith("--")])
        parser.error(f"{words.verb} does not take {' '.join(wrong)}. {hint if hint.startswith('Did') else ''}".strip())
    if rest:
        words.values += rest
    return words


def _spoken(message: str, words: argparse.Namespace) -> str:
    """Says what to type next as it is typed in a shell."""
    source, function = getattr(words, "source", ""), getattr(words, "pipeline", "")
    again = f"kfp-magics run {sources.quoted(source)}" + (f" --pipeline {function}" if function else "")
    named = " --pipeline {}" if source.endswith(".ipynb") and not function else ""
    message = (
        re.sub(r"%kfp_run ('[^']+'|\S+)", lambda one: again + named.format(one[1]), message) if source else message
    )
    message = message.replace("%kfp_setup_auth", f"kfp-magics setup-auth {source}".strip())
    return _in_a_shell(re.sub(r'import os, getpass; os\.environ\["(\w+)"\] = .*', r"read -rs \1; export \1", message))


def _in_a_shell(message: str) -> str:
    return re.sub(rf"(?<!%)%kfp_({_VERBS})\b", r"kfp-magics \1", message)


def _parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    parser = argparse.ArgumentParser(prog="kfp-magics", description="Notebook cells as Kubeflow pipelines.")
    parser.add_argument("--version", action="version", version=f"kfp-magics {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="verb")

    run = commands.add_parser("run", help="run a pipeline of a notebook, or an IR file")
    run.add_argument("source", help="notebook (.ipynb), Python (.py, .py:FUNCTION), or compiled (.yaml, .zip, .tar.gz)")
    run.add_argument("values", nargs="*", metavar="key=value", help="arguments of the pipeline; None for no value")
    run.add_argument("--pipeline", default="", help="which pipeline of the file; needed when it has several")
    run.add_argument("--name", default="", help="display name of the run")
    run.add_argument("--experiment", default="", help="KFP experiment")
    run.add_argument("--no-cache", action="store_true", help="run every task again")
    run.add_argument(
        "--executor", default="", choices=["process", "container"], help="what carries out tasks on this machine"
    )
    run.add_argument(
        "--build",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="run steps in images, built if missing; by default where tasks run in containers and a registry is set",
    )
    run.add_argument("--connect", default="", metavar="WHERE", help="local, https://host, or the name of a connection")
    run.add_argument("--from", dest="start_from", default="", metavar="STEP", help="run this and what comes after it")
    run.add_argument("--reuse", default="", metavar="RUN", help="earlier run that other results are taken from")
    run.add_argument("--only-changed", action="store_true", help="run only what changed since that run")
    run.add_argument("--dry-run", action="store_true", help="say what would run and why, and start nothing")
    run.add_argument("--detach", action="store_true", help="start it and return at once")
    run.set_defaults(command=_run)

    compiling = commands.add_parser("compile", help="write the IR of a pipeline")
    compiling.add_argument("source", help="notebook (.ipynb), or Python file (.py)")
    compiling.add_argument("--pipeline", default="", help="which pipeline of the notebook")
    compiling.add_argument("-o", "--output", default="", help="file to write; PIPELINE.yaml when left out")
    compiling.add_argument("--build", action="store_true", help="with the steps' images by digest, built if missing")
    compiling.set_defaults(command=_compile)

    _add_building(commands)
    cli_delivery.add(commands, lambda source: author(_existing_file(source)), _open)
    cli_setup.add(commands, lambda source: author(_existing_file(source)))
    _add_serving(commands)
    cli_runs.add(
        commands, lambda session, run_id, wait: _follow(session, run_id, wait=wait), _in_a_shell, cli_servers.at
    )
    cli_servers.add(commands, _open, _shown)
    return parser, commands.choices


def _add_building(commands: Commands) -> None:
    build = commands.add_parser("build", help="build the images of a notebook's steps")
    build.add_argument("source", help="notebook (.ipynb)")
    build.add_argument("names", nargs="*", metavar="STEP", help="steps or pipelines; all steps when left out")
    build.add_argument(
        "--changed-since", default="", metavar="REV", help="only steps that are others than in this commit"
    )
    build.add_argument("--builder", default="", choices=BUILDERS, metavar="NAME", help=f"one of {', '.join(BUILDERS)}")
    build.add_argument("--registry", default="", help="where images go: HOST/PATH, or oci:FOLDER")
    build.add_argument("--platform", default="", choices=PLATFORMS, metavar="OS/ARCH", help="linux/amd64, linux/arm64")
    build.add_argument("--python", default="", help="Python version of a base image that does not say it")
    build.add_argument("--upgrade", action="store_true", help="look anew for the newest base images and requirements")
    build.add_argument("--force", action="store_true", help="carry out Dockerfiles again, also when nothing changed")
    build.add_argument(
        "--dry-run", default="", metavar="DIR", help="build nothing, write the folder of each step to DIR"
    )
    build.set_defaults(command=_build)


def _add_serving(commands: Commands) -> None:
    serve = commands.add_parser("serve", help="answer the kfp client and command line with this machine's engine")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen at")
    serve.add_argument("--port", type=int, default=8888, help="port to listen at; 0 takes a free one")
    serve.add_argument("--token-file", default="", help="file with the token that clients must send")
    serve.add_argument("--allow-remote", action="store_true", help="also listen where other machines can reach it")
    serve.set_defaults(command=_serve)


def _serve(words: argparse.Namespace) -> int:
    try:
        from kfp_magics.gateway.serve import Door  # noqa: PLC0415  (only here, and an extra)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("kfp_magics"):
            raise
        raise DefinitionError(
            f"Serving needs the package {error.name!r}.", "Install it: pip install 'kfp-magics[serve]'"
        ) from error
    remote: bool = words.allow_remote
    door = Door(Settings(), host=words.host, port=words.port, token_file=words.token_file, remote=remote)
    print(door.greeting, flush=True)
    door.run()
    return 0


def _run(words: argparse.Namespace) -> int:
    session, what = _open(words.source, words.pipeline)
    options = RunOptions(
        name=words.name,
        experiment=words.experiment,
        cache=not words.no_cache,
        executor=words.executor,
        build=words.build,
        start_from=words.start_from,
        reuse=words.reuse,
        only_changed=words.only_changed,
        started_by="cli",
    )
    from kfp_magics.widgets.plan import PlanCard  # noqa: PLC0415  (only when a run is planned)

    if words.connect:
        session.servers.connect(words.connect)
    ready = session.prepare(what, words.values, options)
    print(PlanCard(ready.plan()))
    if words.dry_run:
        return 0
    return _follow(session, session.start(ready, _shown(session)).id, wait=not words.detach)


def _build(words: argparse.Namespace) -> int:
    from kfp_magics.magics.build import build_options  # noqa: PLC0415  (imports IPython)

    session = _author_changed(words) if words.changed_since else author(_existing_file(words.source))
    if words.changed_since and not words.names:
        print(f"No step has changed since {words.changed_since}.")
        return 0
    options = replace(build_options(words), started_by="cli")
    if words.dry_run:
        from kfp_magics.widgets.cards import FoldersCard  # noqa: PLC0415  (only when folders are shown)

        print(FoldersCard(session.images.folders(words.names, options, Path(words.dry_run))))
        return 0
    build = session.build(words.names, options)
    live = _live(session, build.run)
    live.show()
    build.wait()
    live.update(session.find(build.run.id))
    if build.run.state is not State.SUCCEEDED:
        raise session.failure(build.run)
    return 0


def _author_changed(words: argparse.Namespace) -> Session:
    """Authors a notebook as it was and as it is, and leaves of the names those that changed."""
    from IPython.core.interactiveshell import InteractiveShell  # noqa: PLC0415  (only for notebooks)

    from kfp_magics.delivery.since import Since  # noqa: PLC0415  (only for CI)

    path = _existing_file(words.source)
    since = Since(path, words.changed_since)
    text = since.text()
    before = author(path, text).definitions.steps if text else {}
    InteractiveShell.clear_instance()  # what is now must see nothing of what was
    session = author(path)
    wanted = {one.name: one for one in session.images.components(words.names)}
    words.names = since.changed({name: step.component for name, step in before.items()}, wanted)
    return session


def _shown(session: Session) -> Callable[[Build], None]:
    return lambda build: _live(session, build.run).show()


def _live(session: Session, run: Run) -> LiveRun:
    from kfp_magics.widgets.live import LiveRun  # noqa: PLC0415  (only when a run is shown)

    return LiveRun(run, follow=session.watcher.follow, tail=session.log_tail)


def _follow(session: Session, run_id: str, *, wait: bool) -> int:
    live = _live(session, session.find(run_id))
    live.show()
    if wait:
        session.wait(live.run, live.update)
    return 0


def _compile(words: argparse.Namespace) -> int:
    session, what = _open(words.source, words.pipeline)
    print(f"Wrote {session.compile(what, words.output, build=words.build, on_build=_shown(session))}")
    return 0


def _open(source: str, pipeline: str) -> tuple[Session, str]:
    """Gives a session that knows the pipeline of a file, and what to call it there."""
    file, function = sources.split(source)
    path, pipeline = _existing_file(file), pipeline or function
    if path.suffix not in {".ipynb", ".py", *sources.COMPILED}:
        what = f"{source!r} is neither a notebook (.ipynb) nor Python (.py) nor a compiled pipeline (.yaml)."
        raise DefinitionError(what, "Give one of them.")
    if path.suffix == ".py":
        return Session(notebook=""), f"{path}:{pipeline}" if pipeline else str(path)
    if path.suffix != ".ipynb":
        if pipeline:
            raise DefinitionError(f"{source!r} is no notebook and holds one pipeline.", "Leave --pipeline out.")
        return Session(notebook=""), str(path)
    session = author(path)
    names = [*session.definitions.pipelines, *session.definitions.undefined]
    if not pipeline and len(names) != 1:
        raise DefinitionError(
            f"The notebook {source!r} defines {'no pipeline' if not names else 'several pipelines'}.",
            f"Name one: --pipeline {' or '.join(names)}" if names else "Define one with %%kfp_pipeline.",
        )
    return session, pipeline or names[0]


def _existing_file(source: str) -> Path:
    return sources.existing(source, also=(".ipynb",))


def author(path: Path, text: str = "") -> Session:
    """Executes the cells of a notebook that author steps and pipelines, and what they stand on; runs nothing else.

    Args:
        path: The notebook.
        text: What it holds, where that is not what lies there.
    """
    import nbformat  # noqa: PLC0415  (only for notebooks)
    from IPython.core.interactiveshell import InteractiveShell  # noqa: PLC0415  (only for notebooks)

    from kfp_magics.magics import register  # noqa: PLC0415  (only for notebooks)
    from kfp_magics.magics.shell import current_session  # noqa: PLC0415

    try:
        notebook = nbformat.reads(text, as_version=4) if text else nbformat.read(path, as_version=4)
    except (nbformat.reader.NotJSONError, nbformat.ValidationError) as error:
        raise DefinitionError(f"{str(path)!r} is no notebook: {str(error).splitlines()[0]}.") from error
    shell = InteractiveShell.instance()
    register(shell)
    session = current_session(shell)
    session.notebook = str(path.resolve())
    here = Path.cwd()
    os.chdir(path.parent)  # as Jupyter runs it
    try:
        for cell in notebook.cells:
            if cell.cell_type == "code" and _is_defining(cell.source):
                _execute(session, shell, cell.source, cell.get("id", ""))
    finally:
        os.chdir(here)
    return session


def _is_defining(source: str) -> bool:
    """Whether a cell only defines: a step, a pipeline, or imports, functions, classes and constants; or undoes that."""
    if source.lstrip().startswith(_DEFINING):
        return True
    try:
        tree = ast.parse(source)
    except SyntaxError:  # lines that only IPython understands
        return False
    return all(isinstance(node, (*_DEFINITIONS, ast.Delete)) or _is_constant(node) for node in tree.body)


def _is_constant(node: ast.stmt) -> bool:
    if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
        return False
    return not any(isinstance(one, ast.Call | ast.Await) for one in ast.walk(node.value))


def _execute(session: Session, shell: InteractiveShell, source: str, cell_id: str) -> None:
    from IPython.utils.capture import capture_output  # noqa: PLC0415  (only for notebooks)

    with capture_output():
        done = shell.run_cell(source, cell_id=cell_id)
    error = done.error_before_exec or done.error_in_exec
    part = re.match(r"\s*%kfp_pipeline\s+(\w+)", source)
    if part and isinstance(error, NotFoundError | ArgumentError):
        session.definitions.undefined[part[1]] = error  # its run may be on another machine; told to who asks for it
    elif isinstance(error, KfpMagicsError):
        raise error
    elif error is not None and source.lstrip().startswith(_DEFINING):
        raise DefinitionError(
            f"A cell of the notebook failed: {type(error).__name__}: {error}", f"It starts: {source.splitlines()[0]}"
        ) from error


if __name__ == "__main__":
    sys.exit(main())
