"""First contact with a user's copy, the witness of ECGFounder's classes, and case bases built with these encoders."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from published_made import folders, names_of, record

from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.ecg.statements.catalogue import CODES
from ecgkin.retrieval.encoders import load_encoder
from ecgkin.retrieval.encoders.published import SYSTEMS, load_witness
from ecgkin.retrieval.encoders.published.check import check_encoder, list_systems, simulated_records
from ecgkin.retrieval.encoders.published.ecgfounder.witness import (
    EcgFounderWitness,
    from_logits,
    visible_classes,
)
from ecgkin.retrieval.encoders.published.names import ecgfounder as facts
from ecgkin.retrieval.encoders.witness import StatementWitness
from ecgkin.retrieval.errors import ModelError, QueryError

KEYS = ("merl", "merl-vit", "d-beta", "ecgfounder", "more")


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return names_of(folders(tmp_path_factory.mktemp("published")))


@pytest.fixture(scope="module")
def ecgs() -> list[EcgRecord]:
    return simulated_records(6)


@pytest.mark.parametrize("key", KEYS)
def test_check(names: dict[str, str], ecgs: list[EcgRecord], key: str) -> None:
    report = check_encoder(names[key], records=ecgs)
    assert report.ok
    assert not report.is_published_file  # random weights of small sizes
    by_check = {finding.check: finding for finding in report.findings}
    assert by_check["loads"].status == "ok"
    assert by_check["published sizes"].status == "differs"
    assert by_check["the same alone and in a batch"].status == "ok"
    assert ("vectors of texts" in by_check) == report.has_text == (key != "ecgfounder")
    text = "\n".join(report.lines())
    assert "not the published file" in text
    assert "no calibration: votes are raw shares" in text
    assert "still to measure" in text
    assert json.loads(json.dumps(report.to_dict()))["ok"] is True
    if key == "ecgfounder":
        assert "first 8.3751" in by_check["ten logits of a straight line"].expected
        assert by_check["ten logits of a straight line"].status == "differs"


def test_check_of_what_does_not_load(tmp_path: Path) -> None:
    report = check_encoder(f"merl:{tmp_path / 'nothing'}")
    assert not report.ok
    assert report.findings[0].status == "failed"
    assert "is not there" in report.findings[0].found
    assert report.dim == 0
    with pytest.raises(QueryError):
        check_encoder("merl:")


def test_check_notices_vectors_that_are_all_alike(names: dict[str, str], ecgs: list[EcgRecord]) -> None:
    found = {f.check: f for f in check_encoder(names["merl"], records=[ecgs[0]] * 5).findings}["vectors of ECGs"]
    assert found.status == "differs"
    assert "not loaded or is scaled wrongly" in found.expected


def test_straight_line_of_the_published_file(names: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    door: Any = load_encoder(names["ecgfounder"])
    line = torch.linspace(-1, 1, 60000).view(1, 12, 5000)
    with torch.inference_mode():
        mine = tuple(float(x) for x in door.network.logits(line)[0, :10])
    monkeypatch.setattr(facts, "LINSPACE_LOGITS", mine)
    assert door.own_checks()[0][1]
    monkeypatch.setattr(facts, "LINSPACE_LOGITS", (mine[0] + 2e-3, *mine[1:]))
    assert not door.own_checks()[0][1]


def test_list() -> None:
    rows = list_systems()
    assert [row["key"] for row in rows] == list(SYSTEMS)
    for row in rows:
        assert all(row[field] for field in ("title", "needs", "published_at", "licence", "trained_on", "input", "dim"))
    json.dumps(rows)


# --- the witness -----------------------------------------------------------------------------------------------------


def test_witness_maps_lines_to_statements() -> None:
    assert set(facts.STATEMENT_LINES) <= set(CODES)
    lines = [line for some in facts.STATEMENT_LINES.values() for line in some]
    assert len(lines) == len(set(lines))
    assert all(1 <= line <= 150 for line in lines)
    assert len(facts.SERIAL_LINES) == 22
    assert not facts.SERIAL_LINES & set(lines)
    logits = np.full((1, 150), -20.0, dtype=np.float32)
    logits[0, 5] = 20.0  # line 6
    logits[0, 3] = 20.0  # line 4, one of two that say sinus rhythm
    said = from_logits(logits)
    row = dict(zip(said.codes, said.probabilities[0], strict=True))
    assert row["AFIB"] == pytest.approx(1)
    assert row["SR"] == pytest.approx(1)
    assert row["NORM"] == pytest.approx(0, abs=1e-6)
    assert np.isnan(row["QWAVE"])
    assert set(said.covered) == {code for code in CODES if not np.isnan(row[code])} == set(facts.STATEMENT_LINES)
    with pytest.raises(ModelError, match="5 classes"):
        from_logits(np.zeros((1, 5), dtype=np.float32))


def test_witness_of_records(names: dict[str, str]) -> None:
    door: Any = load_encoder(names["ecgfounder"])
    records = [record("sinus"), record("wander")]
    witness = EcgFounderWitness(door)
    assert isinstance(witness, StatementWitness)
    said = witness.of_records(records)
    logits = door.logits(records)
    np.testing.assert_allclose(
        said.probabilities[:, CODES.index("LVH")], 1 / (1 + np.exp(-logits[:, 26])), rtol=1e-6, atol=0
    )


def test_witness_by_name(names: dict[str, str]) -> None:
    witness = load_witness(names["ecgfounder"])
    assert witness.name == "ecgfounder"
    assert witness.of_records([record("sinus")]).covered
    with pytest.raises(QueryError, match="reads no statements"):
        load_witness(names["merl"])
    with pytest.raises(QueryError, match="no published encoder"):
        load_witness("nobody:FILE")


def test_witness_with_other_classes_is_refused_at_once(names: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    door: Any = load_encoder(names["ecgfounder"])
    door.network.classify = torch.nn.Linear(door.network.dim, 5)
    monkeypatch.setattr("ecgkin.retrieval.encoders.published.load_published", lambda name, device: door)
    with pytest.raises(ModelError, match="5 classes"):
        load_witness(names["ecgfounder"])


def test_serial_statements_and_fragments_are_hidden(names: dict[str, str], tmp_path: Path) -> None:
    lines = [f"FINDING {n}" for n in range(1, 151)]
    lines[9] = "BLOCKED"
    shown = dict(visible_classes(lines))
    assert len(shown) == 150 - 22 - 1
    assert not set(shown) & facts.SERIAL_LINES
    assert 10 not in shown
    assert dict(visible_classes())[6] == "AFIB"
    with pytest.raises(QueryError, match="2 class names"):
        visible_classes(["a", "b"])
    place = Path(names["ecgfounder"].partition(":")[2]).parent / "tasks.txt"
    place.write_text("\n".join(lines))
    try:
        door: Any = load_encoder(names["ecgfounder"])
        assert not door.own_checks()[1][1]
        for code, word in facts.EXPECTED_WORDS.items():
            lines[facts.STATEMENT_LINES[code][0] - 1] = f"SOME {word.upper()}"
        place.write_text("\n".join(lines))
        again: Any = load_encoder(names["ecgfounder"])
        assert again.own_checks()[1][1]
    finally:
        place.unlink()


# --- case bases ------------------------------------------------------------------------------------------------------


def _fill(folder: Path, encoder: Any, n: int) -> list[EcgRecord]:
    from ecgkin.index import create_base
    from ecgkin.index.case import Case
    from ecgkin.index.ingest.pipeline import ingest_records
    from ecgkin.index.sources.items import IngestItem
    from ecgkin.retrieval.ecg.simulation.simulate import simulate_corpus

    made = list(simulate_corpus(n, seed=3, fs_hz=100.0))
    items = [
        IngestItem(
            Case(case_id=f"c{number}", patient_id=f"p{number}", report=one.report_en, labels=one.labels),
            load=partial(getattr, one, "record"),
        )
        for number, one in enumerate(made)
    ]
    with create_base(folder, encoder.name, encoder.fingerprint, encoder.dim) as base:
        report = ingest_records(base, items, encoder)
        assert (report.added, report.failed) == (n, [])
    return [one.record for one in made]


def _road(names: dict[str, str], key: str, other: str, tmp_path: Path, n: int) -> None:
    """A base built with one door, opened by its name, searched, and encoded again with another one."""
    from ecgkin.index import open_base
    from ecgkin.index.transfer.copy import copy_base
    from ecgkin.retrieval.search.search import CaseSearch

    first = load_encoder(names[key])
    records = _fill(tmp_path / "first", first, n)
    with CaseSearch.open(tmp_path / "first") as search:  # the encoder comes from the name in the manifest
        assert search.encoder.fingerprint == first.fingerprint
        assert search.calibration is None
        for number in range(0, n, max(1, n // 8)):
            found = search.by_ecg(records[number], k=5)
            assert found.hits[0].score == pytest.approx(1.0, abs=1e-4)
            assert found.hits[0].case.case_id == f"c{number}" or found.hits[1].score == pytest.approx(1.0, abs=1e-4)
            said = " ".join(found.warnings)
            assert "published weights (other sizes)" in said
            assert ("resampled from 100 to 500 Hz" in said) == (key != "more")
        if key == "ecgfounder":
            with pytest.raises(QueryError, match="no text tower"):
                search.by_text("atrial fibrillation")
        else:
            assert len(search.by_text("atrial fibrillation", k=7).hits) == 7
    # The same weights in another place are the same encoder.
    system, _, place = names[key].partition(":")
    path, mark, query = place.partition("?")
    moved = tmp_path / "moved" / Path(path).name
    if Path(path).is_dir():
        shutil.copytree(path, moved)
    else:
        moved.parent.mkdir()
        shutil.copy(path, moved)
    with open_base(tmp_path / "first") as source:
        source.check_encoder(load_encoder(f"{system}:{moved}{mark}{query}"))
    second = load_encoder(names[other])
    with open_base(tmp_path / "first") as source:
        assert copy_base(source, tmp_path / "second", encoder=second).n_cases == n
    with CaseSearch.open(tmp_path / "second") as search:
        assert search.encoder.fingerprint == second.fingerprint
        assert search.by_ecg(records[1], k=1).hits[0].score == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize(("key", "other"), [("more", "ecgfounder"), ("d-beta", "merl")])
def test_a_small_base(names: dict[str, str], key: str, other: str, tmp_path: Path) -> None:
    _road(names, key, other, tmp_path, n=12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "other"),
    [("merl", "merl-vit"), ("merl-vit", "d-beta"), ("d-beta", "ecgfounder"), ("ecgfounder", "more"), ("more", "merl")],
)
def test_a_base_of_400(names: dict[str, str], key: str, other: str, tmp_path: Path) -> None:
    _road(names, key, other, tmp_path, n=400)
