"""Signal networks, the domain randomisation they learn with, and several of them as one teacher."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgkin.retrieval.encoders.signals import SignalNet
from ecgkin.retrieval.encoders.training import domain
from ecgkin.retrieval.encoders.training.loop import Place, batches, epoch_order
from ecgkin.retrieval.encoders.training.settings import TrainSettings
from ecgkin.retrieval.encoders.training.signal import KINDS, joint_vectors
from ecgkin.retrieval.errors import ModelError, QueryError

FS = 100.0


def ecg_like(n: int = 6, samples: int = 1000) -> torch.Tensor:
    """Spikes once a second, of another height in each lead, mV."""
    time = torch.arange(samples) / FS
    beat = torch.exp(-(((time % 1.0) - 0.5) ** 2) / (2 * 0.02**2))
    heights = torch.linspace(-1.0, 1.5, 12)
    heights = torch.where(heights.abs() < 0.1, torch.full_like(heights, 0.3), heights)
    return (heights[None, :, None] * beat).repeat(n, 1, 1)


@given(st.integers(0, 10_000), st.floats(0, 1))
@settings(max_examples=25, deadline=None)
def test_other_machines_keep_shape_size_and_gaps(seed: int, share: float) -> None:
    """Finite, of the same shape, of plausible size; what was missing stays missing; the input is not touched."""
    torch.manual_seed(seed)
    signals = ecg_like()
    signals[0, 3] = 0.0
    signals[1] = 0.0
    before = signals.clone()
    out = domain.other_machine(signals, FS, share)
    assert out.shape == signals.shape and bool(torch.isfinite(out).all())
    assert torch.equal(signals, before)
    assert float(out.abs().max()) < 6.0


def test_the_share_is_kept_and_the_seed_decides() -> None:
    signals = ecg_like(400)
    torch.manual_seed(1)
    one = domain.other_machine(signals, FS, 0.5)
    torch.manual_seed(1)
    assert torch.equal(one, domain.other_machine(signals, FS, 0.5))
    changed = (one != signals).flatten(1).any(1).float().mean()
    assert 0.4 < float(changed) < 0.6
    assert torch.equal(domain.other_machine(signals, FS, 0.0), signals)


def test_filters_are_what_they_say() -> None:
    """A slow wave is taken down by the high-pass, a fast one by the low-pass, and 5 Hz pass."""
    torch.manual_seed(3)
    time = torch.arange(1000) / FS
    size = {}
    for hz in (0.1, 5.0, 45.0):
        wave = torch.sin(2 * torch.pi * hz * time).expand(300, 12, -1)
        size[hz] = domain.filtered(wave, FS).std(dim=2)[:, 0] / wave.std(dim=2)[:, 0]
    assert float(size[5.0].mean()) > 0.97
    assert float(size[0.1].min()) < 0.3 and float(size[0.1].max()) > 0.99
    assert float(size[45.0].min()) < 0.5 and float(size[45.0].max()) > 0.99


def test_stretching_keeps_rates_within_its_bound() -> None:
    torch.manual_seed(4)
    moved = domain.stretched(ecg_like(200))
    spectrum = torch.fft.rfft(moved[:, 0], n=16384).abs()
    peak = (spectrum[:, 130:200].argmax(1) + 130) * FS / 16384
    assert float(peak.min()) > 1 - domain.STRETCH - 0.02 and float(peak.max()) < 1 + domain.STRETCH + 0.02
    assert float(peak.std()) > 0.01


def test_pages_show_each_lead_for_its_column() -> None:
    """Where a lead is shown in part it is shown for a whole column of 2.5 s, and a strip for all ten."""
    torch.manual_seed(5)
    out = domain.partly_shown(torch.ones(300, 12, 1000), FS)
    shown = out.sum(2)
    pages = (shown == 250).sum(1) >= 10
    assert 0.1 < float(pages.float().mean()) < 0.3
    assert set(shown[pages].flatten().tolist()) <= {0.0, 250.0, 1000.0}
    assert bool(((out[pages][:, 0].nonzero()[:, 1]) < 250).all() | (shown[pages][:, 0] == 1000).any())


@pytest.mark.parametrize("kind", KINDS)
def test_networks_give_unit_vectors_and_learn(kind: str) -> None:
    """A few steps tell two rhythms apart; vectors are of unit length, alone and in a batch the same."""
    torch.manual_seed(6)
    net = SignalNet(16, 2, widths=(8, 16, 16, 16), kind=kind)
    slow = ecg_like(16)
    fast = slow[:, :, ::2].repeat(1, 1, 2)
    signals, truth = torch.cat([slow, fast]), torch.cat([torch.zeros(16), torch.ones(16)])
    target = torch.stack([truth, 1 - truth], dim=1)
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3)
    for _ in range(60):
        vectors, logits = net(signals + 0.02 * torch.randn_like(signals))
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, target)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
    net.eval()
    with torch.no_grad():
        vectors, logits = net(signals)
        alone, _ = net(signals[3:4])
    assert bool(((logits > 0).float() == target).all())
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(32))
    torch.testing.assert_close(alone[0], vectors[3], atol=1e-5, rtol=1e-4)


@given(st.integers(1, 4), st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_joint_space_means_cosines(n_spaces: int, seed: int) -> None:
    """With columns enough, cosines of the joint space are the mean of those of the spaces, whichever way these turn."""
    rng = np.random.default_rng(seed)
    spaces = []
    for _ in range(n_spaces):
        rows = rng.standard_normal((40, 6))
        spaces.append((rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32))
    vectors, kept = joint_vectors(spaces, 24, np.arange(40))
    assert kept == pytest.approx(1.0)
    np.testing.assert_allclose(vectors @ vectors.T, np.mean([s @ s.T for s in spaces], axis=0), atol=1e-4)
    few, less = joint_vectors(spaces, 3, np.arange(40))
    assert few.shape == (40, 3) and less < 1
    np.testing.assert_allclose(np.linalg.norm(few, axis=1), 1, atol=1e-5)


def test_settings_say_what_is_wrong() -> None:
    for words, match in (
        ({"network": "transformer"}, "network is 'transformer'"), ({"domain_share": 1.5}, "domain_share"),
        ({"fs_hz": 5}, "fs_hz"), ({"stage": "ensemble"}, "teachers"),
    ):  # fmt: skip
        with pytest.raises(QueryError, match=match):
            TrainSettings(**{"stage": "signal", "out": "x", **words})  # type: ignore[arg-type]


@pytest.mark.slow
def test_an_ensemble_teaches(made_ptbxl: Path, tmp_path: Path) -> None:
    """Two networks of two kinds, joined, then an image stage that learns from them; unfinished ones are refused."""
    from ecgkin.retrieval.encoders.training import run_stage

    common = {"architecture": "test", "epochs": 1, "batch": 8, "workers": 0, "precision": "fp32", "threads": 1}
    folders = [str(tmp_path / kind) for kind in KINDS]
    join = TrainSettings(stage="ensemble", out=str(tmp_path / "teacher"), teachers=tuple(folders), architecture="test")
    with pytest.raises(ModelError, match=r"targets\.npz is missing"):
        run_stage(join, made_ptbxl)
    for kind, folder in zip(KINDS, folders, strict=True):
        some = {"network": kind, "fs_hz": 100.0, "domain_share": 0.7, "likelihoods": True, **common}
        run_stage(TrainSettings(stage="signal", out=folder, **some), made_ptbxl)  # type: ignore[arg-type]
    figures = run_stage(join, made_ptbxl)
    assert 0 < figures["kept"] <= 1 + 1e-6 and {"head_71", "head_71_0", "head_71_1"} <= set(figures)
    image = TrainSettings(stage="image", out=str(tmp_path / "image"), teacher=join.out, page_share=0.0, **common)  # type: ignore[arg-type]
    assert run_stage(image, made_ptbxl)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 300), batch=st.integers(1, 16), world=st.integers(1, 3), epoch=st.integers(0, 5))
def test_an_epoch_is_whole_batches_the_same_number_for_each_process(n: int, batch: int, world: int, epoch: int) -> None:
    """No row twice, none of another process; only a set smaller than one batch goes to all as it is."""
    config = TrainSettings(stage="signal", out="x", batch=batch)
    orders = [
        epoch_order(n, epoch, config, Place(torch.device("cpu"), rank, world, torch.float32)) for rank in range(world)
    ]
    if n < batch * world:
        assert all(sorted(order.tolist()) == list(range(n)) for order in orders)
        return
    together = torch.cat(orders).tolist()
    assert len(set(together)) == len(together) == n // (batch * world) * batch * world
    assert len({len(order) for order in orders}) == 1
    for order in orders:
        parts = list(batches(order, batch))
        assert {len(part) for part in parts} == {batch} and torch.equal(torch.cat(parts), order)
