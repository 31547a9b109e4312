"""Progress in a terminal and in a log file, and what is said when Ctrl-C is pressed."""

from __future__ import annotations

import io
import signal
import subprocess
import sys

import pytest
from rich.console import Console

from ecgkin.ui import console


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What a terminal of 100 columns is sent on stderr."""
    screen = io.StringIO()
    monkeypatch.setattr(console, "err", lambda: Console(file=screen, force_terminal=True, width=100, highlight=False))
    return screen


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that the clock shows; set the first of them."""
    now = [1000.0]
    monkeypatch.setattr("ecgkin.ui.console.time.monotonic", lambda: now[0])
    return now


def test_messages_stand_above_the_bar(terminal: io.StringIO) -> None:
    """A message while a bar is drawn has a line of its own, and the bar is drawn again below it."""
    with console.progress("ingest") as moved:
        moved(1, 4)
        console.say("left out: a.hea")
        moved(2, 4)
    lines = [line for line in terminal.getvalue().replace("\r", "\n").split("\n") if "left out" in line]
    assert len(lines) == 1 and "ingest" not in lines[0], lines
    assert "ingest" in terminal.getvalue().split("left out: a.hea", 1)[1]
    console.say("after")
    assert terminal.getvalue().endswith("after\n")


def test_a_bar_inside_another_takes_the_messages(terminal: io.StringIO) -> None:
    """When a bar ends, by an error too, messages go on without it."""
    with pytest.raises(ValueError, match="inner"), console.progress("inner") as moved:
        moved(1, 2)
        raise ValueError("inner")
    console.say("went on")
    assert terminal.getvalue().endswith("went on\n")


def test_a_line_a_minute_without_a_terminal(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    """Ten calls a second for five minutes are six lines, the first within seconds; the time left follows the pace."""
    with console.progress("ingest") as moved:
        for tenth in range(3001):
            clock[0] = 1000.0 + tenth / 10
            moved(tenth, 6000)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "ingest: 50 of 6000, about 10 min left",
        "ingest: 650 of 6000, about 9 min left",
        "ingest: 1250 of 6000, about 8 min left",
        "ingest: 1850 of 6000, about 7 min left",
        "ingest: 2450 of 6000, about 6 min left",
    ]


def test_lines_of_steps_and_of_unknown_length(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    """A step's pace is its own; where the end is unknown, no time is guessed; a short run says nothing."""
    with console.progress("demo") as moved:
        moved(0, 10, "download")
        clock[0] += 61
        moved(7, None, "read")
        clock[0] += 61
        moved(1, 100, "encode")
        clock[0] += 61
        moved(99, 100, "encode")
    assert capsys.readouterr().err.splitlines() == [
        "read: 7",
        "encode: 1 of 100",
        "encode: 99 of 100, less than a minute left",
    ]
    with console.progress("quick") as moved:
        moved(1, 1)
    assert capsys.readouterr().err == ""


CHILD = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
from ecgkin.ui import console
with console.progress("long"):
    try:
        print("begun", flush=True)  # inside: the signal may come before the next line does
        time.sleep(60)
    except KeyboardInterrupt:
        print("raised", flush=True)
        sys.exit(130)
"""


def test_stopping_is_said_before_it_is_raised() -> None:
    """Ctrl-C in a process of its own: a line on stderr, then the interrupt."""
    with subprocess.Popen(
        [sys.executable, "-c", CHILD], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None and child.stdout.readline() == "begun\n"
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
    assert (child.returncode, out, err.strip()) == (130, "raised\n", "stopping ...")


def test_the_handler_is_as_it_was() -> None:
    """After a step Ctrl-C does what it did before; a handler of somebody else stays in force during it."""
    given = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
    before = signal.getsignal(signal.SIGINT)
    with console.progress("step"):
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before

    def own(_number: int, _frame: object) -> None:
        raise AssertionError("not called")

    try:
        signal.signal(signal.SIGINT, own)
        with console.progress("step"):
            assert signal.getsignal(signal.SIGINT) is own
    finally:
        signal.signal(signal.SIGINT, given)
