"""What all commands share: where output goes, how JSON looks, options that mean the same everywhere."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from ecgkin.ui.settings import Settings


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


Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Base = Annotated[
    Path, typer.Argument(metavar="BASE", help="Case base: a folder, or milvus://host:port/name.", show_default=False)
]
BaseOption = Annotated[
    Path, typer.Option("--base", help="Case base, made where it is missing: a folder, or milvus://host/name")
]
Encoder = Annotated[str | None, typer.Option(help="Encoder by name or folder. (setting: encoder)", show_default=False)]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1. (setting: device)", show_default=False)]

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
    """One line for people, on stderr."""
    err().print(safe(message), markup=False, soft_wrap=True)


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
    """Print what an evaluation found: as JSON, or as Markdown."""
    if as_json:
        emit(report.as_dict())
    else:
        out().print(report.as_markdown(), markup=False, soft_wrap=True)


def plain(value: Any) -> Any:
    """The same value in what JSON knows.

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


def settings(**given: Any) -> Settings:
    """The settings in force, options of the command line first; logging follows them, unless --debug was said."""
    from ecgkin.ui.logs import configure_logging, is_configured
    from ecgkin.ui.settings import load_settings

    found = load_settings(**given)
    if not is_configured():
        configure_logging(found.log_level, found.log_format)
    return found


def numbers(text: str, option: str) -> list[int]:
    """Whole numbers written "1-8", "1,2,5" or "9".

    Raises:
        QueryError: It is none of these.

    >>> numbers("1-3,9", "--folds")
    [1, 2, 3, 9]
    """
    from ecgkin.retrieval.errors import QueryError

    out: list[int] = []
    for part in text.replace(" ", ",").split(","):
        first, _, last = part.partition("-")
        if not first.isdecimal() or not (last or first).isdecimal():
            raise QueryError(f"{option} is {text!r} (expected numbers such as 9, 1-8 or 1,2,5)")
        out.extend(range(int(first), int(last or first) + 1))
    return sorted(set(out))


@contextmanager
def progress(label: str) -> Iterator[Moved]:
    """A bar on stderr; the value is a function (done, total, what) that moves it; `what` replaces the label.

    Nothing is drawn where stderr is not a terminal: log files stay readable.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = err()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(label, total=None)

        def moved(done: int, total: int | None = None, what: str = "") -> None:
            bar.update(task, completed=done, total=total, description=safe(what) if what else label)

        yield moved
