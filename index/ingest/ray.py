"""Ingest on many machines with Ray: a manifest in, cases into one base, each once, whatever dies on the way.

The manifest is a text file of JSON lines: first where the records come from (a PTB-XL folder or a folder of ECG files,
at the same path on every machine), then one line a case with the hash of its content. Ray's tasks read and encode some
cases each; on a Milvus server they write themselves, otherwise this process writes. A task whose machine dies is run
again elsewhere: what it had written already is found by its hash, or written over under the same key. Twins (the same
content under two names) are dropped when the manifest is read, so that no two tasks hold one content.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecgkin.index import is_milvus, open_base
from ecgkin.index.case import Case
from ecgkin.index.ingest.executors import Job, Prepared, on_ray, prepare
from ecgkin.index.ingest.pipeline import Progress, open_or_create, run, write_prepared
from ecgkin.index.milvus.address import MilvusAddress
from ecgkin.index.sources.items import IngestItem, IngestReport, Loaded
from ecgkin.retrieval.errors import CaseBaseError, RecordError, why

CHUNK = 64
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

    Args:
        source: "ptbxl" or "folder".
        root: The folder of the records.
        path: Where the manifest goes.

    Returns:
        What was written.

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
        raise RecordError(f"manifest {path} cannot be written: {why(error)}") from error
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
        raise RecordError(f"{path} is no manifest of cases: {why(error)}") from error


def ray_ingest(
    manifest: str | Path,
    base: str | Path,
    encoder_name: str = "default",
    *,
    address: str | None = None,
    chunk: int = CHUNK,
    keep_records: bool = True,
    progress: Progress | None = None,
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

    Returns:
        The report; whatever it counts as added or updated is in the base.

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
    items = [_listed_item(case_id, digest) for case_id, digest in listed.content.items()]
    if not ray.is_initialized():
        ray.init(address=address, include_dashboard=False, log_to_driver=False)
    # A Milvus server takes many writers: there each task writes what it has made.
    direct = str(base) if is_milvus(base) and not MilvusAddress.parse(base).is_lite else ""
    options = _TaskOptions(tuple(listed.content), listed.source, listed.root, encoder_name, direct, keep_records)
    with open_or_create(base, load_encoder(encoder_name)) as opened:
        return run(opened, items, on_ray(ray, _task, options), batch=1, chunk=chunk, progress=progress)


@dataclass(frozen=True)
class _TaskOptions:
    """What every task of an ingest is told: ids by number, where the records are, which encoder, where to write."""

    case_ids: tuple[str, ...]
    source: str
    root: str
    encoder_name: str
    base: str
    keep_records: bool


def _task(options: _TaskOptions, jobs: Sequence[Job]) -> IngestReport | list[Prepared]:
    """What a worker of the cluster does: read and encode, and write where the base takes many writers."""
    encoder, listed = _loaded(options.encoder_name), _items(options.source, options.root)
    wanted = [
        listed.get(options.case_ids[job.number]) or _listed_item(options.case_ids[job.number], "") for job in jobs
    ]
    own = [Job(i, job.digest, job.known) for i, job in enumerate(jobs)]
    made = [one for group in prepare(own, wanted, encoder, options.keep_records) for one in group]
    if not options.base:
        return made
    report = IngestReport()
    with open_base(options.base, encoder) as opened:
        write_prepared(opened, made, report)
    return report


def _listed_item(case_id: str, digest: str) -> IngestItem:
    """A case as the manifest names it: only workers can load it."""

    def load() -> Loaded:
        raise RecordError(f"{case_id} is in the manifest, but not where its records are")

    return IngestItem(Case(case_id), load, (lambda: digest) if digest else None)


_ENCODERS: dict[str, Any] = {}
_LISTED: dict[tuple[str, str], dict[str, IngestItem]] = {}


def _loaded(name: str) -> Any:
    """One encoder a worker process, however many tasks it runs."""
    if name not in _ENCODERS:
        from ecgkin.retrieval.encoders import load_encoder
        from ecgkin.retrieval.graphs import expect_many

        expect_many()
        _ENCODERS[name] = load_encoder(name)
    return _ENCODERS[name]


def _items(source: str, root: str) -> dict[str, IngestItem]:
    from ecgkin.index.sources.folder import folder_items
    from ecgkin.index.sources.ptbxl import ptbxl_items

    if source not in SOURCES:
        raise RecordError(f"source is {source!r} (expected one of {', '.join(SOURCES)})")
    if (source, root) not in _LISTED:
        found = ptbxl_items(root) if source == "ptbxl" else folder_items(root)
        _LISTED[source, root] = {item.case.case_id: item for item in found}
    return _LISTED[source, root]
