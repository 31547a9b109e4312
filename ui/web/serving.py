"""Running the page: Streamlit as a process of its own, on loopback, told everything by its environment."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

from ecgkin.retrieval.errors import QueryError

# How the page's process is told where its API is.
API_VARIABLE = "ECGKIN_WEB_API"
TOKEN_VARIABLE = "ECGKIN_WEB_TOKEN"
EXAMPLES_VARIABLE = "ECGKIN_WEB_EXAMPLES"
HOST = "127.0.0.1"
USUAL_PORT = 8501
_START_SECONDS = 60.0
_STOP_SECONDS = 5.0


def free_port(usual: int, host: str = HOST) -> int:
    """The usual port where nobody listens on it, else a free one.

    Args:
        usual: Tried first.
        host: Address to listen on.

    Returns:
        A port number.
    """
    for port in (usual, 0):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            number: int = probe.getsockname()[1]
            return number
    raise QueryError(f"no port is free on {host}", hint="end some other server")


@contextmanager
def ending() -> Iterator[None]:
    """Until Ctrl-C, or until somebody ends this process politely: both reach the `finally` of what runs inside."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def running(
    api: str, *, token: str | None = None, examples: Path | None = None, port: int = USUAL_PORT
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The page while this lasts: its process and its address.

    Args:
        api: Address of the API.
        token: Bearer token for it; it goes through the environment, where other users cannot read it.
        examples: Folder with the demo's held-out ECGs.
        port: Wanted; another is taken where it is not free.

    Returns:
        Process and address while this lasts.

    Raises:
        QueryError: Streamlit is not installed, or does not come up.
    """
    taken = free_port(port)
    command = [sys.executable, "-m", "ecgkin.ui.web.warm", "run", str(files("ecgkin.ui.web") / "app.py")]
    command += _options(taken)
    environment = {**os.environ, API_VARIABLE: api}
    for name, value in ((TOKEN_VARIABLE, token), (EXAMPLES_VARIABLE, examples)):
        environment.pop(name, None)
        if value is not None:
            environment[name] = str(value)
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        _wait(process, taken)
        yield process, f"http://{HOST}:{taken}"
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _options(port: int) -> list[str]:
    options = {
        "server.address": HOST,
        "server.port": port,
        "server.headless": "true",
        "server.fileWatcherType": "none",
        "server.maxUploadSize": 64,
        "browser.gatherUsageStats": "false",
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "none",
        "global.developmentMode": "false",
        # A field inside a closed popover is drawn from its default when it is opened: both are set, to the same.
        "global.disableWidgetStateDuplicationWarning": "true",
        "logger.level": "error",
        "theme.light.primaryColor": "#0b5cad",
        "theme.dark.primaryColor": "#7cb7ff",
    }
    return [word for name, value in options.items() for word in (f"--{name}", str(value))]


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    """Until it listens."""
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            raise QueryError(
                f"the page did not start (Streamlit ended with {process.returncode})",
                hint="is it installed? pip install 'ecgkin[web]'",
            )
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.settimeout(0.2)
            if probe.connect_ex((HOST, port)) == 0:
                return
        time.sleep(0.1)
    raise QueryError(f"the page did not start within {_START_SECONDS:g} s", hint="try again")
