"""What is said of new data as it is watched for, listed and forgotten: the same in a notebook and in a shell."""

from __future__ import annotations

import os
import re
import shlex
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kfp_magics.backends.base import SubmitOptions
from kfp_magics.backends.connections import Connections
from kfp_magics.delivery.newdata.folder import Folder
from kfp_magics.delivery.newdata.ledger import Ledger, Watch
from kfp_magics.delivery.newdata.making import Wanted, name_of, rule_of
from kfp_magics.delivery.newdata.rules import literal
from kfp_magics.delivery.newdata.watchers import Watchers
from kfp_magics.errors import DeliveryError, NotFoundError
from kfp_magics.runs.text import MARKS, table, when

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kfp_magics.delivery.newdata.rules import Rule
    from kfp_magics.model import Pipeline
    from kfp_magics.options import RunOptions
    from kfp_magics.runs.store import Store
    from kfp_magics.settings import Settings


class NewData:
    """What can be done about new data on this machine.

    Args:
        settings: Where things are kept and how they run.
        store: Where it is remembered.
    """

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._ledger = Ledger(store)
        self._watchers = Watchers(settings)

    def watch(
        self,
        where: str,
        pipeline: Pipeline,
        wanted: Wanted,
        options: RunOptions,
        *,
        notebook: str = "",
        existing: bool = False,
    ) -> Iterator[str]:
        """Watches a folder: each new file starts a run.

        Args:
            where: The folder, or a pattern of files in one.
            pipeline: What runs, in its images if it is to run in some.
            wanted: What new files do; where they lie is said by ``where``.
            options: How it runs.
            notebook: Path of the notebook.
            existing: Whether files that lie there already start runs as well.

        Yields:
            Lines for a person.

        Raises:
            KfpMagicsError: It could not work; nothing was changed.
        """
        if not where:
            raise DeliveryError("It is not said which folder to watch.", "%kfp_cd watch DIR --run PIPELINE key=$uri")
        folder, pattern = _place(where)
        if not Path(folder).is_dir():
            raise DeliveryError(f"There is no folder {folder!r}.", f"Make it: mkdir -p {shlex.quote(folder)}")
        if not os.access(folder, os.R_OK | os.X_OK):
            raise DeliveryError(f"The folder {folder!r} cannot be read.", f"See who may: ls -ld {shlex.quote(folder)}")
        name = wanted.name or name_of(f"{folder}/", pipeline.name)
        rule = rule_of(pipeline, replace(wanted, on=pattern, name=name))
        for other in self._ledger.watches():
            if other.rule.name == name and other.folder != folder:
                raise DeliveryError(f"{name!r} watches {other.folder} already.", "Call this one differently: --name …")
        watch = self._made(folder, rule, pipeline, options, notebook)
        lying = Folder(folder, rule.matches, lambda _: None).lying()
        is_new = self._ledger.put(watch, lying, take=existing)
        if is_new and lying:
            what = "each starts a run" if existing else "they start none, unless you say --existing"
            yield f"Files that lie there already: {len(lying)}; {what}."
        fresh = self._watchers.start(name)
        if not fresh and not is_new:
            yield "The watcher goes on with what you say now."
        yield _watching(name, folder)

    def go_on(self, where: str = "") -> Iterator[str]:
        """Goes on watching where a watcher was stopped or killed, exactly where it stopped.

        Args:
            where: The folder as it was given, or the name of a watch; all that are known when empty.

        Yields:
            Lines for a person.

        Raises:
            NotFoundError: It was never watched.
        """
        watches = self._ledger.watches()
        folder = _place(where)[0] if where else ""
        found = [one for one in watches if not where or where == one.rule.name or folder == one.folder]
        if not found:
            raise NotFoundError(
                f"{where!r} is not watched yet." if where else "Nothing is watched yet.",
                f"Say what a new file starts: %kfp_cd watch {where or 'DIR'} --run PIPELINE key=$uri",
            )
        for one in found:
            self._ledger.again(one.rule.name)
            self._watchers.start(one.rule.name)
            yield _watching(one.rule.name, one.folder)

    def list(self) -> Iterator[str]:
        """Tells what is watched, whether the watcher lives, how many files came, and the last run."""
        rows = []
        for one in self._ledger.watches():
            name = one.rule.name
            counts = self._ledger.counts(name)
            held = self._watchers.holder(name)
            state = "stopped" if held is None else "watching"
            if held is not None and held[1] not in {"", os.uname().nodename}:
                state = f"on {held[1]}"
            files = [f"{counts[state]} {state}" for state in ("started", "declined", "failed") if counts[state]]
            if waiting := counts["waiting"] + counts["claimed"]:
                files.append(f"{waiting} waiting")
            rows.append((name, state, one.folder, one.rule.pipeline, ", ".join(files) or "none yet", self._last(name)))
        if not rows:
            yield "Nothing is watched: %kfp_cd watch DIR --run PIPELINE key=$uri"
            return
        yield table(rows, ("NAME", "STATE", "FOLDER", "PIPELINE", "FILES", "LAST RUN"))
        if any(row[1] == "stopped" for row in rows):
            yield "%kfp_cd watch goes on with what is stopped, where it stopped."

    def log(self, name: str) -> str:
        """What a watcher wrote of what it did.

        Raises:
            NotFoundError: There is no watch of that name.
        """
        self._ledger.watch(name)
        with suppress(FileNotFoundError):
            return self._watchers.log_file(name).read_text(encoding="utf-8", errors="replace")
        return ""

    def delete(self, name: str) -> str:
        """Ends a watcher and forgets its watch; its runs stay.

        Raises:
            NotFoundError: There is no watch of that name.
        """
        watch = self._ledger.watch(name)
        self._watchers.stop(name)
        self._ledger.forget(name)
        self._watchers.forget(name)
        return f"{watch.folder} is not watched any more by {name}; its runs stay."

    def _made(self, folder: str, rule: Rule, pipeline: Pipeline, options: RunOptions, notebook: str) -> Watch:
        from kfp_magics import compiler  # noqa: PLC0415  (imports kfp)

        backend = options.backend or self._settings.backend
        target = ""
        if backend != "local":  # the server of now, whatever one connects to later
            target = Connections(self._settings.home_path).get(backend, self._settings.connection).name
        return Watch(
            rule=rule,
            folder=folder,
            ir=pipeline.ir,
            backend=backend,
            options=SubmitOptions(
                experiment=options.experiment,
                cache=options.cache,
                executor=options.executor,
                notebook=notebook,
                target=target,
                sources={name: compiler.step_source(one) for name, one in pipeline.components.items()},
            ),
            settings=self._settings.trait_values() | {"home": str(self._settings.home_path.resolve())},
        )

    def _last(self, name: str) -> str:
        for run_id in self._ledger.runs(name)[:1]:
            run = self._store.known(run_id)
            return f"{MARKS[run.state]} {run.name}  {when(run.created)}" if run else f"{run_id} (deleted)"
        return ""


def _watching(name: str, folder: str) -> str:
    return f"Watching {folder}; %kfp_cd logs {name} tells what happens, %kfp_cd delete {name} ends it."


def _place(where: str) -> tuple[str, str]:
    """A folder, and the pattern of the files in it that count: ``incoming``, or ``incoming/**/*.csv``."""
    path = Path(where).expanduser()
    if path.is_dir() or not re.search(r"[*?\[]", where):
        folder = os.path.realpath(path)
        return folder, f"{literal(folder).rstrip('/')}/"
    parts = path.parts
    first = next(number for number, part in enumerate(parts) if re.search(r"[*?\[]", part))
    folder = os.path.realpath(Path(*parts[:first]))
    return folder, "/".join([literal(folder).rstrip("/"), *parts[first:]])
