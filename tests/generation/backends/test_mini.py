"""Instruction rows and the mini generator: what is built, learnt, resumed and answered."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ecgkin.generation.backends.base import Request, TextBackend
from ecgkin.generation.backends.mini.backend import SHIPPED, MiniGenerator
from ecgkin.generation.backends.mini.tokens import pooled
from ecgkin.generation.backends.mini.vocabulary import SPECIALS, Vocabulary, train_vocabulary
from ecgkin.generation.backends.mini.wording import MiniPrompt, ShownCase, findings_line, parse_prompt, split_answer
from ecgkin.generation.prompt.wording import fill, prompt_name
from ecgkin.generation.research.instruct.build import build_instructions, neighbour_prompt
from ecgkin.generation.research.instruct.rows import IMAGE_TOKEN, SUBTASKS, TYPES, read_rows
from ecgkin.generation.research.mini.settings import MiniSettings, load_mini_settings
from ecgkin.generation.research.mini.train import (
    PLAIN,
    RETRIEVED,
    ecg_id_of,
    epoch_examples,
    examples_of,
    texts_of,
    train_mini,
)
from ecgkin.retrieval.ecg.formats.ptbxl import PtbXl
from ecgkin.retrieval.ecg.statements.catalogue import CODES, statement
from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.retrieval.errors import ModelError, QueryError, WeightsMissingError


class TokenEncoder(HashingEncoder):
    """A hashing encoder with patch tokens: the mean ink of 32 x 16 px patches, in 32 channels of fixed phases."""

    tower_fingerprint = "ink-of-patches-32"

    def patch_tokens(self, maps: Iterable[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """See `DualEncoder.patch_tokens`."""
        ink = np.stack([m.reshape(8, 32, 32, 16).mean(axis=(1, 3)).ravel() / 255 for m in maps])
        flat = np.concatenate([ink[:, :4], ink], axis=1).astype(np.float32)
        return np.asarray(np.cos(flat[:, :, None] * np.arange(1, 33, dtype=np.float32) * 20))


@pytest.fixture(scope="module")
def data(made_ptbxl: Path) -> PtbXl:
    return PtbXl(made_ptbxl, fs_hz=None)


@pytest.fixture(scope="module")
def built(data: PtbXl, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("instruct")
    encoder = HashingEncoder()
    result = build_instructions(
        data, folder, vectors=lambda rows: encoder.encode_records([data.record(r) for r in rows])
    )
    rows = read_rows(result.path)
    assert len(rows) == result.n_rows == sum(result.counts.values())
    card = (folder / "README.md").read_text()
    assert f"{result.n_rows} rows" in card and "CC BY 4.0" in card
    return rows


def test_rows_have_the_layout_of_ecginstruct(built: list[dict[str, Any]]) -> None:
    assert len({row["id"] for row in built}) == len(built)
    for row in built:
        assert set(row) == {"id", "image", "conversations", "metadata", "source"}
        human, reply = row["conversations"]
        assert human["from"] == "human" and reply["from"] == "gpt"
        assert human["value"].startswith(IMAGE_TOKEN) and "<image>" not in reply["value"]
        assert reply["value"].strip()
        assert row["metadata"]["subtask"] in SUBTASKS and row["metadata"]["type"] in TYPES
    asked = [(row["image"], row["conversations"][0]["value"].lower()) for row in built]
    assert len(set(asked)) == len(asked)
    kinds = {(row["metadata"]["subtask"], row["metadata"]["type"]) for row in built}
    assert {("report", "open-ended"), ("rhythm", "open-ended"), ("morphology", "close-ended")} <= kinds


def test_rows_come_from_the_training_folds_and_their_cases_from_other_patients(
    built: list[dict[str, Any]], data: PtbXl, tmp_path: Path
) -> None:
    rows = {row.ecg_id: row for row in data.rows}
    with_cases = [row for row in built if row["metadata"].get("cases")]
    assert with_cases
    for row in built:
        assert rows[ecg_id_of(row)].fold in range(1, 9)
    for row in with_cases:
        own = rows[ecg_id_of(row)]
        for case in row["metadata"]["case_ids"]:
            other = rows[int(case.removeprefix("ptbxl/"))]
            assert other.patient_id != own.patient_id and other.fold in range(1, 9)
    with pytest.raises(QueryError, match="not for training"):
        build_instructions(data, tmp_path, folds=[8, 9])


def test_labels_of_a_record_decide_its_answers(built: list[dict[str, Any]], data: PtbXl) -> None:
    rows = {row.ecg_id: row for row in data.rows}
    said = {"yes": True, "ja": True, "no": False, "nein": False}
    checked = 0
    for row in built:
        labels = rows[ecg_id_of(row)].labels
        question, answer = (turn["value"] for turn in row["conversations"])
        if row["metadata"]["type"] == "close-ended":
            (code,) = [c for c in CODES if _longest(c, question)]
            assert said[answer] == (code in labels)
            checked += 1
        if row["metadata"]["subtask"] == "report":
            assert split_answer(answer)[0] == tuple(c for c in CODES if c in labels)
    assert checked > 20


def _longest(code: str, question: str) -> bool:
    """Whether no other statement's longer name covers this one in the question."""
    names = [n for c in CODES for n in (statement(c).name_en, statement(c).name_de) if n in question]
    longest = max(names, key=len)
    return longest in (statement(code).name_en, statement(code).name_de)


@given(st.sets(st.sampled_from(CODES)), st.sampled_from(["en", "de"]))
def test_findings_are_read_back(codes: set[str], language: Any) -> None:
    back, rest = split_answer(f"some words\n{findings_line(codes, language)}")
    assert set(back or ()) == codes and rest == "some words"


@given(
    st.lists(st.sets(st.sampled_from(CODES), min_size=1, max_size=4), max_size=4),
    st.lists(st.tuples(st.sampled_from(CODES), st.integers(1, 99)), max_size=4, unique_by=lambda x: x[0]),
    st.sampled_from(["en", "de"]),
)
@settings(max_examples=40)
def test_a_drafters_prompt_is_understood(cases: list[set[str]], vote: list[tuple[str, int]], language: Any) -> None:
    lines = [
        f"[{i}] similarity 0.91; findings: {names}; report: <<<a, b>>>"
        for i, names in enumerate((", ".join(statement(c).name_en for c in CODES if c in codes) for codes in cases), 1)
    ]
    said = ", ".join(f"{c} {statement(c).name_en} {p} %" for c, p in vote)
    prompt = fill(
        prompt_name(question=False, cases=bool(cases)), cases="\n".join(lines),
        vote=", ".join(f"{statement(c).name_en} {p} %" for c, p in vote) if cases else "", n_voting=50, measured="",
        question="", language=language,
    )  # fmt: skip
    read = parse_prompt(prompt)
    assert read.task == "report" and read.language == language, said
    assert [set(case.codes) for case in read.cases] == cases
    assert all(case.report == "a, b" for case in read.cases)
    assert read.vote == (tuple((c, p / 100) for c, p in vote) if cases else ())


def test_questions_are_told_from_reports() -> None:
    assert parse_prompt("Is there atrial fibrillation in this tracing? Answer yes or no.").task == "question"
    german = parse_prompt("Welcher Rhythmus liegt vor?")
    assert german.task == "question" and german.language == "de"
    asked = fill(
        prompt_name(question=True, cases=False), cases="", vote="", n_voting=0, measured="", question="Is it LBBB?",
        language="de",
    )  # fmt: skip
    assert parse_prompt(asked) == MiniPrompt("question", "Is it LBBB?", "de")


def test_vocabulary_keeps_words_and_marks_apart(tmp_path: Path) -> None:
    words = train_vocabulary(["sinusrhythmus, lagetyp normal", "left bundle branch block"] * 5, tmp_path, 200)
    again = Vocabulary.load(tmp_path)
    ids = again.answer_ids(["SR", "CLBBB"], "Sinusrhythmus, lagetyp normal")
    assert ids == words.answer_ids(["CLBBB", "SR"], "sinusrhythmus, lagetyp normal")
    assert again.codes(ids) == tuple(c for c in CODES if c in ("SR", "CLBBB"))
    assert again.words(ids) == "sinusrhythmus, lagetyp normal"
    prompt = again.prompt_ids(MiniPrompt(cases=(ShownCase(("SR",), "<end> </s> <case>"),)))
    assert prompt.count(again.end) == 0 and again.codes(prompt) == ("SR",)
    with pytest.raises(WeightsMissingError):
        Vocabulary.load(tmp_path / "nothing")


def test_pooled_tokens_are_means_of_neighbours() -> None:
    rng = np.random.default_rng(0)
    tokens = rng.standard_normal((2, 260, 3)).astype(np.float32)
    out = pooled(tokens)
    assert out.shape == (2, 36, 3)
    np.testing.assert_array_equal(out[:, :4], tokens[:, :4].astype(np.float16))
    grid = tokens[:, 4:].reshape(2, 8, 32, 3)
    np.testing.assert_allclose(out[1, 4 + 8 + 1], grid[1, 2:4, 4:8].mean(axis=(0, 1)), atol=2e-3)


def _settings(out: Path, **more: Any) -> MiniSettings:
    base: dict[str, Any] = {
        "out": str(out), "epochs": 6, "batch": 8, "width": 64, "layers": 1, "inner": 64, "vocabulary": 220,
        "threads": 1, "lr": 1e-2, "judged": 8, "precision": "fp32", "warmup_steps": 4,
    }  # fmt: skip
    return MiniSettings(**{**base, **more})


@pytest.fixture(scope="module")
def trained(made_ptbxl: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("mini")
    encoder = TokenEncoder()
    # Stopped in the middle of an epoch, then run to its end.
    train_mini(_settings(out, max_steps=5), made_ptbxl, encoder=encoder)
    figures = train_mini(_settings(out), made_ptbxl, encoder=encoder)
    assert 0 <= figures["statement micro-F1"] <= 1
    return out


@pytest.mark.slow
def test_training_goes_on_where_it_stopped_and_learns(trained: Path, made_ptbxl: Path, tmp_path: Path) -> None:
    log = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    assert any(row["event"] == "resumed" and row["step"] == 5 for row in log)
    losses = [row["loss"] for row in log if row["event"] == "epoch"]
    assert losses[-1] < 0.7 * losses[0]
    whole = tmp_path / "whole"
    train_mini(_settings(whole), made_ptbxl, encoder=TokenEncoder())
    from safetensors.numpy import load_file

    one, other = (load_file(folder / "mini" / "mini.safetensors") for folder in (trained, whole))
    for name in one:
        np.testing.assert_allclose(one[name].astype(float), other[name].astype(float), atol=2e-3, err_msg=name)


def test_training_stops_after_its_minutes_and_minds_its_encoder(made_ptbxl: Path, tmp_path: Path) -> None:
    about = tmp_path / "mini" / "config.json"
    assert train_mini(_settings(tmp_path, max_minutes=1e-9), made_ptbxl, encoder=TokenEncoder()) == {}
    assert json.loads(about.read_text())["steps"] == 0
    assert train_mini(_settings(tmp_path, max_steps=2), made_ptbxl, encoder=TokenEncoder())
    assert json.loads(about.read_text())["steps"] == 2
    other = TokenEncoder()
    other.tower_fingerprint = "another tower"
    with pytest.raises(ModelError, match="another encoder"):
        train_mini(_settings(tmp_path), made_ptbxl, encoder=other)


def test_epochs_show_each_report_once(built: list[dict[str, Any]], tmp_path: Path) -> None:
    vocabulary = train_vocabulary(texts_of(built), tmp_path, 220)
    examples = examples_of(built, vocabulary)
    for cases, kinds in (("mixed", {PLAIN, RETRIEVED}), ("never", {PLAIN}), ("always", {RETRIEVED})):
        chosen = epoch_examples(examples, _settings(tmp_path, cases=cases, question_share=0.0), 0)
        assert {e.kind for e in chosen} == kinds
        assert len({e.ecg_id for e in chosen}) == len(chosen)
    first, second = (epoch_examples(examples, _settings(tmp_path), epoch) for epoch in (0, 1))
    assert first != second and first == epoch_examples(examples, _settings(tmp_path), 0)


def test_the_generator_is_a_backend(trained: Path, data: PtbXl) -> None:
    from ecgkin.retrieval.ecg.drawing.raster import render

    generator = MiniGenerator(trained / "mini", TokenEncoder())
    assert isinstance(generator, TextBackend)
    page = render(data.record(data.rows[0]))
    prompt = neighbour_prompt([(data.rows[1], 0.9), (data.rows[2], 0.8)], 1, language="en", with_vote=True)
    for image in (page, None):
        for text in ("Write the report of this ECG.", prompt, "What is the rhythm of this ECG?"):
            request = Request(text, image, max_new_tokens=24)
            done = generator.generate(request)
            assert done.text == generator.generate(request).text
            assert "".join(generator.stream(request)) == done.text
            assert done.finish_reason in ("stop", "length") and (done.tokens_out or 0) <= 24
            assert done.tokens_in == generator.count_tokens(text, image)
    sampled = [generator.generate(Request("Write the report.", page, 24, 1.0, seed)).text for seed in (1, 1, 2)]
    assert sampled[0] == sampled[1]


def test_a_batch_answers_as_one_by_one(trained: Path, data: PtbXl) -> None:
    from ecgkin.retrieval.ecg.drawing.raster import render

    generator = MiniGenerator(trained / "mini", TokenEncoder())
    tokens = generator.visual_tokens([render(data.record(row)) for row in data.rows[:3]])
    prompts = [MiniPrompt(), MiniPrompt(language="de", cases=(ShownCase(("SR", "NORM")), ShownCase(("AFIB",)))),
               MiniPrompt("question", "What is the rhythm?")]  # fmt: skip
    together = generator.write(prompts, tokens, max_new_tokens=20)
    alone = [generator.write([p], tokens[i : i + 1], max_new_tokens=20)[0] for i, p in enumerate(prompts)]
    assert together == alone


def test_a_model_of_another_tower_is_refused(trained: Path) -> None:
    other = TokenEncoder()
    other.tower_fingerprint = "something else"
    with pytest.raises(ModelError, match="image tower"):
        MiniGenerator(trained / "mini", other)
    with pytest.raises(WeightsMissingError, match="mini"):
        MiniGenerator(trained, TokenEncoder())


def test_arms_are_compared_on_the_same_queries(trained: Path, made_ptbxl: Path, tmp_path: Path) -> None:
    from ecgkin.generation.research.mini.evaluate import ARMS, evaluate_mini
    from ecgkin.generation.research.scope import Scope

    encoder = TokenEncoder()
    generator = MiniGenerator(trained / "mini", encoder)
    with pytest.raises(QueryError, match="lack their generator"):
        evaluate_mini(made_ptbxl, encoder, generator, arms=["picture, trained without cases"])
    report = evaluate_mini(
        made_ptbxl,
        encoder,
        generator,
        Scope(resamples=20, cache_dir=tmp_path),
        without=generator,
        out_dir=tmp_path,
    )
    assert set(report.arms) == set(ARMS) and len({arm.n for arm in report.arms.values()}) == 1
    assert all(value.value >= 0 for value in report.made_up.values())
    assert all(h >= p for _, p, h in report.tests.values())
    # The same generator stands in for the one without cases, so their arm must be the same to the last digit.
    alike, own = (report.arms[name].measures for name in ("picture, trained without cases", "picture"))
    assert alike["statement micro-F1"] == own["statement micro-F1"]
    assert report.tests["picture - picture, trained without cases: statement macro-F1"][0] == 0
    assert "picture + k=3" in (tmp_path / "report.md").read_text()
    assert len(list((tmp_path / "runs").glob("*.jsonl"))) == len(ARMS)


@pytest.mark.weights
def test_the_shipped_generator_looks_at_the_picture() -> None:
    from ecgkin.retrieval.ecg.drawing.raster import render
    from ecgkin.retrieval.ecg.simulation.simulate import simulate

    generator = MiniGenerator()
    assert generator.name == "mini" and sum(p.stat().st_size for p in SHIPPED.glob("*.safetensors")) <= 10_000_000
    pages = [render(simulate(codes, np.random.default_rng(1)).record) for codes in (("SR", "NORM"), ("AFIB",))]
    (normal, words), (fibrillation, others) = generator.write([MiniPrompt()] * 2, generator.visual_tokens(pages))
    assert "AFIB" in fibrillation and "AFIB" not in normal and words != others
    # Without a picture it leans on the cases.
    told = MiniPrompt(cases=(ShownCase(("AFIB",)),) * 3, vote=(("AFIB", 0.95),))
    blind = generator.write([told, MiniPrompt()], np.zeros((2, 36, 256), np.float16), blank=True)
    assert "AFIB" in blind[0][0] and "AFIB" not in blind[1][0]


def test_the_command_builds_rows(made_ptbxl: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from ecgkin.ui.cli.main import main

    words = ["instruct", "build", str(tmp_path), "--ptbxl", str(made_ptbxl), "--no-cases", "--limit", "5", "--json"]
    with pytest.raises(SystemExit) as done:
        main([*words, "--pages", "standard"])
    assert done.value.code in (0, None)
    said = json.loads(capsys.readouterr().out)
    assert said["records"] == 5 and said["rows"] == len(read_rows(tmp_path / "ecginstruct.json"))
    for row in read_rows(tmp_path / "ecginstruct.json"):
        assert (tmp_path / "images" / row["image"]).is_file()


def test_settings_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "mini.yaml"
    path.write_text("out: x\ncases: sometimes\n")
    with pytest.raises(QueryError, match="sometimes"):
        load_mini_settings(path)
    path.write_text("out: x\nepoch: 3\n")
    with pytest.raises(QueryError, match="epoch"):
        load_mini_settings(path)
    shipped = load_mini_settings(Path(__file__).parents[3] / "scripts" / "training" / "mini.yaml")
    assert shipped.cases == "mixed" and shipped.vocabulary == 3168


@pytest.mark.parametrize(("p", "tenth"), [(0.0, 0), (0.09, 0), (0.1, 1), (0.39, 3), (0.85, 8), (0.95, 9), (1.0, 9)])
def test_the_vote_is_told_in_whole_tenths_cut_off(p: float, tenth: int, tmp_path: Path) -> None:
    """As in training: 39 % is three tenths, and nothing lies above nine."""
    vocabulary = train_vocabulary(["sinus rhythm", "sinus rhythm with a long pause"], tmp_path, len(SPECIALS) + 20)
    ids = vocabulary.prompt_ids(MiniPrompt(vote=(("AFIB", p),)))
    at = ids.index(SPECIALS.index("<AFIB>"))
    assert SPECIALS[ids[at + 1]] == f"<p{tenth}>"
