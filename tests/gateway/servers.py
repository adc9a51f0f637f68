"""A plugin with one fixture: the door to the local engine, served by a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

TOKEN = "a-token-for-these-tests"


@dataclass
class Gateway:
    """``kfp-magics serve`` as a process, with a home of its own.

    Attributes:
        home: Where it keeps everything.
        url: Where it answers.
        token: What clients must send.
        said: What it printed when it began.
    """

    home: Path
    token: str = TOKEN
    url: str = ""
    said: str = ""
    _process: subprocess.Popen[str] | None = field(default=None, repr=False)

    def environment(self, **more: str) -> dict[str, str]:
        return os.environ | {"KFP_MAGICS_HOME": str(self.home), "KFP_MAGICS_GRACE": "0.5"} | more

    def start(self, *words: str, **environment: str) -> None:
        command = [sys.executable, "-m", "kfp_magics.cli", "serve", *(words or ("--port", "0"))]
        env = self.environment(**(environment or {"KFP_MAGICS_SERVE_TOKEN": self.token}))
        self._process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        lines = [self._process.stdout.readline() for _ in range(4)]
        self.said = "".join(lines)
        self.url = lines[0].split()[-1]

    def restart(self) -> None:
        """Starts it again where it was."""
        self.start("--port", self.url.rsplit(":", 1)[1])

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        assert self._process is not None
        assert self._process.stdout is not None
        self._process.send_signal(how)
        code = self._process.wait(30)
        self._process.stdout.close()
        self._process = None
        return code

    def client(self, **options: Any) -> Any:
        """The official client."""
        import kfp

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return kfp.Client(host=self.url, **{"existing_token": self.token, **options})

    def end(self) -> None:
        """Ends it and everything that it started."""
        from kfp_magics.settings import Settings
        from tests.local.conftest import Engine

        if self._process is not None:
            self.stop()
        with suppress(FileNotFoundError), Engine(Settings(home=str(self.home), grace=0.5)):
            pass


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    made = Gateway(tmp_path / "gateway-home")
    made.start()
    yield made
    made.end()


@pytest.fixture(scope="module")
def shared_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One for all tests of a module: they must not mind what others left there."""
    made = Gateway(tmp_path_factory.mktemp("gateway") / "home")
    made.start()
    yield made
    made.end()
