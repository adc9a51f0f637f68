"""Everything the magics and the command line can do, as methods: what a notebook defined, and its runs."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from kfp_magics import arguments as words_
from kfp_magics import starting
from kfp_magics.backends.known import Backends
from kfp_magics.definitions import Definitions
from kfp_magics.errors import NotFoundError, RunFailedError
from kfp_magics.model import Json, Pipeline, Run, State, Task
from kfp_magics.options import BuildOptions, PartOptions, RunOptions
from kfp_magics.runs import look
from kfp_magics.settings import Settings
from kfp_magics.sources import called

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping

    from kfp_magics.backends.base import Backend, StepSource
    from kfp_magics.building.build import Build
    from kfp_magics.building.images import Images
    from kfp_magics.cells.options import CellOptions
    from kfp_magics.handles import ComposedPipeline, Step
    from kfp_magics.runs.compare import Comparison
    from kfp_magics.runs.store import Store
    from kfp_magics.runs.watch import Watcher
    from kfp_magics.servers import Servers
    from kfp_magics.starting import Start
    from kfp_magics.trying import Replay, Trial


OnBuild: TypeAlias = "Callable[[Build], None]"


def _unseen(_build: Build) -> None:
    """For those who do not look."""


class Session:
    """What one notebook, script or command line defined, and where its runs go.

    Args:
        settings: Where things are kept and how they run.
        namespace: The names of the notebook; steps read it and are put into it.
        notebook: Path of the notebook, as far as known.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        namespace: MutableMapping[str, Any] | None = None,
        notebook: str = "",
    ) -> None:
        self.settings = settings or Settings()
        self.notebook = notebook
        self.cell_id = ""
        self.definitions = Definitions({} if namespace is None else namespace, notebook, self.settings.base_image)
        self._store: Store | None = None
        self._images: Images | None = None
        self._watcher: Watcher | None = None
        self._backends: Backends | None = None

    # Author

    def component(self, body: str, options: CellOptions, cell_id: str = "") -> Step | list[str]:
        """Makes a step of a cell.

        Args:
            body: The cell without its magic line.
            options: The words of the magic line.
            cell_id: The notebook cell.

        Returns:
            The step, or the names that a cell with kfp's own decorators defined.

        Raises:
            DefinitionError: The cell or an option is not what it must be.
        """
        return self.definitions.component(body, options, cell_id)

    def pipeline(self, body: str, *, name: str = "", entry: str = "", cell_id: str = "") -> ComposedPipeline:
        """Composes a pipeline from a cell of ordinary KFP DSL.

        Args:
            body: The cell without its magic line.
            name: KFP name of the pipeline; the function's when empty.
            entry: The function that is the pipeline; the last one when empty.
            cell_id: The notebook cell.

        Raises:
            DefinitionError: The cell does not compose a pipeline.
        """
        return self.definitions.pipeline(body, name=name, entry=entry, cell_id=cell_id)

    def part(self, name: str, options: PartOptions, cell_id: str = "") -> ComposedPipeline:
        """Makes a pipeline of the last steps of another; see `Definitions.part`."""
        return self.definitions.part(
            name, options, lambda of, text: look.run_of(self.store, self.find, of, text), cell_id=cell_id
        )

    def resolve(self, what: object) -> Pipeline:
        """Finds a pipeline by what the user names.

        A pipeline whose steps were defined anew since it was composed is composed again.

        Args:
            what: The name of a pipeline, of a step or of a kfp function, the path of an IR file, or such an object.

        Raises:
            NotFoundError: Nothing of that name can be run.
            DefinitionError: It does not compile.
        """
        return self.definitions.resolve(what)

    def compile(self, what: object, path: str | Path = "", *, build: bool = False, on_build: OnBuild = _unseen) -> Path:
        """Writes the IR of a pipeline to a file, whole or not at all.

        Args:
            what: As in `resolve`.
            path: File to write, or folder for ``<pipeline>.yaml``; here when empty.
            build: Steps run in images, by digest; those that are missing are built first.
            on_build: Told of the build, if there is one.

        Returns:
            The file written.
        """
        from kfp_magics import ir as irs  # noqa: PLC0415  (reads YAML, which authoring does not)

        pipeline = self.resolve(what)
        if build:
            pipeline = self.images.in_images(pipeline, BuildOptions(), on_build, notebook=self.notebook)
        return irs.write(pipeline.ir, Path(path), f"{pipeline.name}.yaml")

    # Build

    @property
    def images(self) -> Images:
        """What can be done about images of steps."""
        if self._images is None:
            from kfp_magics.building.images import Images  # noqa: PLC0415  (not needed to author)

            self._images = Images(self.settings, self.definitions, lambda: self.store)
        return self._images

    def build(self, names: Iterable[str] = (), options: BuildOptions | None = None) -> Build:
        """Builds the images of steps in the background, and returns at once.

        Args:
            names: Of steps, and of pipelines for all of theirs; all steps when there are none.
            options: How.

        Raises:
            NotFoundError: There is no step or pipeline of a name.
            BuildError: It is not said where images go.
        """
        return self.images.build(self.images.components(names), options or BuildOptions(), notebook=self.notebook)

    # Run

    @property
    def store(self) -> Store:
        """What is remembered of runs."""
        if self._store is None:
            from kfp_magics.runs.store import Store  # noqa: PLC0415  (not needed to author)

            self._store = Store(self.settings.store_path)
        return self._store

    @property
    def watcher(self) -> Watcher:
        """The thread that tells what changed in runs that are looked at."""
        if self._watcher is None:
            from kfp_magics.runs.watch import Watcher  # noqa: PLC0415  (not needed to author)

            self._watcher = Watcher(
                self.store, lambda run: self.backend(run.backend).poll(run), self.settings.poll_interval
            )
        return self._watcher

    @property
    def backends(self) -> Backends:
        """Where pipelines can run, by name."""
        if self._backends is None:
            self._backends = Backends(self.settings, self.store)
        return self._backends

    @property
    def servers(self) -> Servers:
        """Where runs can go besides this machine."""
        from kfp_magics.servers import Servers  # noqa: PLC0415  (not needed to author)

        return Servers(self.settings, self.backends)

    def backend(self, name: str = "") -> Backend:
        """Gives the backend of a name, or the one of the settings.

        Raises:
            BackendError: There is no such backend.
        """
        return self.backends[name]

    def run(
        self,
        what: object,
        given: Iterable[str] | Mapping[str, Json] = (),
        options: RunOptions | None = None,
        *,
        on_build: OnBuild = _unseen,
    ) -> Run:
        """Starts a pipeline and returns at once, or when the images that it needs are built.

        Args:
            what: As in `resolve`.
            given: ``key=value`` words, or typed values by name.
            options: Where and how.
            on_build: Told of the build, if there is one.

        Returns:
            The run as it starts.

        Raises:
            ArgumentError: An argument is missing, unknown or of the wrong type; nothing was started.
            BuildError: An image cannot be built; nothing was started.
        """
        return self.start(self.prepare(what, given, options or RunOptions()), on_build)

    def prepare(self, what: object, given: Iterable[str] | Mapping[str, Json], options: RunOptions) -> Start:
        """Makes a run ready, which then says what it would do and why; builds and starts nothing; see `run`."""
        from kfp_magics.planning import Planner  # noqa: PLC0415  (not needed to author)

        pipeline = self.resolve(what)
        values, planner = self.values(given, pipeline), Planner(self.settings, self.store, self.find)
        backend = self.backend(options.backend)
        with called(what, pipeline.name):
            return starting.prepare(planner, backend, pipeline, values, options, look=self.images.looked)

    def start(self, ready: Start, on_build: OnBuild = _unseen) -> Run:
        """Starts what `prepare` made ready, when the images that it lacks are built."""
        pipeline = self.images.finished(ready.looked, ready.options, on_build, notebook=self.notebook)
        backend = self.backend(ready.options.backend)
        return starting.submit(backend, pipeline, ready.values, ready.options, notebook=self.notebook)

    def ready(self, what: object, on_build: OnBuild = _unseen, options: RunOptions | None = None) -> Pipeline:
        """A pipeline as it would run where runs go now: in its images, built first where they are missing."""
        from kfp_magics.parts import placed  # noqa: PLC0415  (not needed to author)

        pipeline, options = self.resolve(what), options or RunOptions()
        placed(pipeline, {}, options.backend or self.settings.backend)
        starting.refuse(self.backend(options.backend), pipeline, options)
        return self.images.for_run(pipeline, options, on_build, notebook=self.notebook)

    def values(self, given: Iterable[str] | Mapping[str, Json], pipeline: Pipeline) -> dict[str, Json]:
        """Types the arguments of a pipeline: ``key=value`` words, or values by name."""
        from collections.abc import Mapping  # noqa: PLC0415  (at run time only here)

        if not isinstance(given, Mapping):
            given = words_.typed(words_.split_words(given), pipeline.parameters, f"pipeline {pipeline.name!r}")
        return words_.given(given, pipeline.parameters)

    def wait(self, run: Run, on_change: Callable[[Run], None] | None = None) -> Run:
        """Waits until a run has ended.

        Args:
            run: The run.
            on_change: Called with the run at each change.

        Returns:
            The run as it succeeded.

        Raises:
            RunFailedError: It ended otherwise: the failed step, its cell line, the last log lines and a hint.
            WaitInterrupted: There was an interrupt; the run goes on.
        """
        with look.waiting(run):
            ended = self.watcher.wait(run.id, on_change)
        if ended.state is not State.SUCCEEDED:
            raise self.failure(ended)
        return ended

    def failure(self, run: Run) -> RunFailedError:
        """Says why a run did not succeed, with the last lines that the failed step printed."""
        return look.failure(
            run, lambda run, task: self.log_tail(run, task, lines=8), lambda task: self._is_from_a_cell(run, task)
        )

    def _is_from_a_cell(self, run: Run, task: Task) -> bool:
        from kfp_magics.ir import look_up  # noqa: PLC0415  (reads YAML, which authoring does not)

        with suppress(NotFoundError):
            return bool(task.cell_id) or look_up(self.sources(run), task.component) is not None
        return False

    # Look

    def runs(self, **filters: Any) -> list[Run]:  # noqa: ANN401  (those of Store.list)
        """Lists runs, newest first, as they stand now."""
        from kfp_magics.runs.watch import refresh  # noqa: PLC0415  (not needed to author)

        refresh(self.store, self.backends)
        return self.store.list(**filters)

    def find(self, text: str = "") -> Run:
        """Finds a run as it stands now: by id, by the start of an id, by name, ``last``, ``-2`` for the one before.

        Raises:
            NotFoundError: There is none.
        """
        return look.find_run(self.store, self.backends, text)

    def find_task(self, run: Run, text: str) -> Task:
        """Finds a task of a run by id, name, or component; of several, the one that failed or started last.

        Raises:
            NotFoundError: There is none.
        """
        return look.find_task(run, text)

    def logs(self, run: Run, step: str = "", *, follow: bool = False) -> Iterator[str]:
        """Gives the log of a step, or of all steps one after the other under their names."""
        backend = self.backend(run.backend)
        if step:
            pieces = backend.logs(run, self.find_task(run, step), follow=follow)
        else:
            pieces = look.all_logs(run, backend, self.find, follow=follow, interval=self.settings.poll_interval)
        return look.followed(run, pieces) if follow else pieces

    def log_tail(self, run: Run, task: Task, lines: int = 200) -> str:
        """The last lines of a task's log."""
        return look.log_tail(run, task, self.backend(run.backend), lines)

    def compare(self, a: Run, b: Run) -> Comparison:
        """Finds what differs between two runs: parameters, metrics, durations, images and source."""
        from kfp_magics.runs.compare import compare  # noqa: PLC0415  (not needed to author)

        return compare(a, b, sources_a=self.sources_text(a), sources_b=self.sources_text(b))

    def sources(self, run: Run) -> Mapping[str, StepSource]:
        """Step → the cell it came from, as it was when the run started."""
        from kfp_magics.backends.local import request_of  # noqa: PLC0415  (not needed to author)

        return request_of(self.settings, run).options.sources

    def sources_text(self, run: Run) -> dict[str, str]:
        """Step → the text of its cell when the run started."""
        return {name: source.source for name, source in self.sources(run).items()}

    # Act

    def cancel(self, text: str) -> Run:
        """Asks for the end of a run; exit handlers still run."""
        run = self.find(text)
        self.backend(run.backend).cancel(run)
        return self.find(run.id)

    def retry(self, text: str) -> Run:
        """Resumes a failed or cancelled run: what succeeded is kept."""
        run = self.find(text)
        return self.backend(run.backend).retry(run)

    def clone(self, text: str, given: Iterable[str] = (), options: RunOptions | None = None) -> Run:
        """Starts a run of the same compiled pipeline, with the same arguments but for those given."""
        from kfp_magics.runs import actions  # noqa: PLC0415  (not needed to author)

        run = self.find(text)
        again = actions.again(self.settings, run, given, options or RunOptions())
        return actions.clone(self.settings, self.backends, run, again)

    # One step

    def try_step(self, name: str, given: Iterable[str] = (), options: RunOptions | None = None) -> Trial:
        """Runs one step alone in a clean process, fed with live objects or files, and waits for it.

        Args:
            name: The step.
            given: ``input=value`` words; an artifact's value is a kernel variable or a path.
            options: How; every trial is a run of kind ``try``.

        Returns:
            The run and the outputs.

        Raises:
            RunFailedError: The step failed.
            WaitInterrupted: There was an interrupt; the step was ended.
        """
        from kfp_magics import compiler, trying  # noqa: PLC0415  (imports kfp)

        component = self.definitions.step(name).component
        names = self.definitions.namespace
        options = replace(options or RunOptions(cache=False), backend="local")  # live objects stay on this machine
        pipeline = self.images.for_run(compiler.single_step(component), options, _unseen, notebook=self.notebook)
        fed = trying.feed(component, words_.split_words(given), names, trying.feed_folder(self.settings.home_path))
        run = starting.submit(
            self.backend("local"),
            pipeline,
            fed.parameters,
            options,
            notebook=self.notebook,
            kind="try",
            input_artifacts=fed.artifacts,
        )
        with trying.ended_with_the_wait(run, name, self.cancel):
            ended = self.wait(run)
        task = next(task for task in ended.tasks if task.has_log)
        return trying.Trial(run=ended, outputs=trying.outputs(component, task, names))

    def replay(self, text: str, step: str) -> Replay:
        """Gives a step's inputs and its code as it ran in a run.

        Raises:
            NotFoundError: There is no such run or step, or its code is not remembered.
        """
        from kfp_magics import trying  # noqa: PLC0415  (not needed to author)

        run = self.find(text)
        return trying.replay(self.find_task(run, step), self.sources(run))
