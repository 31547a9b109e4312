"""docs/formats.md: every cell of its table names tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

_ABSENT = ("no", "-")


def tables(text: str) -> list[list[list[str]]]:
    """The tables of a Markdown document as cells, without the line of dashes."""
    found: list[list[list[str]]] = [[]]
    for line in text.splitlines():
        if line.startswith("|"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if not set("".join(cells)) <= {"-", ":"}:
                found[-1].append(cells)
        elif found[-1]:
            found.append([])
    return [table for table in found if table]


def names_of_tests(folder: Path) -> set[str]:
    """Every test as the document writes it: file and function without "test_"."""
    return {
        f"{path.stem.removeprefix('test_')}.{node.name.removeprefix('test_')}"
        for path in folder.rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_each_cell_names_its_tests(project_root: Path) -> None:
    facts, tests = tables((project_root / "docs" / "formats.md").read_text(encoding="utf-8"))[:2]
    assert facts[0] == tests[0] and [row[0] for row in facts] == [row[0] for row in tests]
    known = names_of_tests(project_root / "tests")
    for fact, test in zip(facts[1:], tests[1:], strict=True):
        for column, (said, named) in enumerate(zip(fact[1:], test[1:], strict=True), 1):
            where = f"{fact[0]}, {facts[0][column]}: {said!r} by {named!r}"
            names = re.findall(r"`([\w.]+)`", named)
            assert bool(names) == (said not in _ABSENT), where
            assert set(names) <= known, f"{where}: {set(names) - known}"
