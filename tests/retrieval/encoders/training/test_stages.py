"""The five stages of training, resumed after kills, and the encoder that comes out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ecgkin.retrieval.encoders.training.settings import TrainSettings, load_settings
from ecgkin.retrieval.errors import EcgkinError, InputError, ModelError, QueryError, WeightsMissingError


def _settings(stage: str, out: Path, **more: object) -> TrainSettings:
    base: dict[str, object] = {
        "stage": stage, "out": str(out / stage), "architecture": "test", "epochs": 1, "batch": 8, "workers": 0,
        "precision": "fp32", "threads": 1, "page_share": 0.1,
        "teacher": str(out / "signal") if stage in ("image", "fuse") else "",
        "encoder": str(out / "text" / "encoder") if stage == "fuse" else "",
        "image": str(out / "image") if stage in ("join", "text") else "",
        "join": str(out / "join") if stage == "text" else "",
    }  # fmt: skip
    return TrainSettings(**{**base, **more})  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def trained(made_ptbxl: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with all five stages run on simulated records by towers of a few thousand weights."""
    from ecgkin.retrieval.encoders.training import run_stage

    out = tmp_path_factory.mktemp("runs")
    for stage in ("signal", "image", "join", "text", "fuse"):
        figures = run_stage(_settings(stage, out), made_ptbxl)
        assert figures and all(np.isfinite(v) for v in figures.values()), (stage, figures)
    return out


@pytest.mark.parametrize("stage", ["text", "fuse"])
def test_the_encoder_that_training_writes_keeps_the_promises(trained: Path, made_ptbxl: Path, stage: str) -> None:
    from ecgkin.retrieval.ecg.drawing.raster import render
    from ecgkin.retrieval.encoders import load_encoder
    from ecgkin.retrieval.encoders.base import Encoder
    from ecgkin.retrieval.encoders.training.corpus import load_corpus

    encoder = load_encoder(str(trained / stage / "encoder"))
    assert isinstance(encoder, Encoder)
    corpus = load_corpus(made_ptbxl, [9])
    records = [corpus.record(row) for row in range(3)]
    pages = [render(record) for record in records]
    for vectors in (
        encoder.encode_records(records),
        encoder.encode_images(pages),
        encoder.encode_texts(["LBBB", "Vorhofflimmern", ""]),
    ):
        assert vectors.shape == (3, encoder.dim) and vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    alone = encoder.encode_images(pages[1:2])
    np.testing.assert_allclose(alone[0], encoder.encode_images(pages)[1], atol=2e-2)
    again = load_encoder(str(trained / stage / "encoder"))
    assert again.fingerprint == encoder.fingerprint
    assert encoder.encode_images([]).shape == (0, encoder.dim)


def test_the_fingerprint_follows_the_weights(trained: Path, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    from ecgkin.retrieval.encoders.checkpoint import read_encoder_files

    folder = tmp_path / "encoder"
    shutil.copytree(trained / "text" / "encoder", folder)
    before = read_encoder_files(folder).fingerprint
    state = load_file(folder / "model.safetensors")
    name = next(k for k, v in state.items() if v.is_floating_point() and v.numel() > 4)
    state[name] = state[name] * 1.5 + 1
    save_file(state, folder / "model.safetensors")
    assert read_encoder_files(folder).fingerprint != before


def test_the_samples_are_a_part_of_the_vector(trained: Path, made_ptbxl: Path) -> None:
    """Pictures get the place that they let expect where there are no samples; missing leads count as nothing."""
    from dataclasses import replace

    from ecgkin.retrieval.ecg.drawing.raster import render
    from ecgkin.retrieval.ecg.page.printed import read_printed
    from ecgkin.retrieval.encoders.dual import load_dual
    from ecgkin.retrieval.encoders.training.corpus import load_corpus

    plain, fused = load_dual(trained / "text" / "encoder"), load_dual(trained / "fuse" / "encoder")
    width = fused.architecture.image_dim
    assert fused.dim == width + fused.architecture.signal_dim > plain.dim == width
    assert fused.tower_fingerprint == plain.tower_fingerprint == plain.image_fingerprint
    assert len({fused.fingerprint, plain.fingerprint, fused.image_fingerprint, plain.image_fingerprint}) == 4
    corpus = load_corpus(made_ptbxl, [9])
    records = [corpus.record(row) for row in range(3)]
    vectors = fused.encode_records(records)
    share = fused.architecture.signal_share
    np.testing.assert_allclose(vectors[:, :width], (1 - share) ** 0.5 * plain.encode_records(records), atol=1e-2)
    np.testing.assert_allclose(np.linalg.norm(vectors[:, width:], axis=1), share**0.5, atol=1e-5)

    signal = records[1].signal_mv.copy()
    signal[8:] = np.nan
    part = replace(records[1], signal_mv=signal)
    zeros = replace(records[1], signal_mv=np.nan_to_num(signal))
    short = records[2].window(0, 4)
    mixed = fused.encode_records([records[0], part, short, records[1]])
    for row, one in enumerate((records[0], part, short, records[1])):
        np.testing.assert_allclose(mixed[row, width:], fused.encode_records([one])[0, width:], atol=1e-4)
    np.testing.assert_allclose(mixed[1, width:], fused.encode_records([zeros])[0, width:], atol=1e-4)

    printed = read_printed(render(records[0]))
    assert printed.record is not None
    poor = replace(printed, evidence=None)  # its signals are not believed
    told, ink, doubted = fused.encode_printed([printed, replace(printed, record=None, digitized=None), poor])
    assert (printed.grade, poor.grade) == ("sure", "poor")
    np.testing.assert_allclose(doubted, ink, atol=1e-6)
    np.testing.assert_allclose(told[:width], ink[:width], atol=1e-2)
    assert np.abs(told[width:] - ink[width:]).max() > 1e-3  # a network of eight steps hardly tells ECGs apart
    np.testing.assert_allclose(np.linalg.norm([told, ink], axis=1), 1, atol=1e-5)
    words = fused.encode_texts(["sinus rhythm", "left bundle branch block"])
    np.testing.assert_allclose(np.linalg.norm(words[:, width:], axis=1), share**0.5, atol=1e-5)


def test_a_base_of_the_encoder_before_is_refused_and_can_be_encoded_anew(
    trained: Path, made_ptbxl: Path, tmp_path: Path
) -> None:
    from ecgkin.index import create_base, open_base
    from ecgkin.index.case import Case
    from ecgkin.index.transfer.copy import copy_base
    from ecgkin.retrieval.encoders import load_encoder
    from ecgkin.retrieval.encoders.training.corpus import load_corpus
    from ecgkin.retrieval.errors import EncoderMismatchError
    from ecgkin.retrieval.search.search import CaseSearch

    plain, fused = (load_encoder(str(trained / stage / "encoder")) for stage in ("text", "fuse"))
    corpus = load_corpus(made_ptbxl, [9])
    records = [corpus.record(row) for row in range(4)]
    with create_base(tmp_path / "old", plain.name, plain.fingerprint, plain.dim) as base:
        base.add([Case(f"x/{n}") for n in range(4)], plain.encode_records(records), records)
        with pytest.raises(EncoderMismatchError, match="built with encoder") as caught:
            CaseSearch(base, fused)
        assert "base reencode" in str(caught.value.hint)
    with open_base(tmp_path / "old") as base:
        copy_base(base, tmp_path / "new", encoder=fused)
    with open_base(tmp_path / "new") as base:
        hit = CaseSearch(base, fused).by_ecg(records[2], k=1).hits[0]
        assert hit.case.case_id == "x/2" and hit.score == pytest.approx(1.0, abs=1e-3)


def test_damaged_weights_are_refused_by_name(trained: Path, tmp_path: Path) -> None:
    import shutil

    from ecgkin.retrieval.encoders import load_encoder

    folder = tmp_path / "encoder"
    shutil.copytree(trained / "text" / "encoder", folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        load_encoder(str(folder))
    weights.unlink()
    with pytest.raises(WeightsMissingError, match=r"model\.safetensors"):
        load_encoder(str(folder))
    with pytest.raises(WeightsMissingError, match="no encoder called"):
        load_encoder("no-such-encoder")


def test_a_stage_that_was_stopped_goes_on_to_the_same_weights(made_ptbxl: Path, tmp_path: Path) -> None:
    """Stopping after three steps and going on gives what an undisturbed run gives (same rows, same drawings)."""
    import torch

    from ecgkin.retrieval.encoders.training import run_stage

    whole, halves = tmp_path / "whole", tmp_path / "halves"
    run_stage(_settings("signal", tmp_path, max_steps=2), made_ptbxl)
    quiet = {"page_share": 0.0, "teacher": str(tmp_path / "signal")}
    run_stage(_settings("image", whole, **quiet), made_ptbxl)
    run_stage(_settings("image", halves, max_steps=3, **quiet), made_ptbxl)
    run_stage(_settings("image", halves, **quiet), made_ptbxl)
    one, two = (torch.load(o / "image/checkpoint.pt", weights_only=True) for o in (whole, halves))
    assert one["step"] == two["step"]
    for name, value in one["model"].items():
        torch.testing.assert_close(value, two["model"][name], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_a_training_killed_at_random_moments_can_always_go_on(made_ptbxl: Path, tmp_path: Path) -> None:
    from ecgkin.retrieval.encoders.training import run_stage

    run_stage(_settings("signal", tmp_path, max_steps=2), made_ptbxl)
    config = tmp_path / "image.yaml"
    settings = _settings("image", tmp_path, epochs=40, checkpoint_minutes=0.0).to_dict()
    config.write_text(json.dumps({k: list(v) if isinstance(v, tuple) else v for k, v in settings.items()}))
    code = (
        "from pathlib import Path; from ecgkin.retrieval.encoders.training.settings import load_settings; "
        "from ecgkin.retrieval.encoders.training import run_stage; "
        f"run_stage(load_settings(Path({str(config)!r})))"
    )
    environment = {**os.environ, "ECGKIN_PTBXL": str(made_ptbxl)}
    rng = np.random.default_rng(3)
    log = tmp_path / "image" / "log.jsonl"
    checkpoint = tmp_path / "image" / "checkpoint.pt"
    for _ in range(4):
        process = subprocess.Popen([sys.executable, "-c", code], env=environment, start_new_session=True)
        before = checkpoint.stat().st_mtime_ns if checkpoint.is_file() else 0
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            if checkpoint.is_file() and checkpoint.stat().st_mtime_ns != before:
                break
            time.sleep(0.02)
        time.sleep(float(rng.uniform(0, 0.8)))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    figures = run_stage(load_settings(config, epochs=2, max_steps=10_000), made_ptbxl)
    assert '"resumed"' in log.read_text()
    assert figures and np.isfinite(figures["cosine"])


@pytest.mark.slow
def test_two_processes_under_torchrun_train_one_model(made_ptbxl: Path, tmp_path: Path) -> None:
    from ecgkin.retrieval.encoders.training import run_stage

    run_stage(_settings("signal", tmp_path, max_steps=2), made_ptbxl)
    config = tmp_path / "image.yaml"
    settings = _settings("image", tmp_path, batch=4).to_dict()
    config.write_text(json.dumps({k: list(v) if isinstance(v, tuple) else v for k, v in settings.items()}))
    script = tmp_path / "go.py"
    script.write_text(
        "from pathlib import Path\nfrom ecgkin.retrieval.encoders.training.settings import load_settings\n"
        "from ecgkin.retrieval.encoders.training import run_stage\n"
        f"run_stage(load_settings(Path({str(config)!r})))\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    environment = {**os.environ, "ECGKIN_PTBXL": str(made_ptbxl), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads((tmp_path / "image" / "image.json").read_text())["finished"] is True


@pytest.mark.parametrize(
    ("content", "error", "says"),
    [
        ("stage: dance\nout: x\n", QueryError, "dance"),
        ("stage: image\nout: x\n", QueryError, "teacher"),
        ("stage: signal\nout: x\nepochz: 3\n", QueryError, "epochz"),
        ("just words", InputError, "no settings"),
        ("stage: signal\n", QueryError, "out"),
        ("stage: [", InputError, "cannot read"),
    ],
)
def test_bad_settings_say_what_is_wrong(tmp_path: Path, content: str, error: type[EcgkinError], says: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(content)
    with pytest.raises(error, match=says):
        load_settings(path)


def test_missing_earlier_stages_and_broken_checkpoints_are_named(made_ptbxl: Path, tmp_path: Path) -> None:
    from ecgkin.retrieval.encoders.training import run_stage

    with pytest.raises(ModelError, match=r"targets\.npz is missing"):
        run_stage(_settings("image", tmp_path), made_ptbxl)
    with pytest.raises(ModelError, match=r"image\.safetensors is missing"):
        run_stage(_settings("text", tmp_path), made_ptbxl)
    (tmp_path / "signal").mkdir(exist_ok=True)
    (tmp_path / "signal" / "checkpoint.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(ModelError, match="cannot be read"):
        run_stage(_settings("signal", tmp_path), made_ptbxl)


def test_the_shipped_configurations_are_valid(project_root: Path) -> None:
    for stage in ("signal", "image", "join", "text", "fuse"):
        assert load_settings(project_root / "scripts" / "training" / f"{stage}.yaml").stage == stage
