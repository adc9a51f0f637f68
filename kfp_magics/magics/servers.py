"""Servers: ``%kfp_connect``, ``%kfp_upload``, ``%kfp_schedule``, ``%kfp_experiments``, ``%kfp_pipelines``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from IPython.core.magic import line_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments

from kfp_magics.errors import ArgumentError
from kfp_magics.magics.arguments import connect_arguments, schedule_arguments
from kfp_magics.magics.shell import KfpMagics, parse
from kfp_magics.options import SCHEDULE_VERBS

if TYPE_CHECKING:
    from kfp_magics.widgets.servers import CheckedCard, ConnectionsTable, KeptTable, Note, SchedulesTable


@magics_class
class ServerMagics(KfpMagics):
    """Servers that run pipelines."""

    @magic_arguments()
    @connect_arguments
    @line_magic
    def kfp_connect(self, line: str) -> CheckedCard | ConnectionsTable:
        """Has runs go somewhere else from now on, or to this machine again; lists what is known without a word.

        The server is asked at once whether it would take runs. What is kept of a login is the name of a variable or
        of a file, never what is in it.
        """
        from kfp_magics.widgets.servers import CheckedCard, ConnectionsTable  # noqa: PLC0415  (drawn only now)

        words = parse(self.kfp_connect, line)
        servers = self.session.servers
        if words.forget:
            servers.forget(words.where)
        if words.forget or not words.where:
            settings = self.session.settings
            return ConnectionsTable(list(servers.connections.all().values()), settings.backend, settings.connection)
        options = {name: value for name, value in vars(words).items() if name not in {"where", "forget"}}
        return CheckedCard(servers.connect(words.where, options))

    @magic_arguments()
    @argument("pipeline", help="Name of a pipeline, a step or a kfp function, or the path of a file.")
    @argument("--name", default="", help="Name on the server; the pipeline's when left out.")
    @argument("--version", default="", help="Name of the version; the time when left out.")
    @line_magic
    def kfp_upload(self, line: str) -> Note:
        """Puts a pipeline on the server; a pipeline that is there gets a new version."""
        from kfp_magics.widgets.servers import Note  # noqa: PLC0415  (drawn only now)

        words = parse(self.kfp_upload, line)
        pipeline = self.session.ready(words.pipeline, on_build=self.show_build)
        return Note(self.session.servers.upload(pipeline, name=words.name, version=words.version))

    @magic_arguments()
    @argument("verb", nargs="?", default="list", choices=SCHEDULE_VERBS, help="What to do.")
    @argument("what", nargs="?", default="", help="create: the pipeline; else the schedule, by name or id.")
    @argument("values", nargs="*", help="create: parameter=value")
    @schedule_arguments
    @line_magic
    def kfp_schedule(self, line: str) -> SchedulesTable:
        """Has a pipeline run again and again, on the server: kernel and notebook may be closed."""
        from kfp_magics.widgets.servers import SchedulesTable  # noqa: PLC0415  (drawn only now)

        words = parse(self.kfp_schedule, line)
        servers = self.session.servers
        if words.verb == "list":
            return SchedulesTable(servers.schedules())
        if not words.what:
            missing = "PIPELINE --every 1h" if words.verb == "create" else "NAME"
            raise ArgumentError(
                f"%kfp_schedule {words.verb} of what?",
                f"Write %kfp_schedule {words.verb} {missing}; %kfp_schedule list shows what there is.",
            )
        if words.verb == "create":
            from kfp_magics.scheduling import create_schedule  # noqa: PLC0415  (only when something is scheduled)

            return SchedulesTable([create_schedule(self.session, words.what, words, self.show_build)])
        if words.verb == "delete":
            servers.unschedule(words.what)
            return SchedulesTable(servers.schedules())
        return SchedulesTable([servers.switch(words.what, enabled=words.verb == "enable")])

    @magic_arguments()
    @line_magic
    def kfp_experiments(self, line: str) -> KeptTable:
        """Lists the experiments of the server; a run makes the one that it names."""
        from kfp_magics.widgets.servers import KeptTable  # noqa: PLC0415  (drawn only now)

        parse(self.kfp_experiments, line)
        return KeptTable(
            self.session.servers.experiments(), "experiments: %kfp_run PIPELINE --experiment NAME makes one"
        )

    @magic_arguments()
    @argument("name", nargs="?", default="", help="A pipeline, by name or id: its versions are listed.")
    @line_magic
    def kfp_pipelines(self, line: str) -> KeptTable:
        """Lists the pipelines of the server, or the versions of one."""
        from kfp_magics.widgets.servers import KeptTable  # noqa: PLC0415  (drawn only now)

        words = parse(self.kfp_pipelines, line)
        found = self.session.servers.pipelines(words.name)
        return KeptTable(found, f"{'versions' if words.name else 'pipelines'}: %kfp_upload PIPELINE makes one")
