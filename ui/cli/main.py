"""`ecgkin`: the command line.

Results go to stdout, everything else to stderr. A mistake is one line and a hint, with the exit status of its error
(`ecgkin.retrieval.errors`); a traceback is shown with `ecgkin --debug ...` only.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any

import typer
import typer.core
import typer.main

from ecgkin import __version__
from ecgkin.retrieval.cores import share_cores
from ecgkin.retrieval.errors import EcgkinError, missing_extra

# What typer raises for a wrong command, option or argument: the class that BadParameter is a kind of.
_UsageError: Any = typer.BadParameter.__mro__[1]
_STOPPED = 130  # what typer makes of Ctrl-C, as shells do
_FOR_HOURS = {"evaluate", "train"}  # commands that have all cores to themselves
_FOLDS = re.compile(r"\d+(-\d+)?(,\d+(-\d+)?)*")

# Command -> the modules of `commands` that make it, and its line in `ecgkin --help`. A module is loaded, and options
# are worked out, when its command is called. The lines are the commands' own first ones (a test holds them to it).
COMMANDS: dict[str, tuple[tuple[str, ...], str]] = {
    "demo": (
        ("demo",),
        "Show an ECG beside its ten most similar cases, with their reports; then ask about others on a web page.",
    ),
    "info": (("base",), "Say what a case base holds, having checked that its files belong together."),
    "export": (
        ("export",),
        "Write cases with their samples as files that other programs read; cases without samples are named.",
    ),
    "search": (("search",), "Find the most similar cases to an ECG, to words, or to both together."),
    "render": (("search",), "Draw a recording as a page of ECG paper."),
    "compare": (
        ("compare",),
        "Say what has changed from one ECG of a person to the next, and which changes exceed repeatability.",
    ),
    "train": (("evaluate",), "Train an encoder or the mini generator, or go on where a run was stopped."),
    "draft": (
        ("draft",),
        "Draft an interpretation in which every statement says what carries it. Preliminary; for a clinician to check.",
    ),
    "report": (("report",), "Sign for a draft's sentences; send the report to PACS, FHIR and HL7 v2."),
    "digitize": (
        ("digitize",),
        "Read the signals off pictures of ECG pages: 500 Hz, mV, a lead missing where the page does not show it.",
    ),
    "serve": (("serve",), "Serve a case base over HTTP; Ctrl-C ends it after the requests in flight."),
    "listen": (
        ("listen",),
        "Receive DICOM and watch a folder; what comes is kept on disk, acknowledged, and ingested. Ctrl-C ends it.",
    ),
    "mcp": (("mcp",), "Serve search, compare, measure, draft and case as tools for language-model agents (MCP)."),
    "token": (("serve",), "Make a token for the API. It is shown once; settings keep its hash."),
    "web": (("web",), "Show the web page of a server that `ecgkin serve` runs here or elsewhere; Ctrl-C ends it."),
    "ingest": (("ingest",), "Fill a case base. What is there already is passed over."),
    "base": (("base",), "Move, back up and change case bases, in folders and on Milvus."),
    "cases": (("cases",), "List, show and remove cases."),
    "evaluate": (("evaluate", "draft"), "Measure."),  # `draft` adds to what `evaluate` has made
    "encoder": (("encoder",), "Published encoders, with your own copy of their weights."),
    "instruct": (("instruct",), "Instruction rows in ECGInstruct's layout."),
    "pulse": (("pulse",), "PULSE checkpoints in their original layout."),
    "download": (("download",), "Fetch open data, or ECGs of an archive."),
    "config": (("config",), "Settings."),
}


def load_command(name: str) -> Any:
    """The command itself, with its options, or the group with its commands.

    Args:
        name: One of `COMMANDS`.
    """
    made = typer.Typer()
    for module in COMMANDS[name][0]:
        import_module(f"ecgkin.ui.cli.commands.{module}").register(made)
    return typer.main.get_group(made).commands[name]


class _Deferred(typer.core.TyperCommand):
    """A line of `ecgkin --help`; it gives way to the command that it stands for when that is called."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """The context of the command itself."""
        assert self.name is not None  # given below
        return load_command(self.name).make_context(info_name, args, parent, **extra)


class _Commands(typer.core.TyperGroup):
    """The table above as a group."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands.update({name: _Deferred(name, help=line) for name, (_, line) in COMMANDS.items()})


app = typer.Typer(
    name="ecgkin",
    cls=_Commands,
    help="Find the most similar ECG cases, with their signed reports. Supports and does not replace a clinician.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and log everything.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Set up logging before any command."""
    from ecgkin.ui.logs import configure_logging

    if debug:
        configure_logging("DEBUG")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit status.

    Args:
        arguments: Words after `ecgkin`; None takes those of the process.
    """
    words = joined_folds(sys.argv[1:] if arguments is None else arguments)
    if not _FOR_HOURS.intersection(words):
        share_cores()  # before any command loads NumPy
    try:
        status = app(args=words, prog_name="ecgkin", standalone_mode=False)
    except typer.Abort:  # "no" to a question
        status = _STOPPED
    except _UsageError as error:
        _complain_of_usage(error, words)
        sys.exit(error.exit_code)
    except EcgkinError as error:
        if "--debug" in words:
            raise
        _complain(str(error), error.hint)
        sys.exit(error.exit_code)
    except Exception as error:
        if "--debug" in words:
            raise
        known = missing_extra(error) if isinstance(error, ModuleNotFoundError) else None
        if known is not None:
            _complain(str(known), known.hint)
            sys.exit(known.exit_code)
        _complain(f"{type(error).__name__}: {error}", "this is a fault of ecgkin; `ecgkin --debug ...` shows where")
        sys.exit(1)
    if status == _STOPPED:
        _complain("stopped", "")
    sys.exit(status if isinstance(status, int) else 0)


def _complain_of_usage(error: Any, words: Sequence[str]) -> None:
    """A wrong command, option or argument: one line and where its help is."""
    place = error.ctx.command_path if error.ctx is not None else called(words)
    if type(error).__name__ == "NoArgsIsHelpError":  # `ecgkin` alone; typer does not export the class
        error.show()
        return
    _complain(error.format_message(), f"{place} --help")


def called(words: Sequence[str]) -> str:
    """The command that words call, as far as they name one; an option without its value does not say whose it is.

    >>> called(["--debug", "search", "base", "--text"]), called(["evaluate", "drafts", "--limit"]), called(["serch"])
    ('ecgkin search', 'ecgkin evaluate drafts', 'ecgkin')
    """
    names = [word for word in words if not word.startswith("-")]
    if not names or names[0] not in COMMANDS:
        return "ecgkin"
    path, at = ["ecgkin", names[0]], load_command(names[0])
    for name in names[1:]:
        at = getattr(at, "commands", {}).get(name)
        if at is None:
            break
        path.append(name)
    return " ".join(path)


def joined_folds(words: Sequence[str]) -> list[str]:
    """The same words with `--folds 1 2 3` as one value, `--folds 1,2,3`, which is all that option parsers know.

    >>> joined_folds(["ptbxl", "--folds", "1", "2-4", "DIR"])
    ['ptbxl', '--folds', '1,2-4', 'DIR']
    """
    out: list[str] = []
    for word in words:
        if len(out) >= 2 and out[-2].endswith("folds") and out[-2].startswith("--") and _FOLDS.fullmatch(word):
            out[-1] += f",{word}"
        else:
            out.append(word)
    return out


def _complain(message: str, hint: str) -> None:
    from ecgkin.ui.console import safe

    sys.stderr.write(f"ecgkin: {safe(' '.join(message.split()))}\n")
    if hint:
        sys.stderr.write(f"  hint: {safe(hint)}\n")
