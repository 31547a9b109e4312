"""Ingest in several processes and on a Ray cluster: the same base as one process makes, every case once."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ecgkin.index import open_base
from ecgkin.index.ingest.executors import Job, prepare
from ecgkin.index.ingest.pipeline import ingest_records, open_or_create
from ecgkin.index.ingest.ray import ray_ingest, read_manifest, write_manifest
from ecgkin.index.sources.folder import folder_items
from ecgkin.index.sources.ptbxl import ptbxl_items
from ecgkin.index.transfer.copy import base_digest
from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.retrieval.errors import CaseBaseError, RecordError

pytestmark = pytest.mark.filterwarnings("ignore:::(ray|pymilvus|milvus_lite|grpc|google)")


@pytest.fixture
def clinic(made_ptbxl: Path, tmp_path: Path) -> Path:
    """A folder with 12 records, one of them twice, and a file that is none."""
    folder = tmp_path / "clinic"
    folder.mkdir()
    for number in range(1, 13):
        for suffix in (".hea", ".dat"):
            shutil.copy(made_ptbxl / "records100" / "00000" / f"{number:05d}_lr{suffix}", folder)
    (folder / "again").mkdir()
    for suffix in (".hea", ".dat"):
        shutil.copy(folder / f"00003_lr{suffix}", folder / "again" / f"00003_lr{suffix}")
    (folder / "zz.csv").write_text("no numbers\n")
    return folder


def test_workers_make_the_same_base(clinic: Path, tmp_path: Path) -> None:
    encoder = HashingEncoder()
    with open_or_create(tmp_path / "one", encoder) as base:
        alone = ingest_records(base, folder_items(clinic), encoder, batch=4)
        digest = base_digest(base)
        assert (alone.added, len(alone.duplicates), len(alone.failed)) == (12, 1, 1)
    with open_or_create(tmp_path / "many", encoder) as base:
        counts: list[int] = []
        report = ingest_records(
            base, folder_items(clinic), encoder, batch=4, workers=2, progress=lambda now: counts.append(now.n_seen)
        )
        assert vars(report) | {"notes": []} == vars(alone) | {"notes": []}
        assert base_digest(base) == digest and counts == sorted(counts) and counts[-1] == report.n_seen == 14
        again = ingest_records(base, folder_items(clinic), encoder, workers=2)
        assert (again.added, again.skipped, len(again.duplicates), len(again.failed)) == (0, 12, 1, 1)
        assert base_digest(base) == digest


def test_a_worker_that_dies_is_an_error(clinic: Path, tmp_path: Path) -> None:
    class Dies(HashingEncoder):
        def encode_records(self, records: object) -> NDArray[np.float32]:
            os.kill(os.getpid(), signal.SIGKILL)
            raise AssertionError

    encoder = Dies()
    with (
        open_or_create(tmp_path / "b", encoder) as base,
        pytest.raises(CaseBaseError, match="worker process ended"),
    ):
        ingest_records(base, folder_items(clinic), encoder, workers=2)


def test_prepare_names_what_fails(clinic: Path) -> None:
    items = folder_items(clinic)
    groups = prepare([Job(i) for i in range(len(items))], items, HashingEncoder(), keep_records=False)
    made = [one for group in groups for one in group]
    assert [one.title for one in made] == [item.title for item in items]
    failed = [one for one in made if one.vector is None]
    assert len(failed) == 1 and failed[0].title.endswith("zz.csv") and failed[0].error
    assert all(one.record is None and one.case is not None and one.case.content_hash for one in made if one.error == "")


def test_manifest(made_ptbxl: Path, tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    written = write_manifest("ptbxl", made_ptbxl, path)
    assert read_manifest(path) == written and len(written.content) == 60
    assert all(item.content is not None and item.content() == written.content[item.case.case_id] for item in
               ptbxl_items(made_ptbxl)[:3])  # fmt: skip
    path.write_text('{"source": "x"}\n')
    for wrong in (path, tmp_path / "none"):
        with pytest.raises(RecordError, match="no manifest"):
            read_manifest(wrong)
    with pytest.raises(RecordError, match="source is"):
        write_manifest("attic", made_ptbxl, path)


DRIVER = """
import sys
from ecgkin.index.ingest.ray import ray_ingest
report = ray_ingest(*sys.argv[1:4], address=sys.argv[4], chunk=2, progress=lambda now: print(now.n_seen, flush=True))
print("added", report.added, "skipped", report.skipped, "failed", len(report.failed), flush=True)
"""


@pytest.mark.slow
def test_two_nodes_one_killed(made_ptbxl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster of two nodes on this machine, one of them killed half way: every case once, none twice."""
    pytest.importorskip("ray", reason="extra [ray] is not installed")
    # Ray's workers step back behind everything else; on a busy machine they would never get on.
    monkeypatch.setenv("RAY_worker_niceness", "0")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    manifest, place = tmp_path / "manifest.jsonl", tmp_path / "base"
    write_manifest("ptbxl", made_ptbxl, manifest)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        second = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        command = [sys.executable, "-c", DRIVER, str(manifest), str(place), "hashing", cluster.address]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
            assert driver.stdout is not None
            for line in driver.stdout:
                if line.strip().isdecimal() and int(line) >= 20:  # Ray says things of its own in between
                    break
            cluster.remove_node(second, allow_graceful=False)
            rest = driver.stdout.read().splitlines()
        assert driver.returncode == 0
        assert [line for line in rest if line.startswith("added")] == ["added 60 skipped 0 failed 0"]
        time.sleep(0.1)
        again = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        assert [line for line in again if line.startswith("added")] == ["added 0 skipped 60 failed 0"]
    finally:
        cluster.shutdown()
    with open_base(place) as base:
        base.verify()
        assert {case.case_id for case in base.cases()} == {f"ptbxl/{i}" for i in range(1, 61)} and len(base) == 60


def test_without_ray(made_ptbxl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(CaseBaseError, match="needs Ray"):
        ray_ingest(tmp_path / "m", tmp_path / "b")
