"""Commands that documents show: which they are, and whether they are there as they are written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ecgkin.ui.cli.main import COMMANDS, load_command

_OPTION = re.compile(r"--?[a-z][a-z-]*")


def complaint(words: Sequence[str]) -> str:
    """What is wrong with the words behind `ecgkin`: an unknown command or option; "" for nothing."""
    rest = [word for word in words if word != "--debug"]
    if not rest or rest[0] not in COMMANDS:
        return f"no command {rest[:1]}"
    command: Any = load_command(rest.pop(0))
    while hasattr(command, "commands"):
        if not rest or rest[0] not in command.commands:
            return f"no command {rest[:1]}"
        command = command.commands[rest.pop(0)]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    wrong = [word for word in rest if _OPTION.fullmatch(word) and word not in known | {"--help", "-h"}]
    return f"no option {wrong}" if wrong else ""


def script_complaint(words: Sequence[str], root: Path) -> str:
    """What is wrong with the words behind `python`: a script that is not there, an option that it does not name."""
    script = root / words[0]
    if not script.is_file():
        return f"no script {words[0]}"
    source = script.read_text(encoding="utf-8")
    options = [word for word in words[1:] if _OPTION.fullmatch(word)]
    wrong = [option for option in options if f'"{option}"' not in source]
    return f"no option {wrong}" if wrong else ""


def commands_of(text: str, *, document: bool = True) -> list[list[str]]:
    """Words of each `ecgkin ...` of a document, on lines of its blocks of code and in backquotes, comments left out.

    A text that is no document (a unit, a compose file) is one block.
    """
    # `name ... \` goes on in the next line.
    text = re.sub(r"\\\n\s*", " ", text)
    blocks = re.findall(r"^\s*```.*?\n(.*?)^\s*```", text, flags=re.MULTILINE | re.DOTALL)
    shown = "\n".join(blocks) if document else text
    before = r"(?:\$ )?(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?"
    lines = re.findall(rf"^\s*{before}ecgkin (.+?)(?:\s+#.*)?$", shown, flags=re.MULTILINE)
    lines += re.findall(r"`(?:[A-Z_]+=\S+ )*ecgkin ([a-z][^`]*)`", text)
    return [_command(line) for line in lines]


def scripts_of(text: str) -> list[list[str]]:
    """Words of each `python scripts/...` of a document."""
    text = re.sub(r"\\\n\s*", " ", text)
    return [_command(line) for line in re.findall(r"python3? (scripts/[^`\n#]+)", text)]


def _command(line: str) -> list[str]:
    """The words of a line up to what is no longer its command; `[--option VALUE]` says what may be left out."""
    words = re.split(r"\s(?:\||&&|>|;|->)\s", line)[0].split()
    return [part for word in words for part in word.strip("[],.;:()").split("|") if part]
