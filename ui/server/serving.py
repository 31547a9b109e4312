"""Running the API: a socket first, then uvicorn on it; in the foreground, or in a thread for the demo and the tests."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ecgkin.retrieval.errors import QueryError
from ecgkin.ui.api.security import is_loopback
from ecgkin.ui.logs import Repeats

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

    from ecgkin.ui.settings import Settings

_START_SECONDS = 30.0


def bind(settings: Settings) -> socket.socket:
    """A listening socket at the address of the settings; port 0 takes a free one.

    Raises:
        QueryError: The address is not loopback and there are no tokens; or it cannot be had.
    """
    host, port = settings.api_host, settings.api_port
    if not settings.api_tokens and not is_loopback(host):
        raise QueryError(
            f"{host} can be reached by other machines, and there are no tokens (expected a loopback address)",
            hint="make tokens with `ecgkin token read` and `ecgkin token write`, or leave --host out",
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol in so many words: asyncio turns off Nagle's waiting (40 ms an answer) only where it is named.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host.strip("[]"), port))
        listener.listen(512)
    except OSError as error:
        listener.close()
        raise QueryError(
            f"{host}:{port} cannot be listened on: {error.strerror or error}", hint="choose another --port; 0: any"
        ) from None
    return listener


def address(listener: socket.socket) -> str:
    """Where a socket listens, as http://host:port."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def server(app: FastAPI, settings: Settings) -> uvicorn.Server:
    """A uvicorn server with deadlines, which finishes requests in flight when it is told to stop.

    Its own access log stays off: addresses hold filters, and filters hold patients.

    Args:
        app: Of `create_app`.
        settings: In force: seconds and connections.
    """
    import uvicorn

    from ecgkin.ui.server.connections import bounded, room_for_connections

    for name in ("asyncio", "uvicorn.error"):  # strangers choose how often these speak
        logger = logging.getLogger(name)
        if not any(isinstance(known, Repeats) for known in logger.filters):
            logger.addFilter(Repeats())
    most = room_for_connections(settings.api_max_connections)
    config = uvicorn.Config(
        app,
        http=bounded(settings.api_header_seconds, settings.api_max_seconds, most),
        log_config=None,
        access_log=False,
        lifespan="on",
        ws="none",
        server_header=False,
        timeout_keep_alive=15,
        # A request may take its seconds twice, to come in and to be answered.
        timeout_graceful_shutdown=int(2 * settings.api_max_seconds) + 1,
    )
    return uvicorn.Server(config)


@contextmanager
def in_thread(app: FastAPI, settings: Settings) -> Iterator[str]:
    """Serve from a thread while this lasts; the value is the address.

    Args:
        app: Of `create_app`.
        settings: In force; port 0 takes a free one.
    """
    listener = bind(settings)
    running = server(app, settings)
    thread = threading.Thread(target=running.run, args=([listener],), name="ecgkin-server", daemon=True)
    thread.start()
    try:
        until = time.monotonic() + _START_SECONDS
        while not running.started:
            if not thread.is_alive() or time.monotonic() > until:
                raise QueryError("the server did not start", hint="the log says why")
            time.sleep(0.01)
        yield address(listener)
    finally:
        running.should_exit = True
        thread.join()
        listener.close()
