"""The process that serves a model: its socket, its signals, its log; the only import of uvicorn, and a late one."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import uvicorn

from dlpipe.engine.inference import TrainedStage
from dlpipe.errors import InputError
from dlpipe.serving.application import application
from dlpipe.serving.model import ServedModel

#: Seconds within which requests in flight have to end after a signal.
GRACE_S = 30


class Server(uvicorn.Server):
    """A server that ends with exit code 0 after SIGTERM or Ctrl-C; uvicorn's raises the signal again."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle both signals while entered; a second one ends the process at once."""
        stops = (signal.SIGINT, signal.SIGTERM)
        previous = {number: signal.signal(number, self.handle_exit) for number in stops}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


def serve(
    trained: TrainedStage,
    *,
    host: str,
    port: int,
    batch_size: int,
    max_wait_ms: int,
    max_bytes: int,
    notice: Callable[[str], None],
    log: Callable[[str], None],
) -> None:
    """Serve a model until SIGTERM or Ctrl-C; what is in flight then is still answered.

    Args:
        notice: called with the address when connections are accepted.
        log: called with one line for each request.

    Raises:
        InputError: the address cannot be used, or the data takes no items from a client.
    """
    model = ServedModel(trained)
    listening = _socket(host, port)
    app = application(model, batch_size=batch_size, max_wait_ms=max_wait_ms, max_bytes=max_bytes, log=log)
    config = uvicorn.Config(
        app, log_config=None, access_log=False, ws="none", server_header=False, timeout_graceful_shutdown=GRACE_S
    )
    shown = f"[{host}]" if ":" in host else host
    notice(f"{trained.run.name}, {trained.checkpoint.name}, on http://{shown}:{listening.getsockname()[1]}/")
    # What data answers may depend on whether there is a terminal (colors); what a server answers does not.
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        Server(config).run(sockets=[listening])


def _socket(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        InputError: the address is in use, or is not one of this machine.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        # Python adds the address to the system's message; an unknown host has a message of its own.
        unknown = isinstance(error, socket.gaierror) or error.errno is None
        reason = error if unknown else os.strerror(error.errno)  # type: ignore[arg-type]
        raise InputError(
            f"--host {host} --port {port}: {reason}; choose another port, or --port 0 for a free one"
        ) from error
