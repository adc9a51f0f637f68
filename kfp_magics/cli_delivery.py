"""The command line's verbs of delivery: ``export``, ``ci`` and ``cd``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kfp_magics.delivery.cloud.options import CREATE, SHARED, TEST, CloudOptions
from kfp_magics.errors import DeliveryError
from kfp_magics.options import BUILDERS, PLATFORMS, BuildOptions, RunOptions

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from kfp_magics.delivery.newdata.making import Wanted
    from kfp_magics.session import Session

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001  (argparse has no public name for it)
    Author = Callable[[str], Session]
    Open = Callable[[str, str], tuple[Session, str]]


def add(commands: Commands, author: Author, open_source: Open) -> None:
    """Adds the verbs.

    Args:
        commands: Where.
        author: Gives the session of a notebook, by its path.
        open_source: Gives the session that knows a pipeline, by the file that has it and its name there, and what to
            call it.
    """
    export = commands.add_parser("export", help="write a notebook as a repository of steps and pipelines")
    export.add_argument("source", help="notebook (.ipynb)")
    export.add_argument("folder", metavar="DIR", help="folder of the repository")
    export.add_argument("--registry", default="", help="where images go: HOST/PATH")
    export.add_argument("--platform", default="", choices=PLATFORMS, metavar="OS/ARCH", help="linux/amd64, linux/arm64")
    export.add_argument("--upgrade", action="store_true", help="look anew for base images and requirements")
    export.add_argument("--replace", action="store_true", help="also replace files that were changed by hand")
    export.set_defaults(command=lambda words: _export(words, author))

    _add_ci(commands, author)
    _add_cd(commands, open_source)


def _add_ci(commands: Commands, author: Author) -> None:
    verbs = commands.add_parser("ci", help="what a commit rebuilds, and rebuilding it").add_subparsers(
        required=True, metavar="VERB", dest="ci_verb"
    )
    plan = verbs.add_parser("plan", help="which images a change rebuilds, and why")
    plan.set_defaults(command=_plan)
    run = verbs.add_parser("run", help="rebuild here the images that a range of commits changes")
    run.add_argument("--registry", default="", help="where images go: HOST/PATH, or oci:FOLDER")
    run.add_argument("--builder", default="", choices=BUILDERS, metavar="NAME", help=f"one of {', '.join(BUILDERS)}")
    run.set_defaults(command=_run)
    for verb, until in ((plan, ""), (run, "HEAD")):
        verb.add_argument("--since", default="HEAD", required=verb is run, help="commit before the change")
        meant = "HEAD" if until else "the files as they lie there"
        verb.add_argument("--until", default=until, help=f"commit after it; {meant} when left out")
        verb.add_argument("--or-all", action="store_true", help="take everything when the commit is not in this clone")
    check = verbs.add_parser("check", help="fail when a notebook and what was exported from it differ")
    check.add_argument("source", help="notebook (.ipynb)")
    check.add_argument("--registry", default="", help="where images go, as in the export")
    check.set_defaults(command=lambda words: _check(words, author))
    pin = verbs.add_parser("pin", help="after a change by hand, name the images that the folders now give")
    pin.add_argument("--check", action="store_true", help="change nothing; fail when another image is named")
    pin.set_defaults(command=_pin)
    hook = verbs.add_parser("hook", help="let each commit rebuild what it changed")
    hook.add_argument("--registry", default="", help="where images go: HOST/PATH, or oci:FOLDER")
    hook.set_defaults(command=_hook)
    _add_triggers(verbs)
    for verb in (plan, run, check, pin, hook):
        verb.add_argument("--dir", default=".", help="the exported folder; this one when left out")


def _add_triggers(verbs: Commands) -> None:
    create = verbs.add_parser("create", help="make one Cloud Build trigger for each step's folder")
    create.add_argument(
        "--repo", required=True, help="OWNER/NAME on GitHub, or the full name of a 2nd-generation repository"
    )
    create.add_argument("--branch", default="^main$", help="regular expression of branches")
    create.add_argument("--registry", default="", help="where images go: HOST/PATH")
    create.add_argument("--apply", action="store_true", help="do it; without this it is only shown")
    create.add_argument("--dir", default=".", help="the exported folder; this one when left out")
    create.set_defaults(command=_create)
    for name, what in (("list", "list the triggers"), ("delete", "delete triggers"), ("fire", "run triggers now")):
        other = verbs.add_parser(name, help=what)
        other.set_defaults(command=_others, names=[], branch="main")
        if name == "list":
            other.set_defaults(command=_list)
            other.add_argument("--dir", default=".", help="the exported folder; this one when left out")
        else:
            other.add_argument("names", nargs="+", metavar="NAME", help="triggers, or steps")
        if name == "fire":
            other.add_argument("--branch", default="main", help="of which branch")


def _add_cd(commands: Commands, open_source: Open) -> None:
    verbs = commands.add_parser("cd", help="start a run for each new file").add_subparsers(
        required=True, metavar="VERB", dest="cd_verb"
    )
    watch = verbs.add_parser("watch", help="watch a folder of this machine; go on where watching stopped")
    watch.add_argument("folder", nargs="?", default="", metavar="DIR", help="folder, or a pattern of files in one")
    _add_rule(watch)
    watch.add_argument("--run", default="", metavar="SOURCE", help="notebook (.ipynb), Python file or pipeline (.yaml)")
    watch.add_argument("--name", default="", help="name of the watch; made of the folder and the pipeline")
    watch.add_argument("--existing", action="store_true", help="files that lie there already start runs as well")
    watch.add_argument("--no-cache", action="store_true", help="run every task again")
    watch.add_argument("--executor", default="", choices=["process", "container"], help="what carries out tasks here")
    watch.set_defaults(command=lambda words: _watch(words, open_source), on="")
    _add_cloud(verbs, open_source)
    known = verbs.add_parser("list", help="what is watched, and what came of it")
    for name, what in (("logs", "what a watcher did"), ("delete", "end a watcher; its runs stay"), ("list", "")):
        other = known if name == "list" else verbs.add_parser(name, help=what)
        if name != "list":
            other.add_argument("name", help="name of the watch, or of the function")
        other.add_argument("--cloud", action="store_true", help="of functions in the cloud")
        other.set_defaults(command=_new_data)


def _add_rule(verb: argparse.ArgumentParser) -> None:
    """What starts a run of what, wherever new files are seen."""
    verb.add_argument("values", nargs="*", metavar="key=value", help="arguments of the pipeline: 'data=$uri' epochs=3")
    verb.add_argument("--pipeline", default="", help="which pipeline of it; needed when it has several")
    verb.add_argument("--function", default="", metavar="FILE", help="Python file; its last function takes the event")
    verb.add_argument("--gather", type=float, default=0.0, metavar="S", help="one run for all that comes in S seconds")
    verb.add_argument("--ignore", action="append", default=[], metavar="PATTERN", help="files that start nothing")
    verb.add_argument("--backend", default="", help="where runs go; the setting 'backend' when left out")
    verb.add_argument("--experiment", default="", help="KFP experiment of the runs")


def _add_cloud(verbs: Commands, open_source: Open) -> None:
    create = verbs.add_parser("create", help="deploy a function that starts a run for each new object of a bucket")
    _add_rule(create)
    create.add_argument("--run", required=True, metavar="SOURCE", help="notebook (.ipynb), Python file or pipeline")
    test = verbs.add_parser("test", help="serve a function here and send it the event of a file")
    test.add_argument("file", help="a file of this machine, or gs://BUCKET/NAME")
    for verb, options in ((create, (*CREATE, *SHARED)), (test, (*TEST, *SHARED))):
        verb.add_argument("--name", default="", help="name of the function")
        for word, how in options:
            verb.add_argument(word, **how)
    create.set_defaults(command=lambda words: _create_function(words, open_source))
    test.set_defaults(command=_test_function)


def _watch(words: argparse.Namespace, open_source: Open) -> int:
    from kfp_magics.delivery.newdata.verbs import NewData  # noqa: PLC0415
    from kfp_magics.session import Session  # noqa: PLC0415

    if not words.run:
        if words.values:
            raise DeliveryError("It is not said what a new file starts.", "Name it: --run NOTEBOOK.ipynb")
        session = Session()
        lines = NewData(session.settings, session.store).go_on(words.folder)
    else:
        session, what = open_source(words.run, words.pipeline)
        options = RunOptions(
            backend=words.backend,
            experiment=words.experiment,
            cache=not words.no_cache,
            executor=words.executor,
            started_by="cli",
        )
        wanted = _wanted(words)
        lines = NewData(session.settings, session.store).watch(
            words.folder,
            session.ready(what, lambda _: None, options),
            wanted,
            options,
            notebook=session.notebook,
            existing=words.existing,
        )
    for line in lines:
        print(_spoken(line))
    return 0


def _wanted(words: argparse.Namespace) -> Wanted:
    from kfp_magics.delivery.newdata.making import Wanted  # noqa: PLC0415  (only for new data)

    return Wanted(
        on=words.on,
        values=words.values,
        name=words.name,
        function=_text_of(words.function),
        ignore=words.ignore,
        gather=words.gather,
    )


def _create_function(words: argparse.Namespace, open_source: Open) -> int:
    from kfp_magics.delivery.cloud.verbs import CloudData  # noqa: PLC0415  (only for new data)

    session, what = open_source(words.run, words.pipeline)
    options = RunOptions(backend=words.backend, experiment=words.experiment, started_by="cli")
    wanted = _wanted(words)
    pipeline = session.ready(what, lambda _: None, options)
    for line in CloudData(session.settings, lambda: session.images).create(
        pipeline, wanted, options, CloudOptions.of(words)
    ):
        print(_spoken(line))
    return 0


def _test_function(words: argparse.Namespace) -> int:
    from kfp_magics.delivery.cloud.verbs import CloudData  # noqa: PLC0415  (only for new data)
    from kfp_magics.session import Session  # noqa: PLC0415

    session = Session()
    data = CloudData(session.settings, lambda: session.images)
    for line in data.test(words.file, name=words.name, folder=Path(words.dir), connected=words.connected):
        print(_spoken(line))
    return 0


def _spoken(line: str) -> str:
    """Says what to type as it is typed in a shell."""
    return line.replace("%kfp_cd", "kfp-magics cd").replace("PIPELINE key=$uri", "NOTEBOOK.ipynb 'key=$uri'")


def _text_of(file: str) -> str:
    if not file:
        return ""
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DeliveryError(f"The file {file!r} cannot be read: {error}.", "Give a Python file.") from error


def _new_data(words: argparse.Namespace) -> int:
    from kfp_magics.delivery.newdata.verbs import NewData  # noqa: PLC0415  (only for new data)
    from kfp_magics.session import Session  # noqa: PLC0415

    session = Session()
    if words.cloud:
        return _in_cloud(words, session)
    data = NewData(session.settings, session.store)
    if words.cd_verb == "list":
        for line in data.list():
            print(_spoken(line))
    else:
        print(data.log(words.name).rstrip("\n") if words.cd_verb == "logs" else data.delete(words.name))
    return 0


def _in_cloud(words: argparse.Namespace, session: Session) -> int:
    from kfp_magics.delivery.cloud.verbs import CloudData  # noqa: PLC0415  (only for new data)

    data = CloudData(session.settings, lambda: session.images)
    if words.cd_verb == "delete":
        print(data.delete(words.name))
        return 0
    for line in data.list() if words.cd_verb == "list" else data.logs(words.name):
        print(_spoken(line))
    return 0


def _create(words: argparse.Namespace) -> int:
    from kfp_magics.delivery.verbs import create  # noqa: PLC0415  (imports Google's clients)
    from kfp_magics.session import Session  # noqa: PLC0415

    session = Session()
    registry = session.images.destination(BuildOptions(registry=words.registry))
    for line in create(
        session.settings,
        Path(words.dir),
        repository=words.repo,
        branch=words.branch,
        registry=registry,
        apply=words.apply,
    ):
        print(line)
    return 0


def _list(words: argparse.Namespace) -> int:
    from kfp_magics.delivery.verbs import listed  # noqa: PLC0415  (imports Google's clients)
    from kfp_magics.settings import Settings  # noqa: PLC0415

    for line in listed(Settings(), Path(words.dir)):
        print(line)
    return 0


def _others(words: argparse.Namespace) -> int:
    from kfp_magics.delivery.verbs import others  # noqa: PLC0415  (imports Google's clients)
    from kfp_magics.settings import Settings  # noqa: PLC0415

    for line in others(Settings(), words.ci_verb, words.names, words.branch):
        print(line)
    return 0


def _plan(words: argparse.Namespace) -> int:
    from kfp_magics.delivery.plan import planned  # noqa: PLC0415  (only for CI)

    with planned(Path(words.dir), words.since, words.until, or_all=words.or_all) as plan:
        print(plan)
    return 0


def _run(words: argparse.Namespace) -> int:
    from kfp_magics.delivery.plan import planned  # noqa: PLC0415  (only for CI)
    from kfp_magics.delivery.run import rebuild_here  # noqa: PLC0415
    from kfp_magics.settings import Settings  # noqa: PLC0415

    options = BuildOptions(builder=words.builder, registry=words.registry, started_by="cli")
    with planned(Path(words.dir), words.since, words.until, or_all=words.or_all) as plan:
        print(plan, flush=True)
        for folder, image in rebuild_here(plan, Settings(), options, print).items():
            print(f"{folder} {image}")
    return 0


def _check(words: argparse.Namespace, author: Author) -> int:
    session = author(words.source)
    exported = session.images.exported(BuildOptions(registry=words.registry), notebook=session.notebook)
    found = exported.differences(Path(words.dir))
    print("".join(found.values()), end="")
    if found:
        raise DeliveryError(
            f"The notebook differs from {len(found)} exported file{'s' if len(found) > 1 else ''}.",
            f"Export again: kfp-magics export {words.source} {words.dir}",
        )
    print("The notebook and the exported files agree.")
    return 0


def _pin(words: argparse.Namespace) -> int:
    from kfp_magics.delivery.pin import pin, strays  # noqa: PLC0415  (only for CI)

    folder = Path(words.dir)
    found = strays(folder) if words.check else pin(folder)
    for name, tag in found.items():
        print(f"{name}: {tag}")
    if found and words.check:
        raise DeliveryError(
            f"The component.yaml of {', '.join(found)} names another image than the folder gives.",
            f"The folder was changed by hand: kfp-magics ci pin --dir {folder}",
        )
    if not found:
        print("Each component.yaml names the image that its folder gives.")
    return 0


def _hook(words: argparse.Namespace) -> int:
    from kfp_magics.delivery.hook import install  # noqa: PLC0415  (only for CI)
    from kfp_magics.session import Session  # noqa: PLC0415

    registry = Session().images.destination(BuildOptions(registry=words.registry))
    print(f"Each commit now rebuilds what it changed: {install(Path(words.dir), registry)}")
    return 0


def _export(words: argparse.Namespace, author: Author) -> int:
    from kfp_magics.widgets.delivered import ExportCard  # noqa: PLC0415  (only when something is exported)

    options = BuildOptions(registry=words.registry, platform=words.platform, upgrade=words.upgrade, started_by="cli")
    session = author(words.source)
    exported = session.images.exported(options, notebook=session.notebook)
    print(ExportCard(exported.write(Path(words.folder), force=words.replace)))
    return 0
