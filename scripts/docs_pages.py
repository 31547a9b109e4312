"""Pages of the docs site that are made from the tree: the front page from README, one API page a package.

Run by mkdocs (`just docs`), which reads the docstrings without importing anything.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import mkdocs_gen_files

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("retrieval", "index", "generation", "ui")


def says_something(path: Path) -> bool:
    """Whether a module has a docstring and anything public."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    named = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return bool(ast.get_docstring(tree)) and any(isinstance(n, named) and n.name[0] != "_" for n in tree.body)


def front_page() -> str:
    """README with its links into docs/ and the tree set right."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"\]\(docs/", "](", text)
    links = re.compile(r"\[([^\]]+)\]\((?!https?:|#)([^)]+)\)")
    return links.sub(lambda m: m[0] if (ROOT / "docs" / m[2]).exists() else m[1], text)


def api_pages() -> None:
    """One page for every package that holds modules, and the list of them."""
    lines = ["# Python API", "", "Every package, in the order of the layers; each may import those above it.", ""]
    packages = [p.parent for folder in FOLDERS for p in sorted((ROOT / folder).rglob("__init__.py"))]
    for package in packages:
        modules = [p for p in sorted(package.glob("*.py")) if p.name != "__init__.py" and says_something(p)]
        if not modules:
            continue
        dotted = ".".join(("ecgkin", *package.relative_to(ROOT).parts))
        page = f"api/{dotted}.md"
        with mkdocs_gen_files.open(page, "w") as out:
            out.write(f"# {dotted}\n\n")
            out.writelines(f"::: {dotted}.{module.stem}\n\n" for module in modules)
        lines.append(f"- [{dotted}]({dotted}.md): {', '.join(f'`{module.stem}`' for module in modules)}")
    with mkdocs_gen_files.open("api/index.md", "w") as out:
        out.write("\n".join(lines) + "\n")


with mkdocs_gen_files.open("index.md", "w") as home:
    home.write(front_page())
api_pages()
