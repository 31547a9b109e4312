"""`ecgkin`: the command line.

Results go to stdout, everything else to stderr. A mistake is one line and a hint, with the exit status of its error
(`ecgkin.retrieval.errors`); a traceback is shown with `ecgkin --debug ...` only.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from ecgkin import __version__
from ecgkin.retrieval.errors import EcgkinError, missing_extra
from ecgkin.ui.cli.commands import (
    base,
    cases,
    compare,
    config,
    demo,
    digitize,
    download,
    draft,
    encoder,
    evaluate,
    export,
    ingest,
    instruct,
    listen,
    mcp,
    pulse,
    report,
    search,
    serve,
    web,
)

# What typer raises for a wrong command, option or argument: the class that BadParameter is a kind of.
_UsageError: Any = typer.BadParameter.__mro__[1]
_STOPPED = 130  # what typer makes of Ctrl-C, as shells do
_FOLDS = re.compile(r"\d+(-\d+)?(,\d+(-\d+)?)*")

app = typer.Typer(
    name="ecgkin",
    help="Find the most similar ECG cases, with their signed reports. Supports and does not replace a clinician.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_GROUPS = (
    demo, ingest, base, cases, export, search, compare, evaluate, draft, report, digitize, encoder, instruct, pulse,
    download, serve, listen, mcp, web, config,
)  # fmt: skip
for group in _GROUPS:  # `draft` adds to what `evaluate` has made
    group.register(app)


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
    try:
        status = app(args=words, prog_name="ecgkin", standalone_mode=False)
    except typer.Abort:  # "no" to a question
        status = _STOPPED
    except _UsageError as error:
        _complain_of_usage(error)
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


def _complain_of_usage(error: Any) -> None:
    """A wrong command, option or argument: one line and where its help is."""
    place = error.ctx.command_path if error.ctx is not None else "ecgkin"
    if type(error).__name__ == "NoArgsIsHelpError":  # `ecgkin` alone; typer does not export the class
        error.show()
        return
    _complain(error.format_message(), f"{place} --help")


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
