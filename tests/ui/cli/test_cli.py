"""The command line, called as a person would call it."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import socket
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import typer
import typer.main
from PIL import Image
from published_made import folders, names_of

import ecgkin
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.ui.cli.main import COMMANDS, joined_folds, load_command, main

HELP_MODULES = 420


class Done(NamedTuple):
    """What a command left behind."""

    status: int
    out: str
    err: str


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Run `ecgkin WORDS` in this process."""
    monkeypatch.delenv("ECGKIN_PTBXL", raising=False)
    monkeypatch.setenv("ECGKIN_ENCODER", "hashing")

    def run(*words: object) -> Done:
        capsys.readouterr()
        status = 0
        try:
            main([str(word) for word in words])
        except SystemExit as stopped:
            status = stopped.code if isinstance(stopped.code, int) else int(stopped.code is not None)
        captured = capsys.readouterr()
        return Done(status, captured.out, captured.err)

    return run


@pytest.fixture(scope="module")
def record_csv(made_record: EcgRecord, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made record as a CSV file with a time column, in mV."""
    path = tmp_path_factory.mktemp("records") / "made.csv"
    t = np.arange(made_record.n_samples) / made_record.fs_hz
    table = np.column_stack([t, made_record.signal_mv.T])
    header = ",".join(("time_s", *(f"{name} (mV)" for name in made_record.leads)))
    np.savetxt(path, table, delimiter=",", header=header, comments="", fmt="%.6f")
    return path


def test_the_table_of_commands_is_what_the_modules_make() -> None:
    """No module without its commands in the table, no command that its module does not make, and the same lines."""
    import ecgkin.ui.cli.commands as folder

    modules = {found.name for found in pkgutil.iter_modules(folder.__path__)} - {"common", "query_options"}
    assert {module for names, _ in COMMANDS.values() for module in names} == modules
    for module in modules:
        made = typer.Typer()
        importlib.import_module(f"{folder.__name__}.{module}").register(made)
        for name in typer.main.get_group(made).commands:
            assert module in COMMANDS[name][0]
    for name, (_, line) in COMMANDS.items():
        said = " ".join((load_command(name).help or "").split("\n\n")[0].split())
        assert said == line, name


def test_help_is_light() -> None:
    """`ecgkin --help` loads the command line and nothing behind it: what is loaded is counted, not timed."""
    code = (
        "import sys\nfrom ecgkin.ui.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(*sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    own = {name for name in loaded if name.partition(".")[0] == "ecgkin" and not name.startswith("ecgkin.ui.cli")}
    assert own <= {
        "ecgkin", "ecgkin.retrieval", "ecgkin.retrieval.cores", "ecgkin.retrieval.errors", "ecgkin.ui",
        "ecgkin.ui.console",
    }  # fmt: skip
    heavy = {
        "PIL",
        "cv2",
        "faiss",
        "fastapi",
        "httpx",
        "jinja2",
        "numpy",
        "pandas",
        "pydantic",
        "scipy",
        "sklearn",
        "torch",
    }
    assert not heavy & loaded
    assert len(loaded) < HELP_MODULES, "typer, rich and what they need are 325 modules of some 350"
    for command in ("demo", "ingest", "search", "render", "train", "evaluate", "download", "info", "config"):
        assert command in done.stdout


def test_version_is_the_packages() -> None:
    """One place says it: `ecgkin.__version__`."""
    done = subprocess.run([sys.executable, "-m", "ecgkin", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ecgkin.__version__


def test_folds_as_people_write_them() -> None:
    """`--folds 1 2 3` is one value; other words stay where they are."""
    assert (
        joined_folds("ingest ptbxl D --folds 1 2 3 --base B".split()) == "ingest ptbxl D --folds 1,2,3 --base B".split()
    )
    assert joined_folds("--query-folds 9 x 10".split()) == ["--query-folds", "9", "x", "10"]
    assert joined_folds(["-k", "5", "6"]) == ["-k", "5", "6"]


def test_usage_mistakes_are_one_line_and_a_hint(call) -> None:  # type: ignore[no-untyped-def]
    """They end with 2, name the command whose help says more, and draw no box."""
    cases = [
        (["serach"], "'search'", "ecgkin --help"),
        (["render", "--coulour", "red"], "--coulour", "ecgkin render --help"),
        (["search"], "BASE", "ecgkin search --help"),
        (["search", "b", "-k", "many"], "integer", "ecgkin search --help"),
        (["cases", "lsit", "b"], "'list'", "ecgkin cases --help"),
        (["search", "b", "--text"], "--text", "ecgkin search --help"),
        (["evaluate", "drafts", "--limit"], "--limit", "ecgkin evaluate drafts --help"),
    ]
    for words, said, hint in cases:
        done = call(*words)
        lines = done.err.splitlines()
        assert (done.status, done.out, len(lines)) == (2, "", 2), words
        assert lines[0].startswith("ecgkin: ") and said in lines[0] and lines[1] == f"  hint: {hint}"


class _Later(threading.Thread):
    """Answers GET /v1/info at a port after a while, once."""

    def __init__(self, port: int, after_s: float) -> None:
        super().__init__(daemon=True)
        self.port, self.after_s = port, after_s

    def run(self) -> None:
        from http.server import BaseHTTPRequestHandler, HTTPServer

        class Stub(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(418)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        time.sleep(self.after_s)
        with HTTPServer(("127.0.0.1", self.port), Stub) as server:
            server.handle_request()


def test_the_page_waits_for_a_server_that_loads(call) -> None:  # type: ignore[no-untyped-def]
    """Nothing listens yet: it says so and waits; what then answers is not asked again. Nobody at all: bounded."""
    from ecgkin.ui.web.serving import free_port

    port = free_port(0)
    later = _Later(port, 1.2)
    later.start()
    done = call("web", "--api", f"http://127.0.0.1:{port}", "--no-open")
    later.join()
    assert "waiting up to 60 s" in done.err and "418" in done.err, done.err
    nobody = call("web", "--api", f"http://127.0.0.1:{free_port(0)}", "--wait", "0.6", "--no-open")
    lines = nobody.err.splitlines()
    assert nobody.status == 1 and len(lines) == 3
    assert lines[1].endswith("did not answer: nothing listens there") and "ecgkin serve" in lines[2]
    unknown = call("web", "--api", "http://no-such-host.invalid", "--no-open")
    assert "its name is not known here" in unknown.err and "waiting" not in unknown.err


def test_help_alone(call) -> None:  # type: ignore[no-untyped-def]
    """`ecgkin` and a group of commands without more show their help; asked for, it ends with 0."""
    assert "Usage" in call().out + call().err
    assert "remove" in call("cases").out + call("cases").err
    assert call("search", "--help").status == 0 and call("--version").status == 0


def test_stopped_by_the_keyboard(call, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """Ctrl-C ends with 130 and one line."""
    import ecgkin.ui.settings

    def stop(**_given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ecgkin.ui.settings, "load_settings", stop)
    done = call("config", "show")
    assert (done.status, done.err.strip()) == (130, "ecgkin: stopped")


def test_missing_library_names_its_extra(call, case_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """Without faiss a search says what to install, and does not call it a fault of ecgkin."""
    for name in [name for name in sys.modules if name == "faiss" or name.startswith("ecgkin.index.engines")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "faiss", None)
    from ecgkin.index.folder.store import Store

    opened: list[Store] = []
    begin = Store.__init__

    def kept(store: Store, folder: Path) -> None:
        opened.append(store)
        begin(store, folder)

    monkeypatch.setattr(Store, "__init__", kept)
    done = call("search", case_base, "--text", "AFIB")
    assert done.status == 1 and "faiss" in done.err and "pip install 'ecgkin[cpu]'" in done.err
    assert opened and all(store._connection is None for store in opened), "the base's file is closed again"
    assert "fault" not in done.err


def test_every_extra_that_errors_name_exists(project_root: Path) -> None:
    """The table of libraries names extras of pyproject.toml."""
    from ecgkin.retrieval.errors import EXTRAS, missing_extra

    extras = tomllib.loads((project_root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(EXTRAS.values()) <= set(extras)
    assert missing_extra(ModuleNotFoundError("no", name="ecgkin.nowhere")) is None
    assert missing_extra(ModuleNotFoundError("no", name="ray.data")) is not None


def test_every_library_comes_with_the_base_or_its_extra_is_named(project_root: Path) -> None:
    """Whatever is imported anywhere is brought by `pip install ecgkin`, or by the extra that the error names."""
    import ast
    from importlib.metadata import PackageNotFoundError, packages_distributions, requires

    from packaging.requirements import Requirement

    from ecgkin.retrieval.errors import EXTRAS

    def brought(wanted: Iterable[str]) -> set[str]:
        """Distributions that pip installs for these, by their normal names."""
        found: set[str] = set()
        left = list(wanted)
        while left:
            one = Requirement(left.pop())
            name = one.name.lower().replace("_", "-").replace(".", "-")
            extras = one.extras or {""}
            if one.marker is not None and not any(one.marker.evaluate({"extra": extra}) for extra in extras):
                continue
            if name in found and not one.extras:
                continue
            found.add(name)
            try:
                needed = requires(one.name) or []
            except PackageNotFoundError:
                continue
            for text in needed:
                marker = Requirement(text).marker
                if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras):
                    left.append(text.partition(";")[0])
        return found

    about = tomllib.loads((project_root / "pyproject.toml").read_text())["project"]
    base, extras = brought(about["dependencies"]), about["optional-dependencies"]
    of_extra: dict[str, set[str]] = {}
    owners = packages_distributions()
    imported: dict[str, Path] = {}
    for part in ("retrieval", "generation", "index", "ui"):
        for path in (project_root / part).rglob("*.py"):
            tree = ast.parse(path.read_text())
            branches = [node for node in ast.walk(tree) if isinstance(node, ast.If)]
            typing_only = [node for node in branches if ast.unparse(node.test) == "TYPE_CHECKING"]
            inside = {id(child) for node in typing_only for child in ast.walk(node)}
            for node in ast.walk(tree):
                if id(node) in inside or not isinstance(node, ast.Import | ast.ImportFrom):
                    continue
                modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names]
                imported |= {module.partition(".")[0]: path for module in modules}
    foreign = {name: path for name, path in imported.items() if name not in {*sys.stdlib_module_names, "ecgkin"}}
    assert {"numpy", "starlette", "pynetdicom"} <= set(foreign)
    for name, path in foreign.items():
        if name in ("bitsandbytes", "dbeta", "datasets"):  # said by name where they are imported
            continue
        own = {one.lower().replace("_", "-").replace(".", "-") for one in owners.get(name, [name])}
        if name not in EXTRAS:
            assert own & base, f"{name} ({path}) comes neither with the base nor with a named extra"
            continue
        extra = EXTRAS[name]
        if extra not in of_extra:
            of_extra[extra] = brought(_flat(extra, extras))
        assert own & of_extra[extra], f"{name} is not in the extra {extra}"


def _flat(extra: str, extras: dict[str, list[str]]) -> list[str]:
    """What an extra asks for, other extras of ecgkin in it taken apart."""
    out = []
    for text in extras[extra]:
        if text.startswith("ecgkin["):
            for inner in text.partition("[")[2].rstrip("]").split(","):
                out += _flat(inner, extras)
        else:
            out.append(text)
    return out


def test_names_that_the_base_does_not_hold(call, case_base: Path) -> None:  # type: ignore[no-untyped-def]
    """An empty answer says which name of the filter no case has, and what was meant."""
    done = call("search", case_base, "--text", "AFIB", "--where", "label:AFIBB")
    assert "label:AFIBB; did you mean AFIB?" in done.err
    assert "patient=p999" in call("search", case_base, "--text", "AFIB", "--where", "patient=p999 and sex=F").err
    assert "p999" in call("search", case_base, "--text", "AFIB", "--exclude-patient", "p999").err
    assert "no case of" not in call("search", case_base, "--text", "AFIB", "--where", "age>120").err


def test_devices_and_variables_that_there_are_not(call, case_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """A device is checked before anything is loaded; a mistyped variable is pointed out."""
    done = call("search", case_base, "--text", "AFIB", "--device", "banana")
    assert done.status == 2 and "'banana'" in done.err
    monkeypatch.setenv("ECGKIN_KK", "5")
    done = call("search", case_base, "--text", "AFIB")
    assert done.status == 0 and "ECGKIN_KK in the environment is no setting (did you mean ECGKIN_K?)" in done.err


def test_cases_listed_shown_removed(call, case_base: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """In a copy of the base: filters act, one case tells all, an unknown id removes nothing."""
    import shutil

    base = tmp_path / "base"
    shutil.copytree(case_base, base)
    listed = json.loads(call("cases", "list", base, "--where", "sex=F", "--limit", 3, "--json").out)
    assert listed["total"] == 7 and len(listed["cases"]) == 3 and all(c["sex"] == "F" for c in listed["cases"])
    shown = json.loads(call("cases", "show", base, "clinic/r3.csv", "--json").out)
    assert shown["patient_id"] == "p3" and shown["samples"]["fs_hz"] == pytest.approx(500, rel=1e-3)
    assert "clinic/r3.csv" in call("cases", "show", base, "clinic/r3.csv").out
    done = call("cases", "remove", base, "clinic/r3.csv", "clinic/none", "--yes")
    assert done.status != 0 and json.loads(call("info", base, "--json").out)["n_cases"] == 14
    assert json.loads(call("cases", "remove", base, "clinic/r3.csv", "--yes", "--json").out)["n_cases"] == 13
    assert call("cases", "show", base, "clinic/r3.csv").status != 0


@pytest.mark.parametrize("suffix", ["png", "jpg", "svg", "pdf"])
def test_render_writes_a_page(call, record_csv: Path, tmp_path: Path, suffix: str) -> None:  # type: ignore[no-untyped-def]
    """A page in the format that the name asks for; its path on stdout."""
    page = tmp_path / f"page.{suffix}"
    done = call("render", record_csv, "-o", page, "--layout", "6x2", "--speed", "50", "--header", "A B")
    assert done.status == 0 and done.out.strip() == str(page)
    assert page.stat().st_size > 5_000
    if suffix == "png":
        with Image.open(page) as picture:
            assert picture.size[0] > 1000


def test_render_json(call, record_csv: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Facts about the page as JSON on stdout, and nothing else there."""
    done = call("render", record_csv, "-o", tmp_path / "p.png", "--json", "--width", "1100", "--height", "850")
    facts = json.loads(done.out)
    assert facts["size_px"] == [1100, 850] and facts["fs_hz"] == pytest.approx(500) and facts["missing_leads"] == []


def test_render_mistakes_are_one_line_and_a_hint(call, record_csv: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """No traceback, exit status 2, nothing on stdout, nothing written."""
    cases = [
        (tmp_path / "absent.hea", tmp_path / "p.png", []),
        (record_csv, tmp_path / "p.xyz", []),
        (record_csv, tmp_path / "no" / "folder" / "p.png", []),
        (record_csv, tmp_path / "p.png", ["--layout", "4x4"]),
        (record_csv, tmp_path / "p.png", ["--gain", "0"]),
        (record_csv, tmp_path / "p.png", ["--grid", "purple"]),
    ]
    for source, target, more in cases:
        done = call("render", source, "-o", target, *more)
        lines = done.err.strip().splitlines()
        assert done.status == 2 and done.out == "" and not target.exists()
        assert lines[0].startswith("ecgkin: ") and len(lines) <= 2 and "Traceback" not in done.err


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    """`ecgkin --debug` is for those who want to see where."""
    words = [
        sys.executable,
        "-m",
        "ecgkin",
        "--debug",
        "render",
        "absent.hea",
        "-o",
        str(tmp_path / "p.png"),
    ]
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode != 0 and "Traceback" in done.stderr and "RecordError" in done.stderr


@pytest.fixture(scope="module")
def case_base(made_record: EcgRecord, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base of 14 cases, filled by `ecgkin ingest folder`: two files are no ECG, one line of the table has no file."""
    root = tmp_path_factory.mktemp("cases")
    files = root / "clinic"
    files.mkdir()
    lines = ["file,case_id,patient_id,age,sex,report,labels,date"]
    for number in range(14):
        noise = np.random.default_rng(number).normal(0, 0.2, (12, 2500))
        signal = made_record.signal_mv[:, :2500] + noise
        header = ",".join(f"{name} (mV)" for name in made_record.leads)
        t = np.arange(signal.shape[1]) / made_record.fs_hz
        table = np.column_stack([t, signal.T])
        np.savetxt(files / f"r{number}.csv", table, delimiter=",", header=f"time_s,{header}", comments="", fmt="%.5f")
        code = ("NORM", "AFIB")[number % 2]
        lines.append(
            f"r{number}.csv,,p{number},{40 + number},{'FM'[number % 2]},{code} report \x1b[2J,{code},1999-01-02"
        )
    lines.append("absent.csv,,p99,50,F,none,NORM,1999-01-02")
    (files / "cases.csv").write_text("\n".join(lines) + "\n")
    (files / "note.png").write_text("this is text")
    (files / "empty.csv").write_text("")
    words = [
        sys.executable,
        "-m",
        "ecgkin",
        "ingest",
        "folder",
        str(files),
        "--base",
        str(root / "base"),
        "--json",
    ]
    environment = {**os.environ, "ECGKIN_ENCODER": "hashing"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 2 and "3 of 17 files could not be read" in done.stderr
    report = json.loads(done.stdout)
    assert (report["added"], report["n_cases"], len(report["failed"])) == (14, 14, 3)
    assert all(name in done.stderr for name in ("absent.csv", "note.png", "empty.csv"))
    return root / "base"


def test_ingest_again_passes_over(call, case_base: Path) -> None:  # type: ignore[no-untyped-def]
    """A second ingest of the same folder adds nothing."""
    report = json.loads(call("ingest", "folder", case_base.parent / "clinic", "--base", case_base, "--json").out)
    assert (report["added"], report["updated"], report["skipped"], report["n_cases"]) == (0, 0, 14, 14)


def test_ingest_of_nothing_readable_fails(call, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Where nothing came out the status is not 0."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("no numbers here\n")
    done = call("ingest", "folder", tmp_path / "in", "--base", tmp_path / "base")
    assert done.status == 2 and "a.csv" in done.err and "none of the 1 files" in done.err


def test_search_by_recording_and_filter(call, case_base: Path) -> None:  # type: ignore[no-untyped-def]
    """The record itself comes first; a filter acts inside the search; --where may come several times."""
    file = case_base.parent / "clinic" / "r3.csv"
    found = json.loads(call("search", case_base, file, "-k", 5, "--json").out)
    assert found["query"] == "record" and len(found["hits"]) == 5
    first = found["hits"][0]
    assert (first["rank"], first["case"]["case_id"]) == (1, "clinic/r3.csv") and first["score"] == pytest.approx(
        1, abs=1e-3
    )
    words = ("search", case_base, file, "-k", 5, "--json", "--where", "sex=F", "--where", "age>=44 or age<=41")
    hits = json.loads(call(*words).out)["hits"]
    assert len(hits) == 5 and all(hit["case"]["sex"] == "F" and hit["case"]["age_years"] != 42 for hit in hits)
    others = json.loads(call("search", case_base, file, "-k", 14, "--json", "--exclude-patient", "p3").out)["hits"]
    assert len(others) == 13 and all(hit["case"]["patient_id"] != "p3" for hit in others)


def test_another_classifier_has_a_line_of_its_own(call, case_base: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Its weights are named by option or setting; a name that means none is refused before anything is searched."""
    file = case_base.parent / "clinic" / "r3.csv"
    witness = names_of(folders(tmp_path))["ecgfounder"]
    answer = call("search", case_base, file, "--json", "--witness", witness)
    said = json.loads(answer.out)["testimony"]
    assert set(said) == {"ecgfounder"} and 0 <= said["ecgfounder"]["AFIB"] <= 1
    assert "QWAVE" not in said["ecgfounder"]
    drafted = " ".join(call("draft", case_base, file, "--witness", witness).out.split())
    assert "ecgfounder says, not fitted to these cases:" in drafted
    refused = call("search", case_base, file, "--witness", f"merl:{tmp_path}")
    assert refused.status == 2 and "reads no statements off an ECG" in refused.err


@pytest.mark.parametrize("command", ["search", "draft"])
def test_options_for_the_other_kind_of_file_are_refused(  # type: ignore[no-untyped-def]
    call, case_base: Path, record_csv: Path, tmp_path: Path, command: str
) -> None:
    """A rate, units or a start mean nothing of a picture, a page nothing of a recording: said before models load."""
    picture = tmp_path / "page.png"
    Image.new("RGB", (600, 400), "white").save(picture)
    for option, value in (("--fs", 250), ("--units", "uV"), ("--start", 3), ("--start", 0)):
        refused = call(command, case_base, picture, option, value)
        assert refused.status == 2 and f"{option} given for a recording" in refused.err, (option, refused.err)
        assert "page.png is a picture" in refused.err and refused.out == ""
    both = call(command, case_base, picture, "--fs", 250, "--units", "mV")
    assert "leave out --fs, --units" in both.err
    refused = call(command, case_base, record_csv, "--page", 2)
    assert refused.status == 2 and "made.csv is a recording" in refused.err and "--start" in refused.err


def test_a_draft_of_a_recording_that_says_neither_rate_nor_units(call, case_base: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """What the file leaves open is given as for a search, and the page begins where it is said to."""
    known = np.genfromtxt(case_base.parent / "clinic" / "r3.csv", delimiter=",", skip_header=1)[:, 1:]
    head = (case_base.parent / "clinic" / "r3.csv").read_text().splitlines()[0].replace(" (mV)", "").split(",")[1:]
    quiet = np.zeros((2500, known.shape[1])) + np.random.default_rng(1).normal(0, 5, (2500, 1))
    bare = tmp_path / "bare.csv"
    table = np.vstack([quiet, 1000 * known])
    np.savetxt(bare, table, delimiter=",", header=",".join(head), comments="", fmt="%.2f")
    assert call("draft", case_base, bare).status == 2  # no rate
    words = ("--fs", 500, "--units", "uV", "--start", 5, "--json")
    drafted = call("draft", case_base, bare, *words)
    assert drafted.status == 0, drafted.err
    found = json.loads(call("search", case_base, bare, *words).out)["hits"][0]
    assert found["case"]["patient_id"] == "p3" and found["score"] == pytest.approx(1, abs=1e-3)
    assert json.loads(drafted.out)["evidence"][0]["case_id"] == found["case"]["case_id"]


def test_search_by_picture_words_and_both(call, case_base: Path, record_csv: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """A picture is recognised by its content, too; the kind of query is told."""
    page = tmp_path / "page.png"
    assert call("render", record_csv, "-o", page).status == 0
    hidden = tmp_path / "page"
    hidden.write_bytes(page.read_bytes())
    assert json.loads(call("search", case_base, page, "--json").out)["query"] == "image"
    assert json.loads(call("search", case_base, hidden, "--json").out)["query"] == "image"
    assert json.loads(call("search", case_base, "--text", "AFib", "--json").out)["query"] == "text"
    words = call("search", case_base, "--text", "no AFib in women")
    assert "understood: not atrial fibrillation (AFIB); female" in words.out
    assert "understood" not in call("search", case_base, "--text", "no AFib in women", "--raw").out
    assert json.loads(call("search", case_base, page, "--text", "AFib", "--json").out)["query"] == "image+text"


def test_search_table_is_clean(call, case_base: Path) -> None:  # type: ignore[no-untyped-def]
    """Hits for people on stdout, notes on stderr, and no control characters from a report on either."""
    done = call("search", case_base, "--text", "AFIB report", "-k", 3)
    assert done.status == 0 and done.out.count("clinic/r") == 3 and "note:" in done.err
    assert "\x1b" not in done.out and "\x1b" not in done.err


def test_search_mistakes(call, case_base: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Each mistake has the status of its kind, one line and at most one hint."""
    text = tmp_path / "text.png"
    text.write_text("not a picture")
    cases = [
        (3, (tmp_path / "nowhere", "--text", "x")),
        (2, (case_base,)),
        (2, (case_base, tmp_path / "absent.csv")),
        (2, (case_base, text)),
        (2, (case_base, "--text", "x", "--where", "age>>3")),
        (2, (case_base, "--text", "x", "-k", "0")),
        (2, (case_base, "--text", " ")),
    ]
    for status, words in cases:
        done = call("search", *words)
        assert (done.status, done.out) == (status, ""), (words, done)
        assert done.err.startswith("ecgkin: ") and len(done.err.splitlines()) <= 2


def test_info(call, case_base: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """What the base holds; a folder without one is an error."""
    facts = json.loads(call("info", case_base, "--verify", "--json").out)
    assert (facts["n_cases"], facts["encoder"], facts["verified"]) == (14, "hashing", True)
    assert "AFIB" in call("info", case_base).out
    assert call("info", tmp_path).status == 3


def test_download_without_network(call, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """A server that nobody runs: an error in one line, within seconds."""
    done = call("download", "ptbxl", tmp_path / "d")
    assert done.status == 1 and done.err.startswith("ecgkin: http://127.0.0.1:9/ cannot be reached")


def test_evaluate_needs_data(call) -> None:  # type: ignore[no-untyped-def]
    """Without a PTB-XL folder there is nothing to measure; folds are checked."""
    done = call("evaluate", "retrieval")
    assert done.status == 2 and "ECGKIN_PTBXL" in done.err
    done = call("train", "absent.json")
    assert done.status == 2 and "absent.json" in done.err


def test_log_settings_are_followed(case_base: Path) -> None:
    """ECGKIN_LOG_LEVEL and ECGKIN_LOG_FORMAT rule what goes to stderr beside the notes."""
    words = [sys.executable, "-m", "ecgkin", "search", str(case_base), "--text", "AFIB", "--json"]
    chosen = {"ECGKIN_LOG_LEVEL": "INFO", "ECGKIN_LOG_FORMAT": "json", "ECGKIN_ENCODER": "hashing"}
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, **chosen}, check=True)
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert any(line["message"].startswith("searched query=text") for line in lines)
    assert json.loads(done.stdout)["query"] == "text"


def test_config_show(call, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """Values with their origin."""
    monkeypatch.setenv("ECGKIN_K", "4")
    done = call("config", "show", "--json")
    shown = json.loads(done.out)
    assert (shown["k"]["value"], shown["k"]["from"]) == (4, "environment ECGKIN_K")
    assert shown["device"]["from"] == "default"
    assert "environment ECGKIN_K" in call("config", "show").out
    monkeypatch.setenv("ECGKIN_K", "many")
    done = call("config", "show")
    assert done.status == 2 and "setting k" in done.err


def test_a_port_that_is_taken_is_said_before_anything_is_loaded(call, simulated_base: Path) -> None:  # type: ignore[no-untyped-def]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = call("serve", simulated_base, "--port", port, "--encoder", "none-of-this-name")
    assert done.status == 2 and f"127.0.0.1:{port} cannot be listened on" in done.err
    assert "hint: " in done.err and "none-of" not in done.err


def test_cases_that_are_not_there_are_counted_before_an_export(  # type: ignore[no-untyped-def]
    call, simulated_base: Path, tmp_path: Path
) -> None:
    from ecgkin.index import open_base

    with open_base(simulated_base) as base:
        (known,) = base.cases(limit=1)
    out = tmp_path / "out"
    done = call("export", simulated_base, "--out", out, "--case", "nope", "--case", known.case_id, "--case", "nor this")
    assert done.status == 2 and "case 'nope' is not in the base (2 of 3 are not)" in done.err
    assert "cases list" in done.err and not out.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["search", "{base}", "nofile.jpg"], "'nofile.jpg' cannot be read"),
        (["search", "{base}", "--text", "AF", "--device", "banana"], "device is 'banana'"),
        (["ingest", "folder", "/nonexistent", "--base", "{new}"], "is not a folder"),
    ],
)
def test_mistakes_come_with_a_hint(  # type: ignore[no-untyped-def]
    call, simulated_base: Path, tmp_path: Path, words: list[str], said: str
) -> None:
    done = call(*(word.format(base=simulated_base, new=tmp_path / "new") for word in words))
    assert done.status == 2 and said in done.err and "hint: " in done.err
