"""The layout of a vector, and the losses of the text stage."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ecgkin.retrieval.encoders.model import Architecture
from ecgkin.retrieval.encoders.space import join_parts, place_words, unit, what_words_meet

SMALL = Architecture(image_tower="", dim=5, identity_dim=6, identity_share=0.8, text={})


@given(st.integers(0, 2**32 - 1))
def test_words_meet_pictures_in_every_column_but_identity(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pictures = join_parts(rng.normal(size=(4, 5)).astype(np.float32), rng.normal(size=(4, 6)).astype(np.float32), SMALL)
    words = rng.normal(size=(3, SMALL.text_dim)).astype(np.float32)
    placed = place_words(words, SMALL)
    np.testing.assert_allclose(np.linalg.norm(pictures, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(placed, axis=1), 1, atol=1e-5)
    assert (placed[:, SMALL.identity_columns] == 0).all()
    np.testing.assert_allclose(placed @ pictures.T, unit(words) @ what_words_meet(pictures, SMALL).T, atol=1e-5)


def test_the_parts_keep_their_shares() -> None:
    vector = join_parts(np.full((1, 5), 9, np.float32), np.full((1, 6), 0.1, np.float32), SMALL)[0]
    assert float((vector[:5] ** 2).sum()) == pytest.approx(0.2, abs=1e-5)
    assert float((vector[5:] ** 2).sum()) == pytest.approx(0.8, abs=1e-5)
    assert SMALL.text_dim == 9 and SMALL.identity_columns == slice(5, 7)


def test_anchors_find_the_ecgs_that_carry_a_statement() -> None:
    from ecgkin.retrieval.encoders.training.text import anchor_vectors

    torch.manual_seed(0)
    bank = torch.nn.functional.normalize(torch.randn(300, 16), dim=1)
    labels = torch.stack([bank[:, 0] > 0.15, bank[:, 1] + bank[:, 2] > 0.3, torch.zeros(300) > 1], dim=1).float()
    anchors = anchor_vectors(bank, labels, steps=100)
    for column in (0, 1):
        assert labels[(bank @ anchors[column]).topk(10).indices, column].mean() == 1.0
    assert (anchors[2] == 0).all()


def test_queries_care_for_the_first_hit_and_reports_for_all() -> None:
    from ecgkin.retrieval.encoders.training.text import text_loss

    bank = torch.eye(3)
    near_one = torch.tensor([[1.0, 0.0, 0.0]])
    between = torch.nn.functional.normalize(torch.tensor([[1.0, 1.0, 0.0]]), dim=1)
    target = torch.tensor([[0.5, 0.5, 0.0]])
    scale = torch.tensor(8.0)

    def gap(asks: bool) -> float:
        flag = torch.tensor([asks])
        one = text_loss(near_one, bank, target, flag, scale) - text_loss(between, bank, target, flag, scale)
        return float(one)

    assert gap(True) < gap(False)
