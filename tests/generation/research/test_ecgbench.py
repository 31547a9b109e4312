"""ECGBench: every published rule with its oddities, the corrected scoring, files and answer models."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ecgkin.generation.backends.base import Completion, Request
from ecgkin.generation.research.ecgbench import rules, strict
from ecgkin.generation.research.ecgbench.bench import (
    Answer,
    BenchRow,
    answer_split,
    backend_answerer,
    load_split,
    read_answers,
)
from ecgkin.generation.research.ecgbench.judge import judge, judge_prompt, reply_of
from ecgkin.generation.research.ecgbench.rebuild import rebuild
from ecgkin.generation.research.ecgbench.score import score_split
from ecgkin.retrieval.ecg.formats.ptbxl import PtbXl
from ecgkin.retrieval.errors import GenerationError, InputError, QueryError

# (answer, labels by the published substring test)
SUBSTRINGS = [
    ("ptb-test", "ABNORMAL", {"NORM"}),  # NORM inside ABNORMAL
    ("ptb-test", "ISCHEMIA, MILD", {"MI"}),
    ("ptb-test", "HYPOKALEMIA", {"HYP", "MI"}),  # MI at its end
    ("ptb-test", "Normal ECG", set()),  # lower case predicts nothing
    ("ptb-test", "NORM, MI, STTC, CD, HYP are the options", {"NORM", "MI", "STTC", "CD", "HYP"}),  # echo: all
    ("cpsc-test", "LAFB and AFL", {"AF"}),
    ("cpsc-test", "STEMI", {"STE"}),
    ("cpsc-test", "IRBBB", {"RBBB"}),
    ("cpsc-test", "Unlikely LBBB", {"LBBB"}),  # no negation
    ("cpsc-test", "atrial fibrillation", set()),
    ("code15-test", "STD", {"ST"}),
    ("code15-test", "STEMI", {"ST"}),
    ("cpsc-test", "ABNORMAL", {"NORM"}),
    ("cpsc-test", "STD or STEMI", {"STD", "STE"}),
]
LETTERS = [
    ("C", "C"),
    (" C", None),  # no stripping
    ("c", None),
    ("(C)", None),
    ("B. sinus rhythm", "B"),
    ("normal ECG. Answer: C", "G"),  # "G." ends a sentence
    ("RBBB. Answer: D", "B"),
    ("The correct option is D", "D"),
    ("The correct option is Z", None),
    ("The correct option is c", None),
    ("The correct option is D. Answer: E", "D"),  # "D." comes before both marks
    ("The correct option is C but Answer: E", "C"),  # the third rule before the fourth
    ("Answer: A; Answer: E", "E"),  # after the last one
    ("The correct option is A; no: The correct option is E", "E"),  # the last one
    ("Answer: C) AF", "A"),  # alphabetical: the A of AF
    ("I am sure of it\nAnswer: D", "D"),
    ("Answer: ???", None),
    ("", None),
]


@pytest.mark.parametrize(("split", "text", "labels"), SUBSTRINGS)
def test_labels_are_substrings(split: str, text: str, labels: set[str]) -> None:
    assert rules.labels_in(text, split) == labels


@pytest.mark.parametrize(("text", "letter"), LETTERS)
def test_letters_in_the_published_order(text: str, letter: str | None) -> None:
    assert rules.letter_in(text) == letter


def test_letters_may_break_off() -> None:
    with pytest.raises(IndexError):
        rules.letter_in("The correct option is ")


def test_code15_mixes_two_kinds_of_questions() -> None:
    assert rules.code15_gold("NORM") == {"NORM"} and rules.code15_gold("ABNORMAL") == {"ABNORMAL"}
    assert rules.code15_gold("ST, AF") == {"ST", "AF"}
    assert rules.code15_predicted("ABNORMAL") == {"ABNORMAL"}
    assert rules.code15_predicted("NORM because Answer: AF") == {"AF"}
    assert rules.code15_predicted("NORMAL SB") == {"NORM", "SB"}


def test_code15_is_one_matrix_of_two_questions() -> None:
    golds = ["NORM", "ABNORMAL", "1dAVb(1st degree av block); RBBB", "LBBB", "SB", "ST", "AF"]
    right = rules.score_multilabel("code15-test", golds, golds)
    assert right.columns == ("1dAVb", "ABNORMAL", "AF", "LBBB", "NORM", "RBBB", "SB", "ST") and right.hamming == 0
    # A code in the answer to a yes-no question is an error in a column that the question never asked about.
    talkative = rules.score_multilabel("code15-test", golds, ["NORM, no AF", *golds[1:]])
    assert talkative.hamming == pytest.approx(1 / (7 * 8))
    # Gold is read as it stands, a prediction after its last "Answer:".
    assert rules.code15_gold("Answer: NORM") == set()


def test_a_constant_answer_has_auc_one_half_and_the_fingerprint_of_always_norm() -> None:
    rng = np.random.default_rng(1)
    golds = ["NORM" if x < 0.444 else str(rng.choice(["MI", "STTC", "CD", "HYP"])) for x in rng.random(1000)]
    share = golds.count("NORM") / 1000
    found = rules.score_multilabel("ptb-test", golds, ["NORM"] * 1000)
    assert found.auc == 0.5
    assert found.f1 == pytest.approx(2 * share / (1 + share) / 5)
    assert found.hamming == pytest.approx(2 * (1 - share) / 5)


def test_columns_are_those_of_gold_and_a_lonely_class_gives_nan() -> None:
    # HYP is predicted and never gold: dropped. NORM is gold in every row: no AUC, and the mean is none either.
    found = rules.score_multilabel("ptb-test", ["NORM", "NORM; MI"], ["NORM; HYP", "NORM"])
    assert found.columns == ("MI", "NORM") and np.isnan(found.auc)
    assert found.hamming == pytest.approx(1 / 4)
    assert found.f1 == pytest.approx(0.5)


@given(st.lists(st.tuples(st.sets(st.sampled_from("abc"), max_size=3), st.sets(st.sampled_from("abc"), max_size=3)),
                min_size=2, max_size=20))  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_published_auc_is_scikit_learns_of_hard_labels(pairs: list[tuple[set[str], set[str]]]) -> None:
    from sklearn.metrics import hamming_loss, roc_auc_score

    truth, said = [p[0] for p in pairs], [p[1] for p in pairs]
    columns = sorted(set().union(*truth))
    if not columns:
        return
    y, p = (np.array([[c in row for c in columns] for row in rows], dtype=int) for rows in (truth, said))
    found = rules.score_sets(truth, said)
    assert found.hamming == pytest.approx(hamming_loss(y, p))
    if all(0 < c.sum() < len(c) for c in y.T):
        assert found.auc == pytest.approx(roc_auc_score(y, p, average="macro"))
    else:
        assert np.isnan(found.auc)


def test_unparsed_letters_are_drawn_in_one_sequence() -> None:
    draw, again = random.Random(rules.SEED), random.Random(rules.SEED)
    golds, answers = ["C. AF", "D. SR", "A. x"], ["?", "The correct option is D", "?"]
    expected = [again.choice("ABCDEFGH") for _ in range(2)]
    accuracy, unparsed = rules.score_letters("csn-test-no-cot", golds, answers, draw)
    assert unparsed == pytest.approx(2 / 3)
    assert accuracy == pytest.approx(((expected[0] == "C") + 1 + (expected[1] == "A")) / 3)
    # MMMU compares with the whole gold string and can be given a letter that it does not offer.
    assert rules.score_letters("mmmu-ecg", ["A. text", "B"], ["A", "E"], random.Random(0))[0] == 0.0


QA = [
    ("yes, no", ["yes"], "Yes.", True),
    ("yes, no, not sure", ["not sure"], "not sure", False),  # "no" is inside "not sure"
    ("lead I, lead II", ["lead I"], "lead I", False),  # options keep their capitals, the answer does not
    ("incomplete left bundle branch block, complete left bundle branch block", ["incomplete left bundle branch block"],
     "incomplete left bundle branch block", False),
    ("bigeminal pattern (unknown origin, supraventricular, or ventricular)",
     ["bigeminal pattern (unknown origin, supraventricular, or ventricular)"],
     "bigeminal pattern (unknown origin, supraventricular, or ventricular)", False),  # cut at its commas
    ("atrial flutter, none", ["none"], "none", True),
    ("no, none", ["none"], "none", False),  # "no" is inside "none"
    ("lead i, lead ii", ["lead ii"], "lead ii", False),  # and lead I inside lead II, whatever its case
    ("lead V6, lead aVF, none", ["none"], "none", True),
    ("supraventricular extrasystoles, ventricular extrasystoles", ["supraventricular extrasystoles"],
     "supraventricular extrasystoles", False),
    ("a, b, c", ["b", "a"], "A and B", True),  # sets: any order, any words between
    ("a, b, c", ["a"], "a, b", False),  # nothing for a part
]  # fmt: skip


@pytest.mark.parametrize(("options", "gold", "answer", "right"), QA)
def test_ecgqa_compares_sets_of_substrings(options: str, gold: list[str], answer: str, right: bool) -> None:
    prompt = f"Question: what?\nOptions: {options}\n\n{rules.ONLY}"
    assert rules.qa_right(prompt, gold, answer) is right


def test_corrected_rules_repair_what_the_published_ones_break() -> None:
    prompt = f"Question: q\nOptions: {{}}\n\n{rules.ONLY}"
    asked = [prompt.format(o) for o, *_ in QA[:4]]
    assert [strict.strict_options(p, a) for p, (_, _, a, _) in zip(asked, QA[:4], strict=True)] == [
        {"yes"}, {"not sure"}, {"lead I"}, {"incomplete left bundle branch block"},
    ]  # fmt: skip
    for text, labels in (("ABNORMAL", set()), ("Unlikely LBBB", set()), ("STEMI", set()), ("IRBBB", set()),
                         ("atrial fibrillation", {"AF"}), ("STE; PVC", {"STE", "PVC"})):  # fmt: skip
        assert strict.strict_labels(text, "cpsc-test") == labels, text
    for text, letter in (("normal ECG. Answer: C", "C"), ("Answer: C) AF", "C"), ("(c)", "C"), ("RBBB. Answer: D", "D"),
                         ("A bad ECG", None), ("B. sinus rhythm", "B")):  # fmt: skip
        assert strict.strict_letter(text, "csn-test-no-cot") == letter, text


def test_draws_depend_on_the_sets_before() -> None:
    # One generator for all sets, in the order of the published main: an unreadable answer in one set moves the next.
    assert rules.ORDER.index("mmmu-ecg") < rules.ORDER.index("csn-test-no-cot") < rules.ORDER.index("g12-test-no-cot")

    def second(first_answers: list[str]) -> list[float]:
        out = []
        for gold in "ABCDEFGH":
            draw = random.Random(rules.SEED)
            rules.score_letters("mmmu-ecg", ["A"] * len(first_answers), first_answers, draw)
            out.append(rules.score_letters("csn-test-no-cot", [f"{gold}. x"] * 3, ["?"] * 3, draw)[0])
        return out

    assert sum(second(["A", "B"])) == sum(second(["?", "B"])) == 1.0  # each of the three draws is right for one gold
    assert second(["A", "B"]) != second(["?", "B"])


def test_rows_without_an_answer_are_left_out_as_published_and_wrong_in_the_corrected_score(tmp_path: Path) -> None:
    rows = load_split(_file(tmp_path, "ptb-test", "Which?", ["NORM", "MI", "NORM; CD"]))
    answers = {row.row_id: Answer((str(row.golds[0]),)) for row in rows[:2]}
    found = score_split("ptb-test", rows, answers)
    assert found["published"]["n"] == 2 and found["published"]["macro-F1"] == 1.0
    assert found["corrected"]["n"] == 3 and found["corrected"]["measures"]["macro-F1"]["value"] < 1.0


def test_judges_scores_are_averaged_as_published() -> None:
    reply: dict[str, dict[str, object]] = {"Diagnosis": {"Score": 5}, "Form": {"Score": 10}, "Rhythm": {"Score": "9"}}
    assert rules.report_score(reply) == pytest.approx(80.0)
    arena = {name: {"Score": 3} for name in ("Accuracy", "Completeness", "Instruction Adherence")}
    assert rules.arena_score([arena, arena]) == pytest.approx(30.0)
    with pytest.raises(KeyError):
        rules.arena_score([{"accuracy": {"Score": 3}}])


class Scripted:
    """A back end with a queue of replies."""

    name, context_length = "scripted", 4096

    def __init__(self, *replies: str) -> None:
        self.replies, self.asked = list(replies), []  # type: ignore[var-annotated]

    def generate(self, request: Request) -> Completion:
        self.asked.append(request)
        return Completion(self.replies.pop(0), None, None, None, 0.0, "stop")

    def stream(self, request: Request) -> Any:
        yield self.generate(request).text

    def count_tokens(self, prompt: str, image: Any = None) -> int:
        return len(prompt.split())


def _file(folder: Path, name: str, prompt: str, golds: list[Any]) -> Path:
    (folder / "images").mkdir(exist_ok=True)
    rows = []
    for i, gold in enumerate(golds):
        Image.new("RGB", (8, 8)).save(folder / "images" / f"{i}.png")
        turns = [{"from": "human", "value": prompt}, {"from": "gpt", "value": gold}]
        rows.append({"id": f"{name}-{i}", "image": f"{i}.png", "conversations": turns})
    path = folder / f"{name}.json"
    path.write_text(json.dumps(rows))
    return path


def test_a_set_is_answered_kept_and_scored(tmp_path: Path) -> None:
    rows = load_split(_file(tmp_path, "cpsc-test", "<image>\nWhich?", ["NORM", "AF; PVC"]))
    backend = Scripted("NORM", "AF")
    path = answer_split("cpsc-test", rows, backend_answerer(backend), tmp_path, "a model:7b")
    assert backend.asked[0].prompt == "Which?" and backend.asked[0].image.size == (8, 8)
    line = json.loads(path.read_text().splitlines()[0])
    assert set(line) == {"question_id", "prompt", "text", "answer_id", "model_id", "metadata"}
    # A second run asks nothing; a last line that was cut short is asked again.
    answer_split("cpsc-test", rows, backend_answerer(Scripted()), tmp_path, "a model:7b")
    path.write_text(path.read_text()[:-20])
    answer_split("cpsc-test", rows, backend_answerer(Scripted("AF")), tmp_path, "a model:7b")
    found = score_split("cpsc-test", rows, read_answers(path))
    assert found["published"]["macro-F1"] == pytest.approx(2 / 3)
    assert found["corrected"]["n"] == 2 and found["corrected"]["unparsed"] == 0


def test_parquet_and_both_answer_layouts(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(buffer, "PNG")
    prompt = f"Question: q\nOptions: yes, no\n\n{rules.ONLY}"
    turns = [{"from": "human", "value": list(prompt)}, {"from": "gpt", "value": ["yes"]}]
    table = pyarrow.Table.from_pylist(
        [{"id": "ptb-xl-1-q_0", "image_path": "a.png", "image": {"bytes": buffer.getvalue()}, "conversations": turns}]
    )
    (tmp_path / "ecgqa-test").mkdir()
    parquet.write_table(table, tmp_path / "ecgqa-test" / "test-00000-of-00001.parquet")
    rows = load_split(tmp_path / "ecgqa-test")
    assert rows[0].prompts == (prompt,) and rows[0].golds == (["yes"],) and rows[0].image().size == (4, 4)
    answers = tmp_path / "m_ecgqa-test.jsonl"
    answers.write_text(json.dumps({"id": "ptb-xl-1-q_0", "response": "Yes"}) + "\n")
    found = score_split(rules.ECGQA, rows, read_answers(answers))
    assert found["published"] == {"accuracy": 1.0, "n": 1}
    answers.write_text(json.dumps({"row": 1}) + "\n")
    with pytest.raises(InputError, match="line 1"):
        read_answers(answers)


def test_letter_sets_of_another_length_are_skipped_as_published(tmp_path: Path) -> None:
    rows = load_split(_file(tmp_path, "g12-test-no-cot", "q\nA. x\nB. y", ["A. x", "B. y"]))
    answers = {rows[0].row_id: Answer(("Answer: A",))}
    found = score_split("g12-test-no-cot", rows, answers)
    assert "skipped" in found["published"]
    assert found["corrected"]["measures"]["accuracy"]["value"] == 0.5 and found["corrected"]["unparsed"] == 0.5


def test_ptbxl_parts_are_rebuilt(made_ptbxl: Path, tmp_path: Path) -> None:
    data = PtbXl(made_ptbxl, fs_hz=None)
    path = rebuild(data, tmp_path, folds=[9], limit=2)
    rows = load_split(path)
    assert len(rows) == 2 and all(rules.labels_in(row.golds[0], "ptb-test") for row in rows)
    assert rows[0].image().size == (2200, 1100) and "semicolon" in rows[0].prompts[0]
    truth = {row.row_id: Answer((str(row.golds[0]),)) for row in rows}
    assert score_split("ptb-test", rows, truth)["published"]["Hamming loss"] == 0
    with pytest.raises(QueryError):
        rebuild(data, tmp_path, split="arena")


def test_the_command_scores_an_answer_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from ecgkin.ui.cli.main import main

    file = _file(tmp_path, "ptb-test", "Which?", ["NORM", "MI; CD"])
    answers = tmp_path / "a.jsonl"
    answers.write_text("".join(json.dumps({"question_id": f"ptb-test-{i}", "text": "NORM"}) + "\n" for i in range(2)))
    with pytest.raises(SystemExit) as done:
        main(["evaluate", "ecgbench", str(file), "--split", "ptb-test", "--answers", str(answers)])
    assert done.value.code in (0, None)
    said = json.loads(capsys.readouterr().out)
    assert said["published"]["AUC"] == 0.5 and said["corrected"]["measures"]["macro-F1"]["value"] < 0.5


def test_a_judge_behind_the_same_door() -> None:
    good = '```json\n{"Diagnosis": {"Score": 8}, "Waveform": {"Score": 6}, "Rhythm": {"Score": 10}}\n```'
    row = BenchRow("r-1", "", ("write",), ("sinus rhythm [End of reference]",), lambda: Image.new("RGB", (1, 1)))
    found = judge("report", [row, row], {"r-1": Answer(("SR",))}, Scripted(good, "no idea"))
    assert found["score"] == pytest.approx(80.0) and found["failed"] == 1
    assert judge_prompt("report", "[End of reference]", "x").count("[End of reference]") == 1
    with pytest.raises(GenerationError):
        reply_of('{"Diagnosis": {"Score": 80}, "Waveform": {"Score": 6}, "Rhythm": {"Score": 10}}', "report")
