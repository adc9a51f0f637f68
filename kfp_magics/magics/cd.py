"""New data starts a run: ``%kfp_cd``, ``%%kfp_cd``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from IPython.core.magic import line_cell_magic, magics_class, no_var_expand
from IPython.core.magic_arguments import argument, magic_arguments

from kfp_magics.errors import DeliveryError
from kfp_magics.magics.arguments import cloud_arguments
from kfp_magics.magics.shell import KfpMagics, parse
from kfp_magics.options import RunOptions

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterable, Sequence

    from kfp_magics.delivery.newdata.making import Wanted
    from kfp_magics.delivery.newdata.verbs import NewData

_FORMS = {
    "watch": "%kfp_cd watch DIR --run PIPELINE key=$uri",
    "create": "%kfp_cd create --on gs://BUCKET/PREFIX* --run PIPELINE key=$uri",
    "test": "%kfp_cd test FILE, a file of this machine or gs://BUCKET/NAME.",
    "logs": "%kfp_cd logs NAME; %kfp_cd list shows the names.",
    "delete": "%kfp_cd delete NAME; %kfp_cd list shows the names.",
}
_NAME = re.compile(r"\$(?:(\w+)|\{(\w+)\})")


@magics_class
class NewDataMagics(KfpMagics):
    """New data starts a run."""

    @magic_arguments()
    @argument("verb", choices=("watch", "create", "test", "list", "logs", "delete"), help="What to do.")
    @argument(
        "values",
        nargs="*",
        help="watch: a folder, or a pattern of files in one, then parameter=value. $uri, $name, $bucket, $size, $time "
        "and $generation are those of the new file, $uris those of all gathered ones; any other $name is a variable of "
        "the notebook. create: parameter=value. test: a file. logs, delete: the name of a watch, or of a function.",
    )
    @cloud_arguments
    @argument("--run", default="", metavar="PIPELINE", help="What a new file starts; named as in %%kfp_run.")
    @argument("--name", default="", help="Name of the watch; made of the folder and the pipeline.")
    @argument("--gather", type=float, default=0.0, metavar="S", help="One run for all files that come in S seconds.")
    @argument("--ignore", action="append", default=[], metavar="PATTERN", help="Files that start nothing: '*.model'.")
    @argument("--existing", action="store_true", help="Files that lie there already start runs as well.")
    @argument("--backend", default="", help="Where runs go; where they go now when left out.")
    @argument("--experiment", default="", help="KFP experiment of the runs.")
    @argument("--no-cache", action="store_true", help="Run every task again, whatever ran before.")
    @argument("--executor", default="", choices=["process", "container"], help="What carries out tasks here.")
    @no_var_expand
    @line_cell_magic
    def kfp_cd(self, line: str, cell: str = "") -> None:
        """Starts a run for each new file.

        watch DIR --run PIPELINE data=$uri watches a folder of this machine, also when the kernel is gone, and goes on
        where it stopped. As a cell magic the cell holds a function that takes the new file (event.uri, event.name,
        event.size, …) and returns parameters, or None to start nothing. list shows what is watched; logs tells what a
        watcher did; delete ends one.

        create --on gs://BUCKET/PREFIX* --run PIPELINE data=$uri does the same for a bucket: it writes a function, shows
        what would be deployed, and deploys it with --apply. test FILE serves the function here and sends it the event
        of a file. With --cloud, list, logs and delete are about functions.
        """
        words = parse(self.kfp_cd, line)
        for text in self._told(words, cell):
            self.write(f"{text}\n")

    def _told(self, words: Namespace, cell: str) -> Iterable[str]:
        from kfp_magics.delivery.newdata.verbs import NewData  # noqa: PLC0415  (only for new data)

        data = NewData(self.session.settings, self.session.store)
        if words.cloud or words.verb in {"create", "test"}:
            return self._in_cloud(words, cell)
        if words.verb == "list":
            return data.list()
        if words.verb == "watch":
            return self._watch(data, words, cell)
        if len(words.values) != 1:
            raise DeliveryError(f"It is not said which watch to {words.verb}.", _FORMS[words.verb])
        return [data.log(words.values[0]).rstrip("\n") if words.verb == "logs" else data.delete(words.values[0])]

    def _watch(self, data: NewData, words: Namespace, cell: str) -> Iterable[str]:
        where = expanded(words.values[0], self.shell.user_ns) if words.values else ""
        if not words.run:
            if cell or len(words.values) > 1:
                raise DeliveryError("It is not said what a new file starts.", _FORMS["watch"])
            return data.go_on(where)
        options, wanted = _run_options(words), self._wanted(words, words.values[1:], cell)
        pipeline = self.session.ready(words.run, self.show_build, options)
        return data.watch(where, pipeline, wanted, options, notebook=self.session.notebook, existing=words.existing)

    def _wanted(self, words: Namespace, values: Sequence[str], cell: str) -> Wanted:
        from kfp_magics.delivery.newdata.making import Wanted  # noqa: PLC0415  (only for new data)

        return Wanted(
            on=expanded(words.on, self.shell.user_ns),
            values=[expanded(one, self.shell.user_ns, keep=True) for one in values],
            name=words.name,
            function=cell,
            ignore=words.ignore,
            gather=words.gather,
        )

    def _in_cloud(self, words: Namespace, cell: str) -> Iterable[str]:
        from kfp_magics.delivery.cloud.options import CloudOptions  # noqa: PLC0415  (only for new data)
        from kfp_magics.delivery.cloud.verbs import CloudData  # noqa: PLC0415

        data = CloudData(self.session.settings, lambda: self.session.images)
        if words.verb == "create":
            if not words.run or not words.on:
                raise DeliveryError("It is not said which new objects start what.", _FORMS["create"])
            options = _run_options(words)
            pipeline = self.session.ready(words.run, self.show_build, options)
            wanted = self._wanted(words, words.values, cell)
            return data.create(pipeline, wanted, options, CloudOptions.of(words))
        if words.verb == "list":
            return data.list()
        if len(words.values) != 1:
            raise DeliveryError(f"It is not said what to {words.verb}.", _FORMS[words.verb])
        if words.verb == "test":
            file = expanded(words.values[0], self.shell.user_ns)
            return data.test(file, name=words.name, folder=Path(words.dir), connected=words.connected)
        return data.logs(words.values[0]) if words.verb == "logs" else [data.delete(words.values[0])]


def _run_options(words: Namespace) -> RunOptions:
    return RunOptions(
        backend=words.backend, experiment=words.experiment, cache=not words.no_cache, executor=words.executor
    )


def expanded(text: str, names: dict[str, object], *, keep: bool = False) -> str:
    """Puts variables of the notebook into a word: IPython would also put them where a new file's facts belong.

    Args:
        text: The word.
        names: The variables.
        keep: Whether ``$uri`` and the like are the new file's, whatever the notebook calls so.
    """
    from kfp_magics.delivery.newdata.rules import PLACEHOLDERS  # noqa: PLC0415  (only for new data)

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if (keep and name in PLACEHOLDERS) or name not in names or text[: found.start()].endswith("$"):
            return found[0]
        return str(names[name]).replace("$", "$$") if keep else str(names[name])

    return _NAME.sub(value, text)
