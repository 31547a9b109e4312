"""The house rules of docs/architecture.md, read off the syntax trees."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("retrieval", "generation", "index", "ui")
MODULES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
SCRIPTS = sorted([*(ROOT / "tests").rglob("*.py"), *(ROOT / "scripts").rglob("*.py")])
MAX_LINES = 300

# Each takes from a tenth of a second to several seconds to import (open_clip 7 s, torch 2 s on two cores).
HEAVY = {
    "bitsandbytes", "faiss", "matplotlib", "neurokit2", "open_clip", "pandas", "scipy", "sentence_transformers",
    "sklearn", "streamlit", "timm", "torch", "torchvision", "transformers", "wfdb",
}  # fmt: skip
# Classes of torch modules cannot be written without torch; who imports these modules is in a function already.
TORCH_FOLDER = "ecgkin.retrieval.encoders."
TORCH_FAMILY = {"torch", "torchvision", "timm", "open_clip", "transformers", "sentence_transformers"}
WITHOUT_TORCH = (
    "ecgkin.retrieval", "ecgkin.retrieval.ecg", "ecgkin.retrieval.encoders", "ecgkin.index", "ecgkin.index.casebase",
    "ecgkin.retrieval.search", "ecgkin.generation", "ecgkin.ui.cli",
)  # fmt: skip


def module_name(path: Path) -> str:
    """`ecgkin.index.case` for index/case.py, `ecgkin.index` for index/__init__.py."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("ecgkin", *(parts[:-1] if parts[-1] == "__init__" else parts)))


def layer(name: str) -> int:
    """Height of a module in the import order; a module may import its own height and below."""
    for height, prefix in enumerate(("retrieval.errors", "retrieval.ecg", "retrieval.encoders", "index")):
        if name == f"ecgkin.{prefix}" or name.startswith(f"ecgkin.{prefix}."):
            return height
    return 4 + ("retrieval", "generation", "ui").index(name.split(".")[1])


def imports(tree: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Every imported name in full ("ecgkin.index.case"), with the node that imports it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}"
            yield from ((f"{node.module}.{alias.name}", node) for alias in node.names)


def top_imports(tree: ast.Module) -> Iterator[str]:
    """First part of each name that is imported when the module is (not in functions, not for type checkers)."""
    pending: list[ast.stmt] = list(tree.body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0]
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending.extend(node.orelse)
        else:
            inside = () if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else ("body", "orelse", "finalbody")
            for field in inside:
                pending.extend(getattr(node, field, []))
            pending.extend(stmt for handler in getattr(node, "handlers", []) for stmt in handler.body)


def undocumented(tree: ast.Module) -> Iterator[str]:
    """Public functions, classes and methods without a docstring."""
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        if not ast.get_docstring(node):
            yield node.name
        if isinstance(node, ast.ClassDef):
            for child in node.body:
                if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and not child.name.startswith("_"):
                    marks = {ast.unparse(mark) for mark in child.decorator_list}
                    if not ast.get_docstring(child) and not marks & {"overload", "override", "typing.override"}:
                        yield f"{node.name}.{child.name}"


def parsed(path: Path) -> ast.Module:
    """Syntax tree of one file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def rel(path: Path) -> str:
    """Path below the project folder, for test names."""
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", MODULES, ids=rel)
def test_imports_point_down(path: Path) -> None:
    """No module imports one that stands above it."""
    own = layer(module_name(path))
    too_high = [n for n, _ in imports(parsed(path)) if n.startswith("ecgkin.") and layer(n) > own]
    assert not too_high, f"{rel(path)} imports {too_high}, which stand above it (docs/architecture.md)"


@pytest.mark.parametrize("path", MODULES + SCRIPTS, ids=rel)
def test_one_name_for_every_module(path: Path) -> None:
    """`import retrieval` would load a second copy of the same classes."""
    wrong = [name for name, _ in imports(parsed(path)) if name.split(".")[0] in FOLDERS]
    assert not wrong, f"{rel(path)} imports {wrong}: write ecgkin.{wrong[0] if wrong else ''}"


@pytest.mark.parametrize("path", MODULES, ids=rel)
def test_heavy_libraries_wait(path: Path) -> None:
    """`ecgkin --help` answers at once: what is slow to import is imported where it is used."""
    allowed = TORCH_FAMILY if module_name(path).startswith(TORCH_FOLDER) else set()
    early = sorted(set(top_imports(parsed(path))) & HEAVY - allowed)
    assert not early, f"{rel(path)} imports {early} at its top: move them into the functions that need them"
    if not module_name(path).startswith("ecgkin.retrieval.ecg."):
        assert "cv2" not in set(top_imports(parsed(path))), f"{rel(path)} imports cv2 at its top"


@pytest.mark.parametrize("path", MODULES, ids=rel)
def test_size_and_docstrings(path: Path) -> None:
    """Short modules; a docstring for the module and for all that is public in it."""
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= MAX_LINES, f"{rel(path)} has {lines} lines (at most {MAX_LINES})"
    tree = parsed(path)
    missing = list(undocumented(tree))
    assert not missing, f"{rel(path)}: no docstring for {missing}"
    if tree.body:
        assert ast.get_docstring(tree), f"{rel(path)} has no docstring"


def test_libraries_do_not_print() -> None:
    """Only ui writes to the terminal, and there only through its console."""
    calls = [
        f"{rel(path)}:{node.lineno}"
        for path in MODULES
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert not calls, f"print() in {calls}"


@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_torch_stays_out(name: str) -> None:
    """Importing the doors of the project loads neither torch nor what needs it."""
    slow = TORCH_FAMILY | {"faiss", "sklearn", "scipy", "pandas"}
    code = f"import sys, {name}; print(sorted({slow} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]", f"import {name} loads {done.stdout.strip()}"


def test_the_rules_can_fail(tmp_path: Path) -> None:
    """The readers above see what they should: planted breaches are found."""
    tree = ast.parse(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import timm\n"
        "try:\n    import torch\nexcept ImportError:\n    pass\n"
        "def f():\n    import faiss\nclass C:\n    'doc'\n    import cv2\n"
        "    def g(self):\n        import scipy\n    def _h(self): ...\n"
    )
    assert set(top_imports(tree)) == {"typing", "torch", "cv2"}
    assert list(undocumented(tree)) == ["f", "C.g"]
    assert layer("ecgkin.index.case") > layer("ecgkin.retrieval.encoders.base") > layer("ecgkin.retrieval.ecg.read")
    assert layer("ecgkin.ui.cli") > layer("ecgkin.generation.draft") > layer("ecgkin.retrieval.search")
    assert layer("ecgkin.retrieval.search") > layer("ecgkin.index.case")
