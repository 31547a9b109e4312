"""What is installed: every package, every data file, and a command that runs far from the source tree."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("retrieval", "generation", "index", "ui")
LEFT_BEHIND = ("__pycache__",)


def source_files() -> Iterator[Path]:
    """Every file of the package, relative to the project: the two modules at the top, and the four folders."""
    yield from (Path("__init__.py"), Path("__main__.py"))
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and not any(part in LEFT_BEHIND for part in path.parts):
                yield path.relative_to(ROOT)


def settings() -> dict[str, object]:
    """pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def run(*command: str | Path, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command and show what it wrote where it fails."""
    words = [str(part) for part in command]
    done = subprocess.run(words, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True)
    wrote = f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    assert done.returncode == 0, f"{words} ended with {done.returncode}:\n{wrote}"
    return done


def test_every_package_is_listed() -> None:
    """The list in pyproject.toml is every folder with an __init__.py, and no other."""
    listed = settings()["tool"]["setuptools"]["packages"]  # type: ignore[index]
    found = {".".join(("ecgkin", *path.parent.parts)) for path in source_files() if path.name == "__init__.py"}
    assert sorted(listed) == sorted(found)


def test_every_folder_with_modules_is_a_package() -> None:
    """A folder of modules without __init__.py would be left out of the wheel without a word."""
    folders = {path.parent for path in source_files() if path.suffix == ".py"}
    assert not [folder for folder in folders if not (ROOT / folder / "__init__.py").exists()]


def test_constraints_name_every_dependency() -> None:
    """Each direct dependency, of all extras but the GPU's, is pinned to what the tests ran with."""
    project = settings()["project"]
    assert isinstance(project, dict)
    wanted = [*project["dependencies"]]
    for extra, needs in project["optional-dependencies"].items():
        wanted += [] if extra == "gpu" else needs
    names = {normal(re.split(r"[<>=!;\[ ]", need, maxsplit=1)[0]) for need in wanted}
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert names - {normal(name) for name in pins} == {"ecgkin", "setuptools"}  # pip freeze leaves these two out
    assert not [pin for pin in pins.values() if "+" in pin], "a local version such as +cpu is not on PyPI"


def normal(name: str) -> str:
    """Package name as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the source, so that nothing is left in the source tree."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for path in [*source_files(), Path("pyproject.toml"), Path("README.md")]:
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, source / path)
    pip = (sys.executable, "-m", "pip")
    run(*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, source, cwd=folder)
    return next(folder.glob("ecgkin-*.whl"))


@pytest.mark.slow
def test_wheel_holds_every_file(wheel: Path) -> None:
    """Modules, statement names, model configurations, weights and templates are inside, under `ecgkin/`."""
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert inside == {f"ecgkin/{path.as_posix()}" for path in source_files()}


@pytest.mark.slow
def test_installed_wheel_runs_away_from_the_source(wheel: Path, tmp_path: Path) -> None:
    """In another environment and another folder: the command starts, searches, and writes the demo's page."""
    venv = tmp_path / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", venv, cwd=tmp_path)
    python = venv / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", wheel, cwd=tmp_path)
    # The dependencies of this environment, as a plain folder: its .pth files (our editable install) are not read.
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(run(python, "-c", ask, cwd=tmp_path).stdout.strip())
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")

    where = run(python, "-c", "import ecgkin.ui.cli.main as m; print(m.__file__)", cwd=tmp_path).stdout.strip()
    assert Path(where).is_relative_to(venv)
    assert "demo" in run(venv / "bin" / "ecgkin", "--help", cwd=tmp_path).stdout
    command = (venv / "bin" / "ecgkin", "demo", "--no-open", "--cases", "40", "--out", tmp_path / "out")
    done = run(*command, cwd=tmp_path, ECGKIN_HOME=str(tmp_path / "home"), ECGKIN_PTBXL="")
    assert len(re.findall(r"simulated/", done.stdout)) >= 10
    assert (tmp_path / "out" / "demo.html").stat().st_size > 10_000


def test_readme_commands_are_those_of_ci(project_root: Path) -> None:
    """`.ci/run` takes the two commands from the README: they stand at the beginning of a line, once each."""
    readme = (project_root / "README.md").read_text(encoding="utf-8").splitlines()
    first = [line for line in readme if line.startswith("python3 -m venv .venv && ")]
    second = [line for line in readme if line.startswith(".venv/bin/pip install")]
    assert len(first) == 1 and " scripts/install.py " in first[0] and first[0].endswith("/ecgkin demo")
    assert len(second) == 1 and "-c constraints.txt" in second[0] and second[0].endswith(" && .venv/bin/pytest -q")
