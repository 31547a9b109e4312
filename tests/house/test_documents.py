"""What the documents for newcomers say of the tree is so: its version, and every path that they name."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from commands_shown import commands_of, complaint, script_complaint, scripts_of

import ecgkin

ROOT = Path(__file__).resolve().parents[2]
# Made by commands, not part of the tree.
MADE = ("runs/", ".venv/")
_PATH = re.compile(r"[\w.*-]+(?:/[\w.*-]+)*/?")
_FILE = re.compile(r".*\.(?:py|json|md|toml|ya?ml|txt|cff|sh)\Z")


def named_paths(line: str) -> list[str]:
    """Words in backquotes and targets of links that are paths: with a slash, or with a file's suffix."""
    words = re.findall(r"`([^`]+)`", line) + re.findall(r"\]\(([^)#:]+)\)", line)
    return [word for word in words if _PATH.fullmatch(word) and ("/" in word or _FILE.match(word))]


def missing_paths(document: Path, root: Path) -> list[str]:
    """Paths of a document that are not there.

    A path may be written from the root, from the document, or from a folder that was named earlier in the same line;
    a module may be written without its suffix.
    """
    missing = []
    for line in document.read_text(encoding="utf-8").splitlines():
        bases = [root, document.parent]
        for word in named_paths(line):
            if word.startswith(MADE):
                continue
            found = [path for base in bases for path in (*base.glob(word.rstrip("/")), *base.glob(f"{word}.py"))]
            if not found:
                missing.append(word)
                continue
            folder = found[0] if found[0].is_dir() else found[0].parent
            bases += [folder, folder.parent]
    return missing


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_named_paths_exist(name: str) -> None:
    """Whoever follows the newcomer's walk, or the map, finds each file and folder."""
    assert missing_paths(ROOT / name, ROOT) == []


def test_a_path_that_is_not_there_is_found(tmp_path: Path) -> None:
    """The test above sees a wrong folder, a wrong file beside a right one, and follows folders along a line only."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "one.py").touch()
    page = tmp_path / "page.md"
    page.write_text(
        "`a/b/`: `one.py`, `b/one.py`, [text](a/b/one.py), `a/b/one`\n`two words.py` `x = 1/2` `a/*/one.py`\n"
    )
    assert missing_paths(page, tmp_path) == []
    page.write_text("`a/b/`: `two.py`, `a/c/`\n`one.py`\n[text](a/none.md), `runs/eval`\n")
    assert missing_paths(page, tmp_path) == ["two.py", "a/c/", "one.py", "a/none.md"]


def test_the_walk_names_ten_things_and_more() -> None:
    """ "Where do I change ..." is a table of at least ten rows, each with a path."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    walk = text.partition("## Where do I change ...")[2].partition("\n## ")[0]
    rows = [line for line in walk.splitlines() if line.startswith("| ") and not line.startswith("| ...")]
    assert len(rows) >= 10 and all(named_paths(row) for row in rows)


def test_one_version() -> None:
    """The package says its version, and the build takes it from there; changelog and citation say the same."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" not in project["project"] and project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "ecgkin.__version__"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", ecgkin.__version__)
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (\S+)$", citation, flags=re.MULTILINE) == [ecgkin.__version__]
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## (\d+\.\d+\.\d+)", changes, flags=re.MULTILINE)
    assert versions[0] == ecgkin.__version__
    numbers = [tuple(map(int, version.split("."))) for version in versions]
    assert numbers == sorted(set(numbers), reverse=True)


PLACES = ("*.md", "docs/**/*.md", "*/**/weights/**/*.md")
DOCUMENTS = sorted({str(path.relative_to(ROOT)) for place in PLACES for path in ROOT.glob(place)})


@pytest.mark.parametrize("name", DOCUMENTS)
def test_commands_that_a_document_shows_exist(name: str) -> None:
    """Each `ecgkin ...` and `python scripts/...` has a command or script, and options, that there are."""
    text = (ROOT / name).read_text(encoding="utf-8")
    wrong = [f"ecgkin {' '.join(words)}: {said}" for words in commands_of(text) if (said := complaint(words))]
    wrong += [f"{' '.join(words)}: {said}" for words in scripts_of(text) if (said := script_complaint(words, ROOT))]
    # A family of commands may be named by its first word alone, and history names what is gone.
    assert [line for line in wrong if not line.endswith("no command []")] == [] or name == "CHANGELOG.md", wrong


def test_commands_are_found_and_judged() -> None:
    """The test above sees commands on lines and in backquotes, over two lines, with settings before them."""
    text = "```\n$ ecgkin serve x --host y  # said\nA_B=1 ecgkin search b \\\n  --text z | head\n```\n"
    text += "ecgkin says nothing.\n`ecgkin info b` python scripts/no.py --x"
    assert commands_of(text) == [["serve", "x", "--host", "y"], ["search", "b", "--text", "z"], ["info", "b"]]
    assert [complaint(words) for words in commands_of(text)] == ["", "", ""]
    assert complaint(["serve", "x", "--hots", "y"]) == "no option ['--hots']"
    assert complaint(["sevre"]) == "no command ['sevre']" and complaint(["ingest"]) == "no command []"
    assert script_complaint(scripts_of(text)[0], ROOT) == "no script scripts/no.py"
    assert script_complaint(["scripts/bench_page.py", "--visits", "--nothing"], ROOT) == "no option ['--nothing']"
    assert len(commands_of((ROOT / "README.md").read_text(encoding="utf-8"))) >= 10


def missing_name(name: str) -> bool:
    """Whether `ecgkin.a.b.c` names neither a folder, nor a module, nor what stands in one."""
    path, *parts = ROOT, *name.split(".")[1:]
    while parts and (path / parts[0]).is_dir():
        path = path / parts.pop(0)
    if parts and (path / f"{parts[0]}.py").is_file():
        path = path / f"{parts.pop(0)}.py"
    source = path if path.is_file() else path / "__init__.py"
    text = source.read_text(encoding="utf-8") if source.is_file() else ""
    # What is behind the first name in a module is a member of it.
    return bool(parts) and re.search(rf"\b{parts[0]}\b", text) is None


@pytest.mark.parametrize("name", [name for name in DOCUMENTS if name != "CHANGELOG.md"])
def test_python_names_of_a_document_exist(name: str) -> None:
    """Each `ecgkin.module.name` in backquotes."""
    names = re.findall(r"`(ecgkin(?:\.\w+)+)", (ROOT / name).read_text(encoding="utf-8"))
    assert [one for one in names if missing_name(one)] == []


def test_a_name_that_is_not_there_is_found() -> None:
    assert not missing_name("ecgkin.retrieval.errors.EcgkinError") and not missing_name("ecgkin.generation.backends")
    assert missing_name("ecgkin.generation.pulse") and missing_name("ecgkin.retrieval.errors.NoSuchError")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_table_stands_twice(name: str) -> None:
    """No two figures' rows of one table are the same."""
    text = (ROOT / name).read_text(encoding="utf-8")
    for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        rows = [row for row in block.splitlines() if sum(map(str.isdigit, row)) > 4]
        assert len(set(rows)) == len(rows), next(row for row in rows if rows.count(row) > 1)
