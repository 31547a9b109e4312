"""Weights of comparison arms, texts of classes, and the photo that stands for a record: the same in every run."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from ecgkin.generation.research.retrieval.arm_weights import image_stage
from ecgkin.generation.research.retrieval.galleries import LAYOUTS, PHOTO, PHOTO_SEED, PRIMARY, draw_query
from ecgkin.generation.research.retrieval.zero_shot import PROMPTS, class_texts
from ecgkin.retrieval.ecg.augment.photograph import photograph
from ecgkin.retrieval.ecg.drawing.raster import render_array
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.ecg.statements.catalogue import STATEMENTS, statement
from ecgkin.retrieval.errors import ModelError, WeightsMissingError


@pytest.mark.parametrize("made_of", ["paper", "fields", None])
def test_an_arm_takes_weights_of_its_own_kind_of_picture_alone(made_of: str | None, tmp_path: Path) -> None:
    """A training that did not say what it saw was of paper; one that is not finished is no arm."""
    settings = {"architecture": "test"} | ({} if made_of is None else {"picture": made_of})
    summary = tmp_path / "image.json"
    summary.write_text(json.dumps({"settings": settings, "finished": True}))
    other = "fields" if (made_of or "paper") == "paper" else "paper"
    with pytest.raises(ModelError, match=f"was trained on '{made_of or 'paper'}' .expected '{other}'"):
        image_stage(tmp_path, other)
    with pytest.raises(ModelError) as found:  # its own kind: all that is missing is the weights
        image_stage(tmp_path, made_of or "paper")
    assert "was trained on" not in str(found.value)
    summary.write_text(json.dumps({"settings": settings, "finished": False}))
    with pytest.raises(ModelError, match="before its end"):
        image_stage(tmp_path, made_of or "paper")
    with pytest.raises(WeightsMissingError):
        image_stage(tmp_path / "nothing", "paper")


def test_a_subclass_bears_the_name_of_the_statement_of_its_code() -> None:
    """Where no statement has its code, the names of all that belong to it."""
    names = class_texts("subclass", next(p for p in PROMPTS if p != "terms"))
    codes = {s.code for s in STATEMENTS}
    assert {"IMI", "AMI", "CLBBB"} <= set(names) & codes
    for label, texts in names.items():
        members = tuple(s.name_en for s in STATEMENTS if s.subclass == label)
        assert texts == ((statement(label).name_en,) if label in codes and label in _own(label) else members)


def _own(label: str) -> set[str]:
    return {s.code for s in STATEMENTS if s.subclass == label}


def test_the_photo_of_a_record_is_fixed_by_its_name(made_record: EcgRecord) -> None:
    """Published figures hang on it: four bytes of BLAKE2b of the record's name, beside the seed of all photos."""
    number = int.from_bytes(hashlib.blake2b(made_record.record_id.encode(), digest_size=4).digest(), "big")
    wanted = photograph(render_array(made_record, LAYOUTS[PRIMARY]), np.random.default_rng([PHOTO_SEED, number]))
    np.testing.assert_array_equal(np.asarray(draw_query(made_record, PHOTO)), wanted)
