"""The house rules of docs/architecture.md that no linter holds: what an import may load, no circles.

Layers, and who may import the research wing, are contracts of import-linter; style, docstrings, prints, relative
imports and heavy imports at module level are rules of ruff (both in pyproject.toml, both run by `.ci/run`).
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("retrieval", "generation", "index", "ui")
SLOW_TO_IMPORT = {
    "faiss", "open_clip", "pandas", "scipy", "sentence_transformers", "sklearn", "streamlit", "timm", "torch",
    "torchvision", "transformers",
}  # fmt: skip
LIGHT = (
    "ecgkin", "ecgkin.retrieval", "ecgkin.retrieval.ecg", "ecgkin.retrieval.encoders", "ecgkin.retrieval.search.search",
    "ecgkin.index", "ecgkin.index.base", "ecgkin.index.folder.base", "ecgkin.generation", "ecgkin.ui.cli.main",
    "ecgkin.ui.client",
)  # fmt: skip

Graph = dict[str, set[str]]


def modules(root: Path) -> dict[str, Path]:
    """Every module below the four folders by its dotted name."""
    found = {}
    for path in sorted(file for folder in FOLDERS for file in (root / folder).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(("ecgkin", *(parts[:-1] if parts[-1] == "__init__" else parts)))] = path
    return found


def imported(tree: ast.AST) -> Iterator[str]:
    """Every name of this project that is imported anywhere in a file, in functions as well."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def import_graph(files: dict[str, Path]) -> Graph:
    """Module -> the modules of this project that it imports; packages' own files are left out."""
    graph: Graph = {}
    for name, path in files.items():
        if path.name == "__init__.py":
            continue
        edges = set()
        for wanted in imported(ast.parse(path.read_text(encoding="utf-8"))):
            while wanted and wanted not in files:
                wanted = wanted.rpartition(".")[0]
            if wanted and wanted != name and files[wanted].name != "__init__.py":
                edges.add(wanted)
        graph[name] = edges
    return graph


def circles(graph: Graph) -> list[list[str]]:
    """Groups of nodes that reach each other: strongly connected components of two nodes or more (Tarjan 1972)."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(node: str) -> None:
        number[node] = low[node] = len(number)
        stack.append(node)
        for other in sorted(graph.get(node, ())):
            if other not in number:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], number[other])
        if low[node] == number[node]:
            at = stack.index(node)
            group = stack[at:]
            del stack[at:]
            if len(group) > 1:
                groups.append(sorted(group))

    for node in sorted(graph):
        if node not in number:
            visit(node)
    return groups


def by_folder(graph: Graph) -> Graph:
    """The same edges between the folders of the modules."""
    folders: Graph = {}
    for name, others in graph.items():
        here = name.rpartition(".")[0]
        folders.setdefault(here, set()).update(there for o in others if (there := o.rpartition(".")[0]) != here)
    return folders


def test_no_import_circles_between_files() -> None:
    """Imports inside functions count as well: what needs a late import to work is a circle all the same."""
    assert circles(import_graph(modules(ROOT))) == []


def test_no_import_circles_between_folders() -> None:
    """A folder is above or below another, never both."""
    assert circles(by_folder(import_graph(modules(ROOT)))) == []


@pytest.mark.parametrize("name", LIGHT)
def test_slow_libraries_stay_out(name: str) -> None:
    """Importing the doors of the project loads nothing that takes long to import."""
    code = f"import sys, {name}; print(sorted({SLOW_TO_IMPORT} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]", f"import {name} loads {done.stdout.strip()}"


def test_circles_are_found() -> None:
    """The search above sees planted circles, direct and over three nodes, and no others."""
    assert circles({"a": {"b"}, "b": {"a"}, "c": {"a"}}) == [["a", "b"]]
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set()}) == [["a", "b", "c"]]
    assert circles({"a": {"b", "c"}, "b": {"d"}, "c": {"d"}, "d": set()}) == []
    assert by_folder({"x.a.m": {"x.b.n", "x.a.k"}, "x.b.n": {"x.a.k"}}) == {"x.a": {"x.b"}, "x.b": {"x.a"}}


# --- Reasons in messages

FROM_SYSTEM = {
    "OSError", "FileNotFoundError", "PermissionError", "TimeoutError", "ConnectionError", "HTTPError", "TransportError",
    "ConnectError", "HTTPStatusError",
}  # fmt: skip


def caught(kind: ast.expr | None) -> set[str]:
    """Names of the exceptions that an `except` catches, without their modules."""
    if isinstance(kind, ast.Tuple):
        return set().union(*map(caught, kind.elts))
    if isinstance(kind, ast.Attribute):
        return {kind.attr}
    return {kind.id} if isinstance(kind, ast.Name) else set()


def raw_reasons(tree: ast.AST) -> Iterator[int]:
    """Lines where what an operating system or an HTTP library raised is put into a text as it is, or by its class."""
    for handler in ast.walk(tree):
        if isinstance(handler, ast.ExceptHandler) and handler.name and caught(handler.type) & FROM_SYSTEM:
            for node in ast.walk(handler):
                if not isinstance(node, ast.FormattedValue):
                    continue
                bare = isinstance(node.value, ast.Name) and node.value.id == handler.name
                parts = list(ast.walk(node.value))
                by_class = any(
                    isinstance(p, ast.Attribute) and p.attr in ("__name__", "strerror", "errno") for p in parts
                )
                turned = any(
                    isinstance(p, ast.Call)
                    and getattr(p.func, "id", "") in ("str", "repr")
                    and caught(p.args[0]) == {handler.name}
                    for p in parts
                )
                if bare or by_class or turned:
                    yield node.lineno


def test_reasons_of_the_system_are_said_in_words() -> None:
    """No message holds "[Errno 2]" or "ConnectError": `errors.why` and `errors.why_unreachable` say it."""
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in modules(ROOT).values()
        for line in raw_reasons(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not found


@pytest.mark.parametrize("said", ["{error}", "{type(error).__name__}", "{error.strerror or error}", "{str(error)}"])
def test_raw_reasons_are_found(said: str) -> None:
    code = f"try:\n    open(x)\nexcept (OSError, ValueError) as error:\n    raise InputError(f'no: {said}')\n"
    assert list(raw_reasons(ast.parse(code))) == [4]
    assert not list(raw_reasons(ast.parse(code.replace(said, "{why(error)}"))))
