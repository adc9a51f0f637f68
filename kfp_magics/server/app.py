"""The extension: Jupyter Server finds it by `kfp_magics._jupyter_server_extension_points`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_server.extension.application import ExtensionApp

from kfp_magics.server import content, insight, runs
from kfp_magics.server.base import SERVICE
from kfp_magics.server.events import SCHEMA, SCHEMA_ID, Watch
from kfp_magics.server.service import Service
from kfp_magics.settings import Settings

if TYPE_CHECKING:
    from kfp_magics.model import Json
    from kfp_magics.server.base import Handler

ROUTES: tuple[tuple[str, type[Handler]], ...] = (
    ("/status", runs.StatusHandler),
    ("/runs", runs.RunsHandler),
    ("/facets", runs.FacetsHandler),
    ("/compare", insight.CompareHandler),
    ("/badges", insight.BadgesHandler),
    ("/pipelines/describe", insight.DescribeHandler),
    ("/runs/{run_id}", runs.RunHandler),
    ("/runs/{run_id}/task", runs.TaskHandler),
    ("/runs/{run_id}/pipeline", insight.PipelineHandler),
    ("/runs/{run_id}/log", content.LogHandler),
    ("/runs/{run_id}/log/search", content.LogSearchHandler),
    ("/runs/{run_id}/log/file", content.LogFileHandler),
    ("/runs/{run_id}/artifact", content.ArtifactHandler),
    ("/runs/{run_id}/artifact/info", content.ArtifactInfoHandler),
    ("/runs/{run_id}/cancel", runs.CancelHandler),
    ("/runs/{run_id}/retry", runs.RetryHandler),
    ("/runs/{run_id}/clone", runs.CloneHandler),
    ("/runs/{run_id}/archive", runs.ArchiveHandler),
)
"""Path as the API description writes it → its handler."""

PREFIX = "/kfp-magics/api"


class KfpMagicsApp(ExtensionApp):
    """Runs of pipelines beside the notebook."""

    name = "kfp_magics"

    def initialize_settings(self) -> None:
        """Opens the store's door and begins to watch; Jupyter calls no later hook in every version and test."""
        server = self.serverapp
        assert server is not None
        service = Service(Settings(), getattr(server.contents_manager, "root_dir", ""))
        self.settings[SERVICE] = service
        logger = server.event_logger
        assert logger is not None
        if SCHEMA_ID not in logger.schemas:
            logger.register_event_schema(SCHEMA)

        def emit(data: dict[str, Json]) -> None:
            logger.emit(schema_id=SCHEMA_ID, data=data)

        self._service = service
        self._watch = Watch(service, emit, self.log)
        server.io_loop.add_callback(self._watch.start)

    def initialize_handlers(self) -> None:
        """Adds the routes."""
        self.handlers.extend((PREFIX + path.replace("{run_id}", "([^/]+)"), handler) for path, handler in ROUTES)

    async def stop_extension(self) -> None:
        """Ends the watch and lets go of the store, when the server stops."""
        await self._watch.stop()
        await self._service.close()
