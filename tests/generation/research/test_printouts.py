"""Labelled print-outs as queries: what their labels say, and where their findings stand among known queries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ecgkin.generation.research.retrieval.out_of_domain import gallery_truth
from ecgkin.generation.research.retrieval.printouts import (
    Printout,
    classes_in,
    embed_printouts,
    evaluate_printouts,
    read_printouts,
)
from ecgkin.generation.research.retrieval.ranking import unit_rows
from ecgkin.retrieval.ecg.drawing.raster import render
from ecgkin.retrieval.ecg.formats.ptbxl import PtbXl
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.retrieval.errors import QueryError
from ecgkin.retrieval.search.vote import VoteRule

_NAMES = {"164865005": "myocardial infarction", "164889003": "atrial fibrillation", "426783006": "sinus rhythm"}


@pytest.mark.parametrize(
    ("label", "codes"),
    [
        ("Atrial fibrillation with rapid ventricular response", {"164889003"}),
        ("Normal sinus rhythm; possible inferior infarct, age undetermined", {"426783006", "164865005"}),
        ("acute myocardial infarction (from the file name)", {"164865005"}),
        ("sinus rhythm; no atrial fibrillation", {"426783006"}),
        ("no myocardial infarction", set()),
        ("Sinus rhythm, prolonged QT", {"426783006", "111975006"}),
        ("abnormal ECG", set()),
        ("", set()),
    ],
)
def test_labels_are_read_as_classes(label: str, codes: set[str]) -> None:
    assert set(classes_in(label, _NAMES)) == codes


def test_a_folder_is_read_by_its_manifest(tmp_path: Path, made_record: EcgRecord) -> None:
    with pytest.raises(QueryError, match=r"manifest\.csv"):
        read_printouts(tmp_path, _NAMES)
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("file,label\n")
    with pytest.raises(QueryError, match="kind"):
        read_printouts(tmp_path, _NAMES)
    manifest.write_text("file,label,kind\na.png,atrial fibrillation,print\nb.png,,photo\n")
    with pytest.raises(QueryError, match=r"a\.png"):
        read_printouts(tmp_path, _NAMES)
    render(made_record).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no picture")
    found = read_printouts(tmp_path, _NAMES)
    assert [(p.path.name, p.kind, p.codes) for p in found] == [
        ("a.png", "print", ("164889003",)),
        ("b.png", "photo", ()),
    ]
    norms = np.linalg.norm(embed_printouts(HashingEncoder(), found), axis=1)
    assert norms.round(3).tolist() == [1.0, 0.0]
    Image.new("RGB", (40, 30), "white").save(tmp_path / "b.png")
    assert np.linalg.norm(embed_printouts(HashingEncoder(), found), axis=1)[0] > 0


def test_findings_stand_among_known_queries(made_ptbxl: Path) -> None:
    rows = PtbXl(made_ptbxl, fs_hz=None).rows
    code = "426783006"
    has = gallery_truth(rows, [code])[:, 0]
    assert 0 < has.sum() < len(rows)
    # Two places: the cases that have it, and the others.
    places = unit_rows(np.stack([has, ~has], axis=1) + 0.01 * np.random.default_rng(0).random((len(rows), 2)))
    vectors = np.array([[1, 0], [0, 1], [0, 0], [1, 0]], dtype=np.float32)
    pictures = [
        Printout(Path("right.png"), "print", "sinus rhythm", (code,)),
        Printout(Path("wrong.png"), "print", "sinus rhythm", (code,)),
        Printout(Path("unread.png"), "print", "sinus rhythm", (code,)),
        Printout(Path("silent.png"), "print", "", ()),
    ]
    found = evaluate_printouts(pictures, vectors, places, rows, places, rows, rule=VoteRule(5, 0.05), resamples=50)
    shares = {name: cells[0][1] for name, cells in found.per_picture.items()}
    assert found.n == 3 and found.refused == 1 and set(shares) == {"right.png", "wrong.png", "unread.png"}
    assert shares["right.png"] > 0.9 and shares["wrong.png"] < 0.6 and shares["unread.png"] == 0.0
    assert found.mean.value == pytest.approx(sum(shares.values()) / 3)
    assert found.best["unread.png"] == (0.0, -1) and has[found.best["right.png"][1]]
    with pytest.raises(QueryError, match="label"):
        evaluate_printouts(pictures[3:], vectors[3:], places, rows, places, rows)
