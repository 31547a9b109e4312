"""ECG-ReGen: text measures, what models are asked, questions, and the whole comparison on a made folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgkin.generation.backends.base import Completion, Request
from ecgkin.generation.research.drafts.overlap import MEASURES, meteor, overlap, rouge_l, words
from ecgkin.generation.research.drafts.questions import questions
from ecgkin.generation.research.drafts.regen import KS, evaluate_regen, report_prompt
from ecgkin.generation.research.scope import Scope
from ecgkin.retrieval.ecg.formats.ptbxl import PtbXl
from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.retrieval.errors import BackendUnreachableError, GenerationError, QueryError

TEXTS = st.lists(st.sampled_from("sinus rhythm normal ecg left axis st t block infarct".split()), max_size=14)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS.filter(bool)), min_size=1, max_size=6))
def test_bleu_is_that_of_sacrebleu(pairs: list[tuple[list[str], list[str]]]) -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    texts, references = [" ".join(text) for text, _ in pairs], [" ".join(reference) for _, reference in pairs]
    mine = overlap(texts, references, np.ones((1, len(texts)), np.float32))
    for order in (1, 4):
        theirs = sacrebleu.metrics.BLEU(
            max_ngram_order=order, tokenize="none", smooth_method="none", effective_order=False
        ).corpus_score(texts, [references])
        assert mine[f"BLEU-{order}"].value == pytest.approx(theirs.score / 100, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(TEXTS, TEXTS.filter(bool))
def test_rouge_l_is_that_of_rouge_score(text: list[str], reference: list[str]) -> None:
    rouge = pytest.importorskip("rouge_score.rouge_scorer")
    theirs = rouge.RougeScorer(["rougeL"]).score(" ".join(reference), " ".join(text))["rougeL"].fmeasure
    assert rouge_l(text, reference) == pytest.approx(theirs, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(TEXTS, TEXTS.filter(bool))
def test_meteor_is_bounded_and_best_for_the_same_text(text: list[str], reference: list[str]) -> None:
    assert 0 <= meteor(text, reference) <= meteor(reference, reference) <= 1


def test_meteor_counts_chunks() -> None:
    # Banerjee and Lavie 2005: 10 P R / (R + 9 P), times 1 - 0.5 (chunks / matches) ** 3.
    assert meteor("a b c d".split(), "a b c d".split()) == pytest.approx(1 - 0.5 / 4**3)
    assert meteor("c d a b".split(), "a b c d".split()) == pytest.approx(1 - 0.5 * (2 / 4) ** 3)
    assert meteor("a x".split(), "a b c d".split()) == pytest.approx(10 * 0.5 * 0.25 / (0.25 + 4.5) * 0.5)


def test_texts_without_a_reference_are_left_out() -> None:
    weights = np.ones((3, 2), np.float32)
    found = overlap(["sinus rhythm", "anything"], ["sinus rhythm", ""], weights)
    assert found["ROUGE-L"].value == 1
    assert found["BLEU-1"].value == pytest.approx(1)
    assert overlap(["", ""], ["sinus rhythm", "ecg"], weights)["BLEU-4"].value == 0
    with pytest.raises(QueryError):
        overlap(["a"], [], weights)
    assert words("ST-Hebung (V2)") == ["st", "hebung", "v2"]


class Copying:
    """A model that repeats the first report it is shown, and says yes."""

    name, context_length = "copying", 4096

    def __init__(self) -> None:
        self.prompts: list[str] = []

    def generate(self, request: Request) -> Completion:
        self.prompts.append(request.prompt)
        if "yes or no" in request.prompt:
            return Completion("Yes.", None, None, None, 0.0, "stop")
        _, mark, rest = request.prompt.partition("report: <<<")
        if not mark:
            raise GenerationError("nothing to copy")
        return Completion(rest.partition(">>>")[0], None, None, None, 0.0, "stop")

    def stream(self, request: Request):  # type: ignore[no-untyped-def]
        yield self.generate(request).text

    def count_tokens(self, prompt: str, image: object = None) -> int:
        return len(prompt.split())


def test_the_whole_comparison(made_ptbxl: Path) -> None:
    model = Copying()
    found = evaluate_regen(made_ptbxl, HashingEncoder(32), Scope((9, 8, 7), range(1, 7), resamples=50), backend=model)
    arms = found.arms
    assert set(arms["nearest report copied"].measures) == {
        *MEASURES, "statement micro-F1", "statement macro-F1", "superclass macro-F1",
    }  # fmt: skip
    # A model that copies the first report is the arm that copies, up to what may be quoted.
    for k in KS:
        for name in ("BLEU-4", "ROUGE-L"):
            copied = arms["nearest report copied"].measures[name].value
            assert arms[f"model, k={k}"].measures[name].value == pytest.approx(copied, abs=0.02)
    assert arms["model, k=5, random neighbours"].measures["ROUGE-L"].value == pytest.approx(
        arms["random case"].measures["ROUGE-L"].value, abs=0.02
    )
    assert arms["model, k=5, reports blanked"].failed == arms["model, k=5, reports blanked"].n
    assert arms["model, k=0"].failed == arms["model, k=0"].n
    assert len(found.examples) == 5
    assert {"true", "nearest report copied", "model, k=1"} <= set(found.examples[0])
    text = found.as_markdown()
    assert "most frequent report" in text
    assert found.as_dict()["about"]["model"] == "copying"
    assert set(found.answers["most frequent answer"]) <= {"verify", "choose", "query"}
    assert found.unread["most frequent answer"] == 0 and "no answer read" in text
    # It copies reports, which name no superclass that was asked about, or both.
    assert found.unread["model, k=5"] > 0


def test_a_stopped_comparison_goes_on_where_it_was(made_ptbxl: Path, tmp_path: Path) -> None:
    class Stopping(Copying):
        """Is killed at the sixth question."""

        def generate(self, request: Request) -> Completion:
            if len(self.prompts) == 5:
                raise KeyboardInterrupt
            return super().generate(request)

    kept, scope = tmp_path / "answers.jsonl", Scope((9,), range(1, 9), resamples=20)
    with pytest.raises(KeyboardInterrupt):
        evaluate_regen(made_ptbxl, HashingEncoder(32), scope, backend=Stopping(), ks=(1,), answers=kept)
    kept.write_bytes(kept.read_bytes()[:-9])  # the kill cut the fifth answer short
    alone, resumed = Copying(), Copying()
    whole = evaluate_regen(made_ptbxl, HashingEncoder(32), scope, backend=alone, ks=(1,))
    again = evaluate_regen(made_ptbxl, HashingEncoder(32), scope, backend=resumed, ks=(1,), answers=kept)
    assert again.as_dict() == whole.as_dict()
    answered = [prompt for prompt in alone.prompts if "report: <<<" in prompt or "yes or no" in prompt]
    assert not set(resumed.prompts) & set(answered[:4])
    assert answered[4] in resumed.prompts
    assert "report" not in kept.read_text().splitlines()[0]
    other = Copying()
    other.name = "another"
    with pytest.raises(QueryError, match="another run"):
        evaluate_regen(made_ptbxl, HashingEncoder(32), scope, backend=other, ks=(1,), answers=kept)


def test_a_server_that_is_gone_ends_the_comparison(made_ptbxl: Path) -> None:
    class Gone(Copying):
        def generate(self, request: Request) -> Completion:
            if len(self.prompts) == 3:
                raise BackendUnreachableError("the server cannot be reached")
            return super().generate(request)

    with pytest.raises(BackendUnreachableError):
        evaluate_regen(made_ptbxl, HashingEncoder(32), Scope((9,), range(1, 9), resamples=20), backend=Gone(), ks=(1,))


def test_without_a_model(made_ptbxl: Path) -> None:
    found = evaluate_regen(made_ptbxl, HashingEncoder(32), Scope((9,), range(1, 9), resamples=20), ks=(1, 3))
    assert set(found.arms) == {
        "most frequent report", "random case", "nearest report copied", "report of the same labels",
    }  # fmt: skip
    assert found.about["model"] == "none (nearest report)"
    with pytest.raises(QueryError):
        evaluate_regen(made_ptbxl, HashingEncoder(32), ks=(0,))
    with pytest.raises(QueryError):
        evaluate_regen(made_ptbxl, HashingEncoder(32), Scope(query_folds=(10,)))


def test_prompts(made_ptbxl: Path) -> None:
    rows = PtbXl(made_ptbxl).rows[:3]
    cases = [(row, 0.9) for row in rows]
    prompt = report_prompt(cases)
    assert prompt.count("report: <<<") == 3
    assert "<<<" not in report_prompt(cases, blank=True)
    assert "findings: none coded" in report_prompt(cases, blank=True)
    assert report_prompt([]).startswith("Write the report")
    asked = report_prompt(cases, question="Does it show atrial fibrillation? yes or no")
    assert asked.endswith("Does it show atrial fibrillation? yes or no")


def test_questions_are_balanced(made_ptbxl: Path) -> None:
    every = questions(PtbXl(made_ptbxl).rows)
    verify = [q for q in every if q.kind == "verify"]
    assert sum(q.truth == "yes" for q in verify) == sum(q.truth == "no" for q in verify) > 0
    rows = PtbXl(made_ptbxl).rows
    for q in verify:
        assert (q.subject[0] in rows[q.place].labels) == (q.truth == "yes")
