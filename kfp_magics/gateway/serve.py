"""``kfp-magics serve``: binds, says where it is, and answers until it is ended."""

from __future__ import annotations

import errno
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import uvicorn

from kfp_magics.errors import ArgumentError
from kfp_magics.gateway.access import check_address, token_of
from kfp_magics.gateway.app import Gateway

if TYPE_CHECKING:
    from kfp_magics.settings import Settings

_LEAVE = 3  # seconds that answers under way may still take


class Door:
    """The server, bound to its address.

    Args:
        settings: Where things are kept and how they run.
        host: The address.
        port: The port; a free one when 0.
        token_file: File that holds the token; empty for none.
        remote: Whether the address may be one that other machines reach.

    Raises:
        ArgumentError: The address cannot be used, or the token is none.
    """

    def __init__(self, settings: Settings, *, host: str, port: int, token_file: str, remote: bool) -> None:
        self._token = token_of(token_file)
        check_address(host, remote=remote)
        self._socket = _bind(host, port)
        self._settings = settings
        bound: int = self._socket.getsockname()[1]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{bound}"

    @property
    def greeting(self) -> str:
        """How to reach it; a token that was made just now is told here and nowhere else."""
        token = self._token
        lines = [
            f"Kubeflow Pipelines' API for the runs of this machine: {self.url}",
            f"Token: {token.value}" if not token.source else f"The token is that of {token.source}.",
            f"  kfp --endpoint {self.url} --existing-token TOKEN run list",
            "Ctrl-C ends it; runs go on.",
        ]
        return "\n".join(lines)

    def run(self) -> None:
        """Answers until it is interrupted."""
        gateway = Gateway(self._settings)
        config = uvicorn.Config(
            gateway.app(self._token.value),
            log_level="warning",
            access_log=False,
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=_LEAVE,
        )
        gateway.scheduler.start()
        try:
            with suppress(KeyboardInterrupt):
                uvicorn.Server(config).run(sockets=[self._socket])
        finally:
            gateway.scheduler.stop()
            gateway.store.close()
            self._socket.close()


def _bind(host: str, port: int) -> socket.socket:
    if not 0 <= port < 1 << 16:  # the system would take the rest of a division
        raise ArgumentError(f"There is no port {port}.", "Take one up to 65535; --port 0 chooses a free one.")
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind(address)
        made.listen(128)
    except OSError as error:
        made.close()
        of_the_port = error.errno in {errno.EADDRINUSE, errno.EACCES}
        hint = "Take another port: --port 0 chooses a free one." if of_the_port else "Leave --host out."
        raise ArgumentError(f"The address {host}:{port} cannot be used: {error.strerror}.", hint) from error
    return made
