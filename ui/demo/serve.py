"""The demo as a web page: API and page over the demo's case base, on this machine alone, until Ctrl-C."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ecgkin.retrieval.errors import EcgkinError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ecgkin.index.sources.items import IngestItem
    from ecgkin.retrieval.ecg.record import EcgRecord
    from ecgkin.ui.demo.cases import Say
    from ecgkin.ui.demo.demo import Shown
    from ecgkin.ui.settings import Settings

# ECGs to choose from on the page, each as a page and as a recording.
QUERIES = 6
# A server waits a minute for what a browser has half sent; whoever presses Ctrl-C is not to wait so long.
PATIENCE_S = 3
# Width of a page among those to choose from, sharp on a dense screen.
SMALL_PX = 840


def write_queries(shown: Shown, folder: Path) -> Path:
    """Held-out ECGs as files, as anybody would drop them onto the page: "ECG_1.png", "ECG_1.csv" and so on.

    "ECG_1.webp" is the same page in small, to choose from.

    Args:
        shown: What the demo found.
        folder: Made where it is missing.

    Returns:
        The folder.
    """
    from ecgkin.retrieval.ecg.drawing.raster import render

    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("ECG_*"):
        old.unlink()
    records = [shown.asked.record, *shown.asked.others(QUERIES - 1)]
    for number, record in enumerate(records, 1):
        page = render(record)
        page.save(folder / f"ECG_{number}.png")
        page.thumbnail((SMALL_PX, SMALL_PX))
        page.save(folder / f"ECG_{number}.webp", quality=80)
        write_csv(record, folder / f"ECG_{number}.csv")
    return folder


def write_csv(record: EcgRecord, path: Path) -> None:
    """Samples in mV, one lead a column, with a column of seconds; nothing about the patient.

    Args:
        record: The recording.
        path: File to write; replaced where it is there.
    """
    seconds = np.arange(record.signal_mv.shape[1]) / record.fs_hz
    table = np.column_stack([seconds, record.signal_mv.T.astype(np.float64)])
    header = ",".join(["time_s", *(f"{lead} (mV)" for lead in record.leads)])
    np.savetxt(path, table, fmt=["%.4f", *["%.3f"] * len(record.leads)], delimiter=",", header=header, comments="")


def serve_demo(settings: Settings, shown: Shown, *, say: Say, ready: Callable[[str], None]) -> None:
    """Serve until Ctrl-C.

    Args:
        settings: In force; the server listens on loopback without tokens whatever they say.
        shown: What the demo found.
        say: Told in words what is going on.
        ready: Told the address of the page.

    Raises:
        EcgkinError: Server or page cannot start.
    """
    from ecgkin.ui.api.state import State
    from ecgkin.ui.server.app import create_app
    from ecgkin.ui.server.serving import in_thread
    from ecgkin.ui.web.serving import HOST, ending, free_port, running

    examples = write_queries(shown, shown.folder.with_name(f"{shown.folder.name}-queries"))
    given = {"api_host": HOST, "api_port": free_port(settings.api_port), "api_tokens": ()}
    own = settings.model_copy(update=given)
    state = State(shown.folder, own, shown.encoder)
    # What the first query would wait seconds for, while the page's process loads its own libraries.
    warming = threading.Thread(target=state.preload, daemon=True)
    warming.start()
    stop = threading.Event()
    filling = threading.Thread(target=_fill, args=(shown, stop, say), daemon=True)
    with ending(), in_thread(create_app(own, state), own, PATIENCE_S) as api:
        say(f"API: {api}/docs")
        with running(api, examples=examples) as (process, where):
            warming.join()
            ready(where)
            say("Ctrl-C ends both")
            if shown.rest is not None:
                say(f"{shown.asked.n_gallery - shown.n_cases} more cases come in while the page is open")
                filling.start()
            try:
                process.wait()
            finally:
                stop.set()
                if filling.is_alive():
                    say("stopping ...")
                    filling.join()  # at most a batch


class _StoppedError(Exception):
    """The demo ends before all cases are in."""


def _fill(shown: Shown, stop: threading.Event, say: Say) -> None:
    """Take in the other cases beside the server, which sees them by itself; for a thread."""
    from ecgkin.ui.demo.demo import complete

    def moved(done: int, total: int | None = None, what: str = "") -> None:
        if stop.is_set():
            raise _StoppedError

    def until_stopped(items: Iterator[IngestItem]) -> Iterator[IngestItem]:
        for item in items:  # simulated ones are drawn here
            moved(0)
            yield item

    assert shown.rest is not None
    try:
        n = complete(replace(shown, rest=until_stopped(shown.rest)), say=say, moved=moved).n_cases
        say(f"all {n} cases are in")
    except _StoppedError:
        say("the other cases come in when the demo is started again")
    except EcgkinError as error:
        say(f"the other cases did not come in: {error}")
