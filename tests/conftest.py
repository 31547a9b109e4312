"""What every test stands on: a user folder of its own, no network, the real data where it is at hand."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from ecgkin.retrieval.ecg.leads import LEADS, derive_limb_leads
from ecgkin.retrieval.ecg.record import EcgRecord

# Set before any test runs, so that settings files and caches of the person who runs the tests are never touched
# (see `_own_user_folder`) and nothing is fetched: port 9 is "discard", and nobody listens there.
_NOWHERE = "http://127.0.0.1:9/"
_KEPT_SETTINGS = {"ECGKIN_PTBXL", "ECGKIN_SHARED"}


# A busy machine is no counterexample: no example has a deadline. In CI the examples are the same every time, so that a
# commit has one answer; elsewhere they are new ones, which is where counterexamples are found.
settings.register_profile(
    "ecgkin", deadline=None, derandomize=bool(os.environ.get("CI")), suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ecgkin")


@pytest.fixture(scope="session", autouse=True)
def _own_user_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Point the user folder to a temporary one, and the download to an address where nobody answers."""
    for name in [name for name in os.environ if name.startswith("ECGKIN_") and name not in _KEPT_SETTINGS]:
        del os.environ[name]
    os.environ["ECGKIN_HOME"] = str(tmp_path_factory.mktemp("ecgkin-home"))
    os.environ["ECGKIN_PHYSIONET_URL"] = _NOWHERE


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """The command line sets up the project's logger; the next test must find it as the last one did."""
    logger = logging.getLogger("ecgkin")
    before = (logger.handlers[:], logger.level, logger.propagate)
    yield
    logger.handlers[:] = before[0]
    logger.setLevel(before[1])
    logger.propagate = before[2]


@pytest.fixture(scope="session")
def ptbxl_root() -> Path:
    """Folder with the official layout of PTB-XL, from ECGKIN_PTBXL."""
    value = os.environ.get("ECGKIN_PTBXL", "")
    if not value:
        pytest.skip("ECGKIN_PTBXL is not set: real PTB-XL not at hand")
    root = Path(value)
    assert (root / "ptbxl_database.csv").is_file(), f"ECGKIN_PTBXL={value} holds no ptbxl_database.csv"
    return root


@pytest.fixture(scope="session")
def shared_root() -> Path:
    """Folder with foreign pictures, formats and data bases, from ECGKIN_SHARED (in this house: shared/data)."""
    value = os.environ.get("ECGKIN_SHARED", "")
    if not value:
        pytest.skip("ECGKIN_SHARED is not set: foreign pictures and records not at hand")
    return Path(value)


@pytest.fixture(scope="session")
def project_root() -> Path:
    """Folder that holds pyproject.toml."""
    return Path(__file__).resolve().parent.parent


def _beats_mv(amplitude_mv: float, *, fs_hz: int, seconds: float, rate_bpm: float) -> np.ndarray:
    """A trace with P, QRS and T as Gaussian bumps at fixed places of every beat, shape (n_samples,)."""
    t = np.arange(round(fs_hz * seconds)) / fs_hz
    phase = (t * rate_bpm / 60.0) % 1.0
    bumps = ((0.15, 0.25, 0.030), (-0.10, 0.375, 0.010), (1.00, 0.40, 0.012), (-0.20, 0.425, 0.010), (0.30, 0.65, 0.05))
    shape = sum(height * np.exp(-0.5 * ((phase - centre) / width) ** 2) for height, centre, width in bumps)
    return (amplitude_mv * np.asarray(shape)).astype(np.float32)


@pytest.fixture(scope="session")
def made_record() -> EcgRecord:
    """A plain twelve-lead ECG of 10 s at 500 Hz, 75 beats a minute, lead III = II - I and so on to the last bit."""
    heights = {"I": 0.7, "II": 1.1, "V1": -0.6, "V2": -0.4, "V3": 0.3, "V4": 1.2, "V5": 1.4, "V6": 1.0}
    known = {name: _beats_mv(h, fs_hz=500, seconds=10.0, rate_bpm=75.0) for name, h in heights.items()}
    every = {**known, **derive_limb_leads(known)}
    signal = np.stack([every[name] for name in LEADS])
    return EcgRecord(signal, 500.0, LEADS, record_id="made-75", age_years=54.0, sex="F")


@pytest.fixture(scope="session")
def made_ptbxl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PTB-XL folder in its official layout: 60 simulated records in folds 1 to 9, reports in two languages."""
    import csv

    import wfdb

    from ecgkin.retrieval.ecg.simulation.simulate import simulate_corpus

    root = tmp_path_factory.mktemp("ptbxl")
    columns = ["ecg_id", "patient_id", "age", "sex", "device", "recording_date", "report", "scp_codes", "strat_fold"]
    folder = root / "records100" / "00000"
    folder.mkdir(parents=True)
    with (root / "ptbxl_database.csv").open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow([*columns, "filename_lr", "filename_hr"])
        for number, ecg in enumerate(simulate_corpus(60, seed=5, fs_hz=100), start=1):
            name = f"{number:05d}_lr"
            signal = ecg.record.standard().T.astype(float)
            wfdb.wrsamp(
                name, fs=100, units=["mV"] * 12, sig_name=[lead.upper() for lead in ecg.record.leads], p_signal=signal,
                fmt=["16"] * 12, adc_gain=[1000.0] * 12, baseline=[0] * 12, write_dir=str(folder),
            )  # fmt: skip
            report = ecg.report_en if number % 2 else ecg.report_de
            row = [number, number, 60, number % 2, "made", "1990-01-01 10:00:00", report, str(dict(ecg.labels))]
            table.writerow([*row, 1 + number % 9, f"records100/00000/{name}", f"records500/00000/{number:05d}_hr"])
    # The table of statements only says that the folder is complete; its names are ecgkin's own vocabulary.
    (root / "scp_statements.csv").write_text(",description,diagnostic,form,rhythm\nNORM,normal ECG,1.0,,\n")
    return root


@pytest.fixture(scope="session")
def simulated_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a case base with 40 simulated cases, by the encoder without weights; copy it to change it."""
    from ecgkin.index.ingest.pipeline import ingest_records, open_or_create
    from ecgkin.retrieval.encoders.hashing import HashingEncoder
    from ecgkin.ui.demo.cases import simulated_gallery

    folder = tmp_path_factory.mktemp("bases") / "simulated"
    encoder = HashingEncoder()
    with open_or_create(folder, encoder) as base:
        report = ingest_records(base, simulated_gallery(40), encoder)
    assert report.added == 40, report
    return folder
