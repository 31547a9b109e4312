"""`ecgkin draft`, `ecgkin evaluate drafts`, `ecgkin pulse`, called as a person would call them."""

from __future__ import annotations

import csv
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from ecgkin.generation.research.drafts.arms import BUILT_IN
from ecgkin.generation.research.drafts.evaluate import evaluate_drafts
from ecgkin.generation.research.drafts.runs import DraftLine, RunFile
from ecgkin.generation.research.drafts.scores import macro_f1, micro_f1, score_arm
from ecgkin.generation.research.retrieval import galleries
from ecgkin.generation.types.draft import Draft, DraftFlag
from ecgkin.index import create_base
from ecgkin.index.case import Case
from ecgkin.retrieval.ecg.drawing.raster import render
from ecgkin.retrieval.ecg.formats.ptbxl import PtbXl
from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.simulation.simulate import SimulatedEcg, simulate
from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.retrieval.errors import QueryError
from ecgkin.ui.cli.commands.draft import show_draft
from ecgkin.ui.cli.main import main

TINY = Path(__file__).parents[2] / "fixtures" / "pulse-tiny"
KINDS = (["NORM"], ["AFIB"], ["CLBBB"], ["SR", "LVH"])
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run `ecgkin WORDS` in this process: status, stdout, stderr."""
    monkeypatch.setenv("ECGKIN_ENCODER", "hashing")

    def run(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        status = 0
        try:
            main([str(word) for word in words])
        except SystemExit as stopped:
            status = stopped.code if isinstance(stopped.code, int) else int(stopped.code is not None)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture(scope="module")
def made() -> list[SimulatedEcg]:
    return [simulate(KINDS[i % 4], np.random.default_rng(i), fs_hz=100.0) for i in range(44)]


@pytest.fixture(scope="module")
def base(made: list[SimulatedEcg], tmp_path_factory: pytest.TempPathFactory) -> Path:
    encoder = HashingEncoder()
    path = tmp_path_factory.mktemp("cli-draft") / "base"
    cases = [Case(f"sim/{i}", labels=one.labels, report=one.report_en) for i, one in enumerate(made)]
    with create_base(path, encoder.name, encoder.fingerprint, encoder.dim) as opened:
        opened.add(cases, encoder.encode_records([one.record for one in made]))
    return path


@pytest.fixture(scope="module")
def page(made: list[SimulatedEcg], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli-draft-page") / "page.png"
    render(made[2].record).save(path)
    return path


@pytest.fixture(scope="module")
def small_ptbxl(made: list[SimulatedEcg], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty-four simulated records in PTB-XL's layout: folds 1 and 9, two records a patient."""
    root = tmp_path_factory.mktemp("ptbxl")
    folder = root / "records100" / "00000"
    folder.mkdir(parents=True)
    columns = "ecg_id patient_id age sex device recording_date report scp_codes strat_fold filename_lr filename_hr"
    with (root / "ptbxl_database.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(columns.split())
        for i, one in enumerate(made, 1):
            name = f"{i:05d}_lr"
            samples = np.round(one.record.signal_mv.T * 1000).astype("<i2")
            samples.tofile(folder / f"{name}.dat")
            lines = [f"{name} 12 100 {len(samples)}"]
            lines += [f"{name}.dat 16 1000(0)/mV 16 0 0 0 0 {lead}" for lead in LEADS]
            (folder / f"{name}.hea").write_text("\n".join(lines) + "\n")
            path = f"records100/00000/{name}"
            report = one.report_de if i % 3 else one.report_en
            table.writerow([i, float(i // 2), 60, 1, "made", "2000-01-01 00:00:00", report, repr(one.labels),
                            9 if i > 32 else 1, path, path])  # fmt: skip
    return root


def test_draft_for_people_and_programs(call: Call, base: Path, page: Path) -> None:
    status, out, err = call("draft", base, page, "--lang", "de")
    assert status == 0 and out.startswith("Rhythmus: ") and "ersetzt keine ärztliche" in out and "sim/" in out
    assert "not calibrated" in err
    status, out, _ = call("draft", base, page, "-k", 5, "-q", "Is there atrial fibrillation?", "--json")
    value = json.loads(out)
    assert status == 0 and value["status"] == "preliminary" and len(value["evidence"]) >= 5
    assert value["question"] == "Is there atrial fibrillation?" and value["sentences"] is not None
    status, streamed, _ = call("draft", base, page, "--stream")
    assert status == 0 and call("draft", base, page)[1].splitlines()[:3] == streamed.splitlines()[:3]


@pytest.mark.parametrize("text", [True, False])
def test_flags_that_a_text_does_not_name_are_printed(capsys: pytest.CaptureFixture[str], text: bool) -> None:
    """A language model says nothing of them; what it does say, and mere notes, are not said again."""
    flags = tuple(
        DraftFlag(code, severity, title, f"{title}. By a published criterion.")
        for code, severity, title in (
            ("st_elevation", "urgent", "ST elevation in II, aVF"),
            ("qtc_above_500", "urgent", "QTc 520 ms"),
            ("atrial_fibrillation", "note", "Irregular rhythm"),
        )
    )
    show_draft(Draft("Sinus rhythm. qtc 520 ms.", "en", "a model", flags=flags), text=text)
    printed = capsys.readouterr().out
    assert ("Sinus rhythm." in printed) is text
    assert "ST elevation in II, aVF. By a published criterion." in printed
    assert "QTc 520 ms. By" not in printed and "Irregular rhythm" not in printed


def test_the_prompt_is_shown_with_its_tokens(call: Call, base: Path, page: Path, small_ptbxl: Path) -> None:
    """A recording is drawn at 2:1 and leaves room for 512 tokens; a checkpoint counts by its own rules."""
    record = next(small_ptbxl.rglob("*.hea"))
    status, out, _ = call("draft", base, record, "--show-prompt", "--json")
    shown = json.loads(out)
    assert status == 0 and shown["page_px"] == [2200, 1100] and shown["image_tokens"] == 1728
    assert shown["left"] >= 0 and shown["prompt_tokens"] + 512 + shown["left"] == shown["context_length"] == 4096
    assert len(shown["cases"]) == 3 and "[3] similarity" in shown["prompt"] and "rate " in shown["prompt"]
    status, out, _ = call("draft", base, page, "--show-prompt", "-k", 1, "-q", "Is there a block?")
    assert status == 0 and "Is there a block?" in out and "visual tokens" in out and "at most" in out
    words = ("--show-prompt", "--json", "-m", f"pulse:{TINY}", "--max-new-tokens", 16)
    status, out, _ = call("draft", base, record, *words)
    tiny = json.loads(out)
    assert status == 0 and tiny["exact"] and tiny["counted_by"] == "pulse-tiny" and tiny["image_tokens"] == 192


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (("-k", "99"), 2, "k is 99"),
        (("--model", "gpt"), 2, "model is 'gpt'"),
        (("--model", "pulse:/nowhere"), 5, "hint:"),
        (("--model", "http://127.0.0.1:9/v1?key=1"), 5, "query"),
    ],
)
def test_mistakes_are_one_line(
    call: Call, base: Path, page: Path, words: tuple[str, ...], status: int, says: str
) -> None:
    done = call("draft", base, page, *words)
    assert done[0] == status and says in done[2] and done[1] == "" and "Traceback" not in done[2]


def test_evaluate_drafts(call: Call, small_ptbxl: Path, tmp_path: Path) -> None:
    """All built-in arms, fitted thresholds, run files that are used again, and another arm added."""
    words = ("evaluate", "drafts", "--ptbxl", small_ptbxl, "--gallery-folds", "1", "--out", tmp_path, "--resamples", 20)
    status, out, err = call(*words, "--fit", tmp_path / "fitted")
    assert status == 0 and "| superclass macro-F1 |" in out and "cross-validated" in err, err
    runs = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "runs").iterdir()}
    assert len(runs) == len(BUILT_IN) and {"vote.jsonl", "vote+head.jsonl", "recording.jsonl"} <= set(runs)
    limits = json.loads((tmp_path / "fitted" / "draft_thresholds.json").read_text())
    assert set(limits["statements"]) >= {"SR", "AFIB"} and "leave-patient-out" in limits["fitted_on"]
    again = call(*words, "--fit", tmp_path / "again", "--arms", "consensus,consensus+signal", "--json")
    report = json.loads(again[1])
    assert again[0] == 0 and set(report["arms"]) == {"consensus", "consensus+signal"}
    assert (tmp_path / "runs" / "consensus.jsonl").stat().st_mtime_ns == runs["consensus.jsonl"]
    assert report["arms"]["consensus"]["measures"]["citation precision"]["value"] > 0.9
    assert "consensus+signal: superclass macro-F1" in report["tests"]
    status, _, err = call(*words, "--arms", "consensus")  # default thresholds now: another run
    assert status == 2 and "another run" in err
    status, _, err = call("evaluate", "drafts", "--ptbxl", small_ptbxl, "--gallery-folds", "1", "--arms", "model k=1")
    assert status == 2 and "needs a model" in err


def test_recordings_alone_draw_no_page(small_ptbxl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The arm of recordings needs no page, and its figures are those it has beside the others."""
    options = {"gallery_folds": (1,), "resamples": 10}
    beside = evaluate_drafts(small_ptbxl, HashingEncoder(), arms=["consensus", "recording"], **options)  # type: ignore[arg-type]
    monkeypatch.setattr(galleries, "draw_query", lambda *_: pytest.fail("a page was drawn"))
    alone = evaluate_drafts(small_ptbxl, HashingEncoder(), arms=["recording"], **options)  # type: ignore[arg-type]
    # As text: from Python 3.13 on, two intervals without limits (NaN) are not equal.
    assert repr(alone.arms["recording"].measures) == repr(beside.arms["recording"].measures)


def test_model_arms_on_the_tiny_checkpoint(small_ptbxl: Path, tmp_path: Path) -> None:
    """They run through the same door, are resumed after a kill, and say that they prove the road only."""

    class Parrot:
        name = "parrot"
        context_length = 4096
        asked = 0

        def generate(self, request: object) -> object:
            from ecgkin.generation.backends.base import Completion

            self.asked += 1
            return Completion("Sinus rhythm [1]. [9]", 7, 3, None, 0.0, "stop")

        def stream(self, request: object) -> object:
            raise NotImplementedError

        def count_tokens(self, prompt: str, image: object = None) -> int:
            return len(prompt) // 4

    parrot = Parrot()
    options = {"gallery_folds": (1,), "backend": parrot, "out_dir": tmp_path, "limit": 4, "resamples": 10}
    arms = ["consensus", "model", "model k=1", "model random k=3"]
    report = evaluate_drafts(small_ptbxl, HashingEncoder(), arms=arms, **options)  # type: ignore[arg-type]
    assert "prove the road" in report.as_markdown() and parrot.asked == 12
    assert report.arms["model k=1"].measures["unknown citations a draft"].value == 1.0
    assert report.arms["model k=1"].cost["tokens in"] == 7.0
    run = next(path for path in (tmp_path / "runs").iterdir() if path.name.startswith("model-k=1"))
    run.write_text(run.read_text()[:-30])
    evaluate_drafts(small_ptbxl, HashingEncoder(), arms=arms, **options)  # type: ignore[arg-type]
    assert parrot.asked == 13


class Door(BaseHTTPRequestHandler):
    """A chat completion that answers one text and keeps what it was asked."""

    asked: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        self.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        message = {"role": "assistant", "content": "Sinus rhythm [1]. Normal ECG."}
        answer = {"choices": [{"message": message, "finish_reason": "stop"}], "usage": {"prompt_tokens": 5}}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


def test_model_arms_through_a_server(call: Call, small_ptbxl: Path, tmp_path: Path) -> None:
    """Picture alone, with 1, 3 and 5 cases, with random ones; an arm that is added asks for itself only."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Door.asked.clear()
    arms = ["model", "model k=1", "model k=3", "model random k=3"]
    address = f"http://127.0.0.1:{server.server_port}/v1#tiny"
    words = ("evaluate", "drafts", "--ptbxl", small_ptbxl, "--gallery-folds", "1", "--limit", 2, "--out", tmp_path)
    try:
        for chosen in (arms, [*arms, "model k=5"]):
            status, out, err = call(*words, "--model", address, "--arms", ",".join(chosen), "--resamples", 10)
            assert status == 0, err
    finally:
        server.shutdown()
        server.server_close()
    assert "prove the road, not the quality" in out and "| model k=5 |" in out
    parts = [request["messages"][-1]["content"] for request in Door.asked]
    texts = [next(part["text"] for part in each if part["type"] == "text") for each in parts]
    assert all(any(part["type"] == "image_url" for part in each) for each in parts)
    assert [text.count("] similarity") for text in texts] == [0, 0, 1, 1, 3, 3, 3, 3, 5, 5]
    assert len(set(texts[4:8])) == 4  # random cases are others than the nearest


def test_figures_against_scikit_learn() -> None:
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(1)
    truth, drafted = rng.random((2, 60, 7)) < 0.3
    truth[:, 3] = False
    weights = np.ones((3, 60), dtype=np.float32)
    value, drawn = macro_f1(truth, drafted, weights)
    columns = [c for c in range(7) if c != 3]
    assert value == pytest.approx(f1_score(truth[:, columns], drafted[:, columns], average="macro"))
    assert drawn == pytest.approx([value] * 3)
    assert micro_f1(truth, drafted, weights)[0] == pytest.approx(f1_score(truth, drafted, average="micro"))


def test_perfect_and_empty_drafts_score_as_they_should(small_ptbxl: Path) -> None:
    rows = PtbXl(small_ptbxl).select([9])
    perfect = [
        DraftLine(r.ecg_id, r.report, dict.fromkeys(r.labels, "present"), {}, 2, 2, 0, (), 0.1, None, None)
        for r in rows
    ]
    empty = [DraftLine.failed(r.ecg_id, "GenerationError") for r in rows]
    best, worst = score_arm("best", perfect, rows, 10), score_arm("worst", empty, rows, 10)
    assert best.measures["superclass macro-F1"].value == best.measures["statement micro-F1"].value == 1.0
    assert best.measures["ROUGE-L"].value == pytest.approx(1.0) and best.measures["citation precision"].value == 1.0
    assert worst.measures["superclass macro-F1"].value == 0.0 and worst.cost["failed"] == len(rows)


def test_run_files_belong_to_one_run(tmp_path: Path) -> None:
    line = DraftLine.failed(7, "x")
    RunFile(tmp_path, "consensus", {"encoder": "a"}).append(line)
    assert RunFile(tmp_path, "consensus", {"encoder": "a"}).read() == {7: line}
    with pytest.raises(QueryError, match="another run"):
        RunFile(tmp_path, "consensus", {"encoder": "b"}).read()


def test_pulse_commands(call: Call, tmp_path: Path) -> None:
    """check says what a checkpoint is; a damaged one ends in an error; convert writes a folder once."""
    flat = TINY
    status, out, err = call("pulse", "check", flat, "--no-load")
    assert status == 0 and "tensors" in out, err
    assert json.loads(call("pulse", "check", flat, "--no-load", "--json")[1])["ok"] is True
    status, _, err = call("pulse", "check", tmp_path / "none")
    assert status == 4 and "hint" in err
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{}")
    status, out, err = call("pulse", "check", tmp_path / "broken", "--no-load")
    assert status == 4 and "cannot be used" in err and "failed" in out
    status, out, _ = call("pulse", "convert", flat, tmp_path / "out")
    assert status == 0 and (tmp_path / "out" / "config.json").is_file() and "tensors" in out
    assert call("pulse", "convert", flat, tmp_path / "out")[0] == 2
