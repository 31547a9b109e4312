"""The statement head: its file, the encoder that it belongs to, and what it reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ecgkin.generation.research.fit.head import cross_fitted, fit_curves, fit_head
from ecgkin.retrieval.ecg.simulation.simulate import simulate_corpus
from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.retrieval.encoders.witness import FILE_NAME, StatementHead, StatementWitness, shipped_head
from ecgkin.retrieval.errors import EncoderMismatchError, ModelError, QueryError


def made_head(fingerprint: str, dim: int = 8) -> StatementHead:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(dim, 3)).astype(np.float32)
    return StatementHead(
        fingerprint, ("SR", "AFIB", "super:MI"), weight, np.zeros(3, np.float32), {"fitted_on": "made"}
    )


def test_file_and_encoder(tmp_path: Path) -> None:
    encoder = HashingEncoder()
    head = made_head(encoder.fingerprint, encoder.dim)
    head.save(tmp_path / FILE_NAME)
    assert (tmp_path / FILE_NAME).stat().st_size < 200_000
    read = StatementHead.load(tmp_path / FILE_NAME, encoder)
    assert read.codes == head.codes and read.about == {"fitted_on": "made"} and isinstance(read, StatementWitness)
    np.testing.assert_allclose(read.weight, head.weight, atol=2e-3)
    records = [one.record for one in simulate_corpus(2, 1)]
    said = read.of_records(records)
    np.testing.assert_allclose(said.probabilities, read.of_vectors(encoder.encode_records(records)).probabilities)
    assert set(said.of(1)) == set(head.codes)
    with pytest.raises(ModelError, match="without its encoder"):
        head.of_records(records)
    with pytest.raises(ModelError, match="expected"):
        head.of_vectors(np.zeros((1, 3)))


def test_another_encoders_head_is_left_alone(tmp_path: Path) -> None:
    class Beside(HashingEncoder):
        weights_dir = tmp_path

    encoder = Beside()
    assert shipped_head(encoder) is None
    made_head("somebody else's", encoder.dim).save(tmp_path / FILE_NAME)
    with pytest.raises(EncoderMismatchError, match="belongs to encoder somebody"):
        StatementHead.load(tmp_path / FILE_NAME, encoder)
    assert shipped_head(encoder) is None
    made_head(encoder.fingerprint, encoder.dim).save(tmp_path / FILE_NAME)
    assert shipped_head(encoder) is not None


def test_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    made_head("x").save(path)
    whole = path.read_bytes()
    for wrong in (b"", whole[:40], whole[:-4], whole.replace(b"statement head 1", b"statement head 9")):
        path.write_bytes(wrong)
        with pytest.raises(ModelError, match="no readable statement head"):
            StatementHead.load(path)
    made_head("x").__class__("x", ("SR",), np.full((8, 1), np.nan, np.float32), np.zeros(1, np.float32)).save(path)
    with pytest.raises(ModelError, match="not finite"):
        StatementHead.load(path)


def test_curves_find_what_is_there() -> None:
    """A direction that makes the label is found; a record's own part is never looked at."""
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(1200, 6)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = np.stack([vectors[:, 0] > 0.3, rng.random(1200) < 0.1], axis=1)
    head = fit_head(vectors, labels, ("SR", "AFIB"), "x", about={}, ridge=1.0)
    p = head.of_vectors(vectors).probabilities
    assert p[labels[:, 0], 0].mean() > 0.9 and p[~labels[:, 0], 0].mean() < 0.1
    assert abs(p[:, 1].mean() - labels[:, 1].mean()) < 0.02
    # Labels that are noise in one part cannot be told by curves of the others.
    parts = np.arange(1200) % 4
    noisy = rng.random((1200, 1)) < 0.5
    crossed = cross_fitted(vectors, noisy, parts, ridge=1.0)[:, 0]
    inside = 1 / (1 + np.exp(-fit_curves(vectors, noisy, ridge=1.0).log_odds(vectors)[:, 0]))
    assert np.corrcoef(crossed, noisy[:, 0])[0, 1] < np.corrcoef(inside, noisy[:, 0])[0, 1]
    with pytest.raises(QueryError, match="pair up"):
        fit_curves(vectors, labels[:10])
