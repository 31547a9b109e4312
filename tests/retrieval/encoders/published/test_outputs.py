"""Doors to published encoders give what the systems' original code gave, stage by stage, for any shape of record."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import published_made as made
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.encoders import load_encoder
from ecgkin.retrieval.encoders.base import Encoder
from ecgkin.retrieval.encoders.published.signals import MIMIC_LEADS, MOST_MISSING, prepare
from ecgkin.retrieval.errors import ImageError, QueryError, RecordError, WeightsMissingError

SYSTEMS = ("merl", "merl-vit", "d-beta", "ecgfounder", "ecgfounder-unfiltered", "more")
WITH_TEXT = ("merl", "merl-vit", "d-beta", "more")


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One door of each kind."""
    names = made.names_of(made.folders(tmp_path_factory.mktemp("published")))
    return {system: load_encoder(name) for system, name in names.items()}


def _stages() -> list[tuple[str, str]]:
    return [(system, stage) for system in SYSTEMS for stage in made.stages(system)]


@pytest.mark.parametrize(("system", "stage"), _stages())
def test_stage(doors: dict[str, Any], system: str, stage: str) -> None:
    tolerance, compute = made.stages(system)[stage]
    for mine, stored in compute(doors[system]):
        assert np.shape(mine) == np.shape(stored)
        np.testing.assert_allclose(mine, stored, rtol=0, atol=tolerance)


@pytest.mark.parametrize("system", SYSTEMS)
def test_protocol(doors: dict[str, Any], system: str) -> None:
    assert isinstance(doors[system], Encoder)
    door = doors[system]
    rows = door.encode_records([made.record("sinus"), made.record("wander")])
    assert rows.dtype == np.float32
    assert rows.shape == (2, door.dim)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-6)
    assert door.encode_records([]).shape == (0, door.dim)
    assert not door.network.training
    assert all(not p.requires_grad and str(p.dtype) == "torch.float32" for p in door.network.parameters())


@pytest.mark.parametrize("system", SYSTEMS)
def test_alone_and_in_a_batch(doors: dict[str, Any], system: str) -> None:
    door = doors[system]
    cases = ["sinus", "wander", "flat", "nan", "lowrate", "sinus_5s_padded"]
    records = [made.record(case) for case in cases]
    together = door.encode_records(records)
    for row, one in zip(together, records, strict=True):
        np.testing.assert_allclose(door.encode_records([one])[0], row, rtol=0, atol=2e-6)
    if system in WITH_TEXT:
        texts = [str(text) for text in made.expected(system)["prompts"]]
        words = door.encode_texts(texts)
        for row, text in zip(words, texts, strict=True):
            np.testing.assert_allclose(door.encode_texts([text])[0], row, rtol=0, atol=2e-6)
        assert door.encode_texts([]).shape == (0, door.dim)
    else:
        with pytest.raises(QueryError, match="no text tower"):
            door.encode_texts(["sinus rhythm"])


@pytest.mark.parametrize("system", SYSTEMS)
def test_rows_go_by_name(doors: dict[str, Any], system: str) -> None:
    door = doors[system]
    record = made.record("wander")
    order = [5, 0, 11, 3, 2, 1, 10, 4, 6, 9, 7, 8]
    shuffled = EcgRecord(record.signal_mv[order], record.fs_hz, tuple(LEADS[n] for n in order))
    np.testing.assert_array_equal(door.encode_records([shuffled]), door.encode_records([record]))


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize(
    ("fs_hz", "seconds"),
    [
        (100.0, 10.0),
        (100.0, 1.0),
        (128.0, 9.7),
        (250.0, 2.5),
        (360.0, 10.24),
        (400.0, 10.0),
        (500.0, 60.0),
        (1000.0, 10.0),
    ],
)
def test_any_rate_and_length(doors: dict[str, Any], system: str, fs_hz: float, seconds: float) -> None:
    door = doors[system]
    n = round(seconds * fs_hz)
    beat = np.sin(2 * np.pi * 1.2 * np.arange(n) / fs_hz)
    record = EcgRecord((beat * np.linspace(0.2, 1.5, 12)[:, None]).astype(np.float32), fs_hz, LEADS)
    prepared = door.prepare(record)
    full = door.rule.n_samples
    wanted = full if door.rule.pad else min(full, round(n / fs_hz * door.rule.fs_hz))
    assert prepared.samples.shape[0] == 12
    assert abs(prepared.samples.shape[1] - wanted) <= (0 if door.rule.pad else 5)
    assert np.isfinite(prepared.samples).all()
    said = " ".join(prepared.notes)
    assert ("first 10 s" in said) == (seconds > 10)
    assert ("zeros behind" in said) == (door.rule.pad and seconds < 10)
    assert ("resampled" in said) == (fs_hz != door.rule.fs_hz)
    assert ("not the published protocol" in said) == (fs_hz < door.rule.fs_hz)
    assert np.isfinite(door.encode_records([record])).all()


def test_mimic_order() -> None:
    assert MIMIC_LEADS == ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")


@pytest.mark.parametrize("system", ["merl", "d-beta", "more"])
def test_lead_order_is_a_setting(doors: dict[str, Any], system: str) -> None:
    base = doors[system].name
    other = "standard" if system == "merl" else "mimic"
    door = load_encoder(base + ("&" if "?" in base else "?") + f"leads={other}")
    assert door.fingerprint != doors[system].fingerprint
    record = made.record("sinus")
    rows = record.signal_mv.copy()
    rows[[4, 5]] = rows[[5, 4]]
    exchanged = EcgRecord(rows, record.fs_hz, LEADS)
    np.testing.assert_array_equal(door.encode_records([record]), doors[system].encode_records([exchanged]))


@pytest.mark.parametrize("system", SYSTEMS)
def test_flat_records(doors: dict[str, Any], system: str) -> None:
    still = EcgRecord(np.zeros((12, 5000), dtype=np.float32), 500.0, LEADS)
    assert np.isfinite(doors[system].encode_records([still])).all()


@pytest.mark.parametrize("system", SYSTEMS)
def test_limb_leads_are_derived(doors: dict[str, Any], system: str) -> None:
    door = doors[system]
    record = made.record("wander")
    one, two = record.signal_mv[0], record.signal_mv[1]
    whole = record.signal_mv.copy()
    whole[2:6] = two - one, -(one + two) / 2, one - two / 2, two - one / 2
    keep = [0, 1, *range(6, 12)]
    part = EcgRecord(whole[keep], 500.0, tuple(LEADS[n] for n in keep))
    prepared = door.prepare(part)
    assert any("derived from two other limb leads" in note for note in prepared.notes)
    assert not any("missing" in note for note in prepared.notes)
    np.testing.assert_allclose(
        door.encode_records([part]), door.encode_records([EcgRecord(whole, 500.0, LEADS)]), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("system", SYSTEMS)
def test_missing_samples_count_as_zero(doors: dict[str, Any], system: str) -> None:
    door = doors[system]
    record = made.record("nan")
    prepared = door.prepare(record)
    share = float(np.isnan(record.signal_mv).mean())
    assert any(f"{share:.0%} of the samples" in note and "taken as 0 mV" in note for note in prepared.notes)
    zeros = replace(record, signal_mv=np.nan_to_num(record.signal_mv))
    np.testing.assert_array_equal(prepared.samples, door.prepare(zeros).samples)
    np.testing.assert_array_equal(door.record_notes(record), prepared.notes)


@pytest.mark.parametrize("system", SYSTEMS)
def test_too_much_missing_is_refused(doors: dict[str, Any], system: str) -> None:
    record = made.record("sinus")
    chest = EcgRecord(record.signal_mv[:8], 500.0, LEADS[:8])  # V3 to V6 are no one's sum
    with pytest.raises(RecordError, match=r"33% of the samples.*no V3, V4, V5, V6.*at most 25%"):
        doors[system].encode_records([chest])
    tenth = EcgRecord(record.signal_mv[:, :450], 500.0, LEADS)
    with pytest.raises(RecordError, match=r"lasts 0.9 s"):
        doors[system].encode_records([tenth])
    nothing = EcgRecord(np.full((12, 5000), np.nan, dtype=np.float32), 500.0, LEADS)
    with pytest.raises(RecordError, match="100% of the samples"):
        doors[system].encode_records([nothing])


@settings(max_examples=30, deadline=None)
@given(
    share=st.floats(0, 0.6),
    seed=st.integers(0, 2**16),
    fs_hz=st.sampled_from([100.0, 250.0, 500.0, 977.0]),
    gain=st.floats(0.1, 10),
)
def test_inputs_are_finite_or_refused(
    doors: dict[str, Any], share: float, seed: int, fs_hz: float, gain: float
) -> None:
    rng = np.random.default_rng(seed)
    n = round(fs_hz * rng.uniform(1, 12))
    signal = gain * rng.standard_normal((12, n))
    signal[rng.random((12, n)) < share] = np.nan
    record = EcgRecord(signal.astype(np.float32), fs_hz, LEADS)
    for door in doors.values():
        within = np.isnan(record.signal_mv[:, : round(10 * fs_hz)]).mean()
        if within > MOST_MISSING:
            with pytest.raises(RecordError):
                door.prepare(record)
        else:
            assert np.isfinite(door.prepare(record).samples).all()


@settings(max_examples=20, deadline=None)
@given(gain=st.floats(0.2, 5), offset=st.floats(-3, 3))
def test_scaling_forgets_gain_and_offset(doors: dict[str, Any], gain: float, offset: float) -> None:
    record = made.record("wander")
    moved = replace(record, signal_mv=(gain * record.signal_mv + offset).astype(np.float32))
    for system in ("merl", "ecgfounder-unfiltered"):
        rule = doors[system].rule
        np.testing.assert_allclose(prepare(moved, rule).samples, prepare(record, rule).samples, rtol=0, atol=2e-5)


@pytest.mark.parametrize("system", SYSTEMS)
def test_pictures_are_digitised_or_refused(doors: dict[str, Any], system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from PIL import Image

    from ecgkin.retrieval.ecg.page import printed

    door, page = doors[system], Image.new("L", (60, 40), 255)
    record = made.record("sinus")
    monkeypatch.setattr(printed, "read_printed", lambda image: SimpleNamespace(record=record))
    np.testing.assert_array_equal(door.encode_images([page]), door.encode_records([record]))
    # A page in 3x4: a quarter of each lead, lead II over ten seconds.
    rows = np.full_like(record.signal_mv, np.nan)
    for n in range(12):
        at = slice((n // 3) * 1250, (n // 3 + 1) * 1250) if n != 1 else slice(None)
        rows[n, at] = record.signal_mv[n, at]
    shown = replace(record, signal_mv=rows)
    monkeypatch.setattr(printed, "read_printed", lambda image: SimpleNamespace(record=shown))
    with pytest.raises(ImageError, match=r"the page shows too little for .*69% of the samples") as refusal:
        door.encode_images([page])
    assert "2.5 s of a lead" in refusal.value.hint
    monkeypatch.setattr(printed, "read_printed", lambda image: SimpleNamespace(record=None))
    with pytest.raises(ImageError, match="compares signals"):
        door.encode_images([page])


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
def test_a_drawn_page_goes_the_whole_way(doors: dict[str, Any]) -> None:
    """A page in 12x1 shows ten seconds of every lead: its vector is near the recording's; one in 3x4 is refused."""
    from ecgkin.retrieval.ecg.drawing.raster import render
    from ecgkin.retrieval.ecg.drawing.style import RenderStyle
    from ecgkin.retrieval.ecg.page.network.weights_file import load_reader
    from ecgkin.retrieval.encoders.published.check import simulated_records

    try:
        load_reader()
    except WeightsMissingError:
        pytest.skip("the page reader's weights are not here")
    (record,) = simulated_records(1)
    page = render(record, RenderStyle(layout="12x1", px_per_mm=8))
    for door in doors.values():
        cosine = float(door.encode_images([page])[0] @ door.encode_records([record])[0])
        assert cosine > 0.98, door.name
        with pytest.raises(ImageError, match="the page shows too little"):
            door.encode_images([render(record, RenderStyle(px_per_mm=8))])


def test_xrays_are_refused(doors: dict[str, Any]) -> None:
    from PIL import Image

    with pytest.raises(QueryError, match="chest X-ray side is not opened"):
        doors["more"].encode_xrays([Image.new("L", (8, 8))])


def test_fingerprints(doors: dict[str, Any], tmp_path: Path) -> None:
    import shutil

    import torch

    marks = [door.fingerprint for door in doors.values()]
    assert len(set(marks)) == len(marks)
    # A periodic training checkpoint of the same weights is the same encoder.
    plain = torch.load(made.FIXTURES / "merl" / "res18_best_ckpt.pth", weights_only=True)
    wrapped = {f"module.{name}": tensor for name, tensor in plain.items()}
    wrapped["module.lm_model.embeddings.position_ids"] = torch.arange(300)[None]
    shutil.copytree(made.FIXTURES / "merl" / "text_model", tmp_path / "text_model")
    torch.save(
        {"epoch": 7, "model_state_dict": wrapped, "optimizer_state_dict": {"state": {}}}, tmp_path / "res18_7_ckpt.pth"
    )
    again = load_encoder(f"merl:{tmp_path}")
    assert again.fingerprint == doors["merl"].fingerprint
    np.testing.assert_array_equal(
        again.encode_records([made.record("sinus")]), doors["merl"].encode_records([made.record("sinus")])
    )
    # One weight of the text tower changes what words mean, not what an ECG is.
    plain["proj_t.2.bias"][0] += 1e-3
    torch.save(plain, tmp_path / "res18_7_ckpt.pth")
    other: Any = load_encoder(f"merl:{tmp_path}")
    assert other.fingerprint != doors["merl"].fingerprint
    assert other.image_fingerprint == doors["merl"].image_fingerprint
    # So does the tokenizer.
    torch.save(wrapped, tmp_path / "res18_7_ckpt.pth")
    path = tmp_path / "text_model" / "tokenizer.json"
    path.write_text(
        path.read_text()
        .replace('"lowercase": true', '"lowercase": false')
        .replace('"lowercase":true', '"lowercase":false')
    )
    assert load_encoder(f"merl:{tmp_path}").fingerprint != doors["merl"].fingerprint


def test_backbone_alone(doors: dict[str, Any], tmp_path: Path) -> None:
    import torch

    plain = torch.load(made.FIXTURES / "merl" / "res18_best_ckpt.pth", weights_only=True)
    inside = {k.removeprefix("ecg_encoder."): v for k, v in plain.items() if k.startswith("ecg_encoder.")}
    torch.save(inside, tmp_path / "res18_best_encoder.pth")
    alone: Any = load_encoder(f"merl:{tmp_path}")
    assert "backbone alone" in alone.kind
    assert alone.dim == 32
    assert alone.fingerprint != doors["merl"].fingerprint
    with torch.inference_mode():
        x = made.batch_of(doors["merl"], ["sinus"])
        mean = doors["merl"].network.backbone(x).mean(2).numpy()
    np.testing.assert_allclose(alone.raw_records([made.record("sinus")]), mean, rtol=0, atol=1e-6)
    with pytest.raises(QueryError, match="no text tower") as refusal:
        alone.encode_texts(["sinus rhythm"])
    assert "_ckpt.pth" in refusal.value.hint


def test_wordpiece_from_vocab_alone(doors: dict[str, Any], tmp_path: Path) -> None:
    import shutil

    shutil.copytree(made.FIXTURES / "merl", tmp_path / "merl")
    (tmp_path / "merl" / "text_model" / "tokenizer.json").unlink()
    door: Any = load_encoder(f"merl:{tmp_path / 'merl'}")
    texts = [str(text) for text in made.expected("merl")["prompts"]]
    np.testing.assert_array_equal(door.text_folder.padded(texts, 256)[0], made.expected("merl")["input_ids"])


def test_one_lead(tmp_path: Path) -> None:
    import torch

    shapes = made.shapes_in("ecgfounder/full_shapes.json")
    small = torch.load(made.FIXTURES / "ecgfounder" / "12_lead_ECGFounder.pth", weights_only=False)["state_dict"]
    assert set(small) == set(shapes)
    name = "first_conv.conv.weight"
    small[name] = made.tensor_of(name, (16, 1, 16))
    torch.save({"state_dict": small}, tmp_path / "1_lead_ECGFounder.pth")
    door: Any = load_encoder(f"ecgfounder:{tmp_path / '1_lead_ECGFounder.pth'}")
    assert door.rule.leads == ("I",)
    record = made.record("sinus")
    alone = EcgRecord(record.signal_mv[:1], 500.0, ("I",))
    np.testing.assert_array_equal(door.encode_records([alone]), door.encode_records([record]))
