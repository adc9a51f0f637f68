"""HTTP on a port of this machine, answered by a thread."""

from __future__ import annotations

import threading
from http.server import HTTPServer


class Serving:
    """A server that answers until it is closed.

    Args:
        server: What answers; it listens already.

    Attributes:
        url: Where.
    """

    def __init__(self, server: HTTPServer) -> None:
        self._server = server
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        self._thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
