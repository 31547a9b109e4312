"""Ingest on many machines with Ray: a manifest in, cases into one base, each once, whatever dies on the way.

The manifest is a text file of JSON lines: first where the records come from (a PTB-XL folder or a folder of ECG files,
at the same path on every machine), then one line a case with the hash of its content. Ray's tasks read and encode some
cases each; on a Milvus server they write themselves, otherwise this process writes. A task whose machine dies is run
again elsewhere: what it had written already is found by its hash, or written over under the same key. Twins (the same
content under two names) are dropped when the manifest is read, so that no two tasks hold one content.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecgkin.index.folder.base import CaseBase
from ecgkin.index.ingest.executors import Prepared, prepare, write_prepared
from ecgkin.index.ingest.pipeline import open_or_create
from ecgkin.index.milvus.address import MilvusAddress, is_milvus
from ecgkin.index.sources.items import IngestItem, IngestReport
from ecgkin.retrieval.errors import CaseBaseError, RecordError

_LOG = logging.getLogger(__name__)

CHUNK = 64
AHEAD = 4  # chunks in flight for each processor of the cluster
SOURCES = ("ptbxl", "folder")


@dataclass(frozen=True)
class CaseManifest:
    """What a manifest says.

    Attributes:
        source: "ptbxl" or "folder": who lists the records.
        root: Their folder, on every machine.
        content: Case id to the hash of its content.
    """

    source: str
    root: str
    content: dict[str, str]


def write_manifest(source: str, root: str | Path, path: str | Path) -> CaseManifest:
    """List the records below a folder, hash their content and write the manifest.

    Raises:
        RecordError: No such source or folder, or the manifest cannot be written. Files that cannot be read are left to
            the ingest, which reports them.
    """
    content = {}
    for case_id, item in _items(source, str(Path(root).resolve())).items():
        try:
            content[case_id] = item.content() if item.content is not None else ""
        except RecordError:
            content[case_id] = ""
    found = CaseManifest(source, str(Path(root).resolve()), content)
    lines = [{"source": found.source, "root": found.root}]
    lines += [{"case_id": case_id, "content": digest} for case_id, digest in content.items()]
    try:
        Path(path).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    except OSError as error:
        raise RecordError(f"manifest {path} cannot be written: {error.strerror or error}") from error
    return found


def read_manifest(path: str | Path) -> CaseManifest:
    """The manifest in a file.

    Raises:
        RecordError: It cannot be read.
    """
    try:
        head, *lines = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines() if line]
        return CaseManifest(head["source"], head["root"], {line["case_id"]: line["content"] for line in lines})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{path} is no manifest of cases: {error}") from error


def ray_ingest(
    manifest: str | Path,
    base: str | Path,
    encoder_name: str = "default",
    *,
    address: str | None = None,
    chunk: int = CHUNK,
    keep_records: bool = True,
    progress: Callable[[IngestReport], None] | None = None,
) -> IngestReport:
    """Ingest the cases of a manifest on a Ray cluster.

    Args:
        manifest: See `write_manifest`.
        base: Folder or address on Milvus; made if it is not there.
        encoder_name: Loaded by every worker process.
        address: Of the cluster's head, "auto" for the one of this machine; None starts Ray here, or takes what this
            process has started.
        chunk: Cases a task.
        keep_records: Store the samples.
        progress: Called with the running report after each task.

    Raises:
        CaseBaseError: Ray is not installed, or the base cannot be written.
        RecordError: The manifest cannot be read.
    """
    ray: Any  # half of it has no types
    try:
        import ray
    except ImportError as error:
        raise CaseBaseError(
            f"ingest on several machines needs Ray: {error}", hint="pip install 'ecgkin[ray]'"
        ) from error
    from ecgkin.retrieval.encoders import load_encoder

    listed = read_manifest(manifest)
    report = IngestReport()
    open_or_create(base, load_encoder(encoder_name)).close()
    if not ray.is_initialized():
        ray.init(address=address, include_dashboard=False, log_to_driver=False)
    direct = is_milvus(base) and not MilvusAddress.parse(base).is_lite
    task = ray.remote(num_cpus=1, max_retries=-1)(_task)
    options = (listed.source, listed.root, encoder_name, str(base) if direct else "", keep_records)
    with CaseBase.open(base) as opened:
        n_cpus = int(ray.cluster_resources().get("CPU", 1))
        flying: list[Any] = []
        for ids in _missing(opened, listed, chunk, report):
            if len(flying) >= AHEAD * n_cpus:
                flying = _collect(ray, flying, opened, report, progress)
            flying.append(task.remote(ids, *options))
        while flying:
            flying = _collect(ray, flying, opened, report, progress)
    return report


def _task(
    ids: Sequence[str], source: str, root: str, encoder_name: str, base: str, keep_records: bool
) -> IngestReport | list[Prepared]:
    """What a worker of the cluster does: read and encode, and write where the base takes many writers."""
    encoder, items = _loaded(encoder_name), _items(source, root)
    made = prepare([items[case_id] for case_id in ids if case_id in items], encoder, keep_records)
    if not base:
        return made
    report = IngestReport()
    with CaseBase.open(base, encoder) as opened:
        write_prepared(opened, made, report)
    return report


def _missing(base: CaseBase, listed: CaseManifest, chunk: int, report: IngestReport) -> Iterator[list[str]]:
    """Ids that are not in the base as they should be, some at a time; twins are dropped."""
    first: dict[str, str] = {}
    ids = []
    for case_id, digest in listed.content.items():
        twin = first.setdefault(digest, case_id) if digest else case_id
        if twin != case_id:
            report.duplicates.append((case_id, twin))
        else:
            ids.append(case_id)
    for start in range(0, len(ids), chunk):
        some = ids[start : start + chunk]
        there = {case.case_id: case.content_hash for case in base.some(some)[0]}
        wanted = [i for i in some if not listed.content[i] or there.get(i) != listed.content[i]]
        report.skipped += len(some) - len(wanted)
        if wanted:
            yield wanted


def _collect(
    ray: Any, flying: list[Any], base: CaseBase, report: IngestReport, progress: Callable[[IngestReport], None] | None
) -> list[Any]:
    """Wait for one task and count, or write, what it has made."""
    ready, rest = ray.wait(flying, num_returns=1)
    for answer in ray.get(ready):
        if isinstance(answer, IngestReport):
            report.added += answer.added
            report.updated += answer.updated
            report.skipped += answer.skipped
            report.duplicates += answer.duplicates
            report.failed += answer.failed
            report.notes += answer.notes
        else:
            write_prepared(base, answer, report)
        if progress is not None:
            progress(report)
    return list(rest)


_ENCODERS: dict[str, Any] = {}
_LISTED: dict[tuple[str, str], dict[str, IngestItem]] = {}


def _loaded(name: str) -> Any:
    """One encoder a worker process, however many tasks it runs."""
    if name not in _ENCODERS:
        from ecgkin.retrieval.encoders import load_encoder

        _ENCODERS[name] = load_encoder(name)
    return _ENCODERS[name]


def _items(source: str, root: str) -> dict[str, IngestItem]:
    from ecgkin.index.sources.sources import folder_items, ptbxl_items

    if source not in SOURCES:
        raise RecordError(f"source is {source!r} (expected one of {', '.join(SOURCES)})")
    if (source, root) not in _LISTED:
        found = ptbxl_items(root) if source == "ptbxl" else folder_items(root)
        _LISTED[source, root] = {item.case.case_id: item for item in found}
    return _LISTED[source, root]
