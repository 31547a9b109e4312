"""The examples of docs/research.md, run as they stand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecgkin.retrieval.ecg.drawing.raster import render
from ecgkin.retrieval.encoders.base import Encoder
from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.retrieval.search.search import CaseSearch

_BLOCK = re.compile(r"```python (\w+)\n(.*?)```", re.DOTALL)
MOST_LINES = 30


@pytest.fixture(scope="module")
def examples(project_root: Path) -> dict[str, str]:
    return dict(_BLOCK.findall((project_root / "docs" / "research.md").read_text(encoding="utf-8")))


def _names(code: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(code, "docs/research.md", "exec"), names)
    return names


def test_every_example_is_short(examples: dict[str, str]) -> None:
    assert set(examples) == {"corpus", "encoder", "measure", "drafter"}
    for name, code in examples.items():
        lines = [line for line in code.splitlines() if line.strip()]
        assert len(lines) <= MOST_LINES, (name, len(lines))


def test_own_data_and_own_drafter(examples: dict[str, str], tmp_path: Path) -> None:
    from ecgkin.retrieval.ecg.simulation.simulate import simulate

    names = _names(examples["corpus"])
    words = {code: word for word, code in names["CODES"].items()}
    lines, last = ["id,patient,report,findings"], None
    for number, codes in enumerate([["SR"], ["AFIB"], ["SR", "CLBBB"]] * 2):
        made = simulate(codes, np.random.default_rng(number))
        np.save(tmp_path / f"{number}.npy", made.record.resampled(500.0).standard())
        lines.append(f"{number},p{number},made up,{';'.join(words[c] for c in codes)}")
        last = made.record
    (tmp_path / "table.csv").write_text("\n".join(lines) + "\n")
    assert names["build"](tmp_path, tmp_path / "base", HashingEncoder()) == 6
    with CaseSearch.open(tmp_path / "base") as search:
        assert last is not None
        hits = search.by_ecg(last, k=3).hits
        assert hits[0].case.case_id == "mine/5" and set(hits[0].case.labels) == {"SR", "CLBBB"}
        draft = _names(examples["drafter"])["draft"](search, last)
    assert draft.model == "first-case" and draft.citations == ("mine/5",)
    assert {"SR", "CLBBB"} <= set(draft.codes())


@pytest.mark.slow
def test_own_encoder_is_one_and_is_measured(examples: dict[str, str], made_ptbxl: Path, made_record: Any) -> None:
    names = _names(examples["encoder"])
    encoder = names["InkEncoder"]()
    assert isinstance(encoder, Encoder)
    pages, records = encoder.encode_images([render(made_record)]), encoder.encode_records([made_record])
    np.testing.assert_allclose(np.linalg.norm(pages, axis=1), 1, atol=1e-5)
    assert float((pages @ records.T)[0, 0]) > 0.9, "the drawn page lies where the record lies"
    auc = _names(examples["measure"])["measure"](made_ptbxl, encoder)
    assert 0 <= auc.value <= 1 and auc.low <= auc.high
