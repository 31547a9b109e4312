"""The terminal: results on stdout as tables or JSON, everything else on stderr, progress bars, safe text."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from types import FrameType

    from rich.console import Console

LINE_EVERY_S = 60.0
FIRST_LINE_S = 5.0
_bars: list[Console] = []  # consoles on which a bar is drawn at this moment


class Moved(Protocol):
    """Moves a progress bar."""

    def __call__(self, done: int, total: int | None = None, what: str = "") -> None:
        """`done` of `total` (None: unknown) are done; `what` says of what."""


class Report(Protocol):
    """What an evaluation found."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""

    def as_markdown(self) -> str:
        """Tables."""


CLEAN = str.maketrans({code: "�" for code in range(0x20) if chr(code) not in "\n\t"} | {0x7F: "�", 0x9B: "�"})


def out() -> Console:
    """Console for results."""
    from rich.console import Console

    # Piped into a file or another program nothing may be cut off at 80 columns.
    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else 140, highlight=False)


def err() -> Console:
    """Console for everything that is not a result."""
    from rich.console import Console

    return Console(file=sys.stderr, highlight=False)


def say(message: str) -> None:
    """One line for people, on stderr; above the bar while one is drawn."""
    console = _bars[-1] if _bars else err()
    console.print(safe(message), markup=False, soft_wrap=True)


def safe(text: object) -> str:
    """Text from a file or a report without control characters, so that it cannot drive the terminal.

    >>> safe("sinus\\x1b[2J rhythm")
    'sinus�[2J rhythm'
    """
    return str(text).translate(CLEAN)


def emit(value: Any) -> None:
    """Print a result as JSON on stdout; NaN and infinity become null, paths become text."""
    sys.stdout.write(json.dumps(plain(value), ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def emit_report(report: Report, as_json: bool) -> None:
    """Print what an evaluation found: as JSON, or as Markdown.

    Args:
        report: What was found.
        as_json: JSON instead of Markdown.
    """
    if as_json:
        emit(report.as_dict())
    else:
        out().print(report.as_markdown(), markup=False, soft_wrap=True)


def named(name: str, words: str) -> str:
    """What is said of a file, with its name in front where the words do not name it.

    >>> named("a.png", "a.png is empty"), named("a.png", "too small")
    ('a.png is empty', 'a.png: too small')
    """
    return words if name in words else f"{name}: {words}"


def plain(value: Any) -> Any:
    """The same value in what JSON knows.

    >>> from pathlib import Path
    >>> plain({"a": (1, float("nan")), "p": Path("x/y")})
    {'a': [1, None], 'p': 'x/y'}
    """
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):  # NumPy arrays and numbers
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str | int | bool) or value is None:
        return value
    if hasattr(value, "__dataclass_fields__"):
        return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
    return str(value)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()) -> None:
    """Print a table on stdout.

    Args:
        title: Line above it; "" for none.
        columns: Headings.
        rows: Cells; control characters are taken out, markup is not read.
        right: Headings of the columns that are set flush right.
    """
    from rich.table import Table
    from rich.text import Text

    view = Table(title=title or None, title_justify="left", header_style="bold", expand=False)
    for column in columns:
        view.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        view.add_row(*(Text(safe(cell)) for cell in row))
    out().print(view)


@contextmanager
def progress(label: str) -> Iterator[Moved]:
    """A bar on stderr; the value is a function (done, total, what) that moves it; `what` replaces the label.

    Where stderr is no terminal, one line a minute says how far it is: log files stay readable. Ctrl-C says at once that
    it was heard, since what is under way may take a while to end.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = err()
    if not console.is_terminal:
        with _stopping():
            yield _lines(label)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with _stopping(), Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(label, total=None)

        def moved(done: int, total: int | None = None, what: str = "") -> None:
            bar.update(task, completed=done, total=total, description=safe(what) if what else label)

        _bars.append(console)
        try:
            yield moved
        finally:
            _bars.remove(console)


def _lines(label: str) -> Moved:
    """Says how far it is, with the time that is left at the pace of this step: soon, then once in `LINE_EVERY_S`."""
    begun: dict[str, tuple[float, int]] = {}
    last = time.monotonic() - LINE_EVERY_S + FIRST_LINE_S

    def moved(done: int, total: int | None = None, what: str = "") -> None:
        nonlocal last
        now, step = time.monotonic(), what or label
        since, first = begun.setdefault(step, (now, done))
        if now - last < LINE_EVERY_S:
            return
        last = now
        left = ""
        if total and done > first:
            minutes = (total - done) * (now - since) / (done - first) / 60
            left = f", about {minutes:.0f} min left" if minutes >= 1 else ", less than a minute left"
        say(f"{step}: {done}{f' of {total}' if total else ''}{left}")

    return moved


@contextmanager
def _stopping() -> Iterator[None]:
    """Answer Ctrl-C with "stopping" before it is raised; the second one finds the usual handler."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:  # somebody else has plans for it
        yield
        return

    def heard(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.write(2, b"\nstopping ...\n")  # no console: the interrupted code may hold its lock
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, heard)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def open_in_browser(address: str) -> None:
    """Open an address where a browser would open for a person: a terminal, and a display where one is needed."""
    if not sys.stdout.isatty():
        return
    if sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        import webbrowser

        webbrowser.open(address)
