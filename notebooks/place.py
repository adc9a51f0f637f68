"""A place for one web app on this machine, as Cloud Run is one elsewhere: ``python place.py FOLDER``.

It answers as ``app.py`` in the folder says, takes a new ``app.py`` with the next question, writes its address to the
file ``address``, and ends when that file is gone or another place has written it.
"""

from __future__ import annotations

import json
import sys
import threading
import time
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from urllib.parse import parse_qsl, urlsplit


class Place(ThreadingHTTPServer):
    """Serves the app of a folder on a free port of loopback."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Question)
        self._file = folder / "app.py"
        self._app = ModuleType("app")
        self._written = 0
        self._guard = threading.Lock()
        self._address = folder / "address"
        draft = folder / ".address"
        draft.write_text(self.url, encoding="utf-8")
        draft.replace(self._address)

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.server_port}"

    def is_wanted(self) -> bool:
        """Whether the folder is still its own."""
        try:
            return self._address.read_text(encoding="utf-8") == self.url
        except OSError:
            return False

    def app(self) -> ModuleType:
        """The app as it stands in the folder now."""
        with self._guard:
            written = self._file.stat().st_mtime_ns
            if written != self._written:
                app = ModuleType("app")
                app.__file__ = str(self._file)
                exec(compile(self._file.read_bytes(), self._file, "exec"), vars(app))  # noqa: S102  (serving it is the point)
                self._app, self._written = app, written
            return self._app


class Question(BaseHTTPRequestHandler):
    """``GET /?name=value`` is ``app.answer(name=value)``, as JSON."""

    server: Place

    def do_GET(self) -> None:
        """Answers, and says in JSON what went wrong as well."""
        try:
            code, said = 200, self.server.app().answer(**dict(parse_qsl(urlsplit(self.path).query)))
        except FileNotFoundError as error:
            code, said = 503, {"error": f"nothing is deployed yet: {error}"}
        except Exception as error:  # noqa: BLE001  (the app's own mistake must not end the place)
            traceback.print_exc()
            code, said = 500, {"error": f"{type(error).__name__}: {error}"}
        body = json.dumps(said).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Serves as long as the folder is its own."""
    place = Place(Path(sys.argv[1]))
    threading.Thread(target=place.serve_forever, daemon=True).start()
    while place.is_wanted():
        time.sleep(0.2)


if __name__ == "__main__":
    main()
