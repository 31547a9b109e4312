"""From one case base to another, folder or Milvus: copied, or encoded anew while the old one answers.

Both go in passes: each reads all of the source, compares every case with what the target holds (by checksum of what is
read back from there) and writes what differs. The pass that finds nothing to write is the proof that the two are
equal; it also catches up with what was written to the source meanwhile. A copy that was stopped goes on where it stood
when it is started again, because what is there already is equal.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ecgkin.index import base_exists, create_base, open_base
from ecgkin.index.base import CaseBase
from ecgkin.index.case import Case
from ecgkin.index.engines.protocol import Vectors
from ecgkin.index.waveform import STEP_MV
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.ecg.searchable import searchable
from ecgkin.retrieval.encoders.base import Encoder
from ecgkin.retrieval.errors import CaseBaseError, EncoderMismatchError

_LOG = logging.getLogger(__name__)

PASSES = 20  # each is shorter than the one before, unless the source is written to faster than it can be copied
_MODULUS = 1 << 128
Progress = Callable[[int, int, int], None]


@dataclass
class CopyReport:
    """What a copy did.

    Attributes:
        added, updated, removed: Changes to the target, over all passes.
        passes: How often the source was read, the last time without a change.
        n_cases: In the target.
        digest: Checksum over all cases of the target, whatever their order: 32 hex digits.
    """

    added: int = 0
    updated: int = 0
    removed: int = 0
    passes: int = 0
    n_cases: int = 0
    digest: str = ""


def case_digest(case: Case, vector: Vectors | None, record: EcgRecord | None) -> bytes:
    """Checksum of one case: all it says, its vector to the last bit, its samples to 1 uV; 16 bytes.

    Args:
        case: The case.
        vector: Shape (dim,); None leaves it out.
        record: The samples that are stored with it.

    Returns:
        BLAKE2b, 16 bytes.
    """
    found = hashlib.blake2b(json.dumps(case.as_dict(), sort_keys=True).encode(), digest_size=16)
    if vector is not None:
        found.update(np.ascontiguousarray(vector, dtype="<f4").tobytes())
    if record is not None:
        signal = record.signal_mv
        head = [record.fs_hz, record.leads, record.record_id, record.patient_id, record.age_years, record.sex]
        found.update(json.dumps([*head, record.notes, signal.shape]).encode())
        steps = np.rint(np.where(np.isnan(signal), 1e6, signal).astype(np.float64) / STEP_MV)
        found.update(steps.astype("<i8").tobytes())
    return found.digest()


def base_digest(base: CaseBase) -> str:
    """Checksum over all cases of a base, whatever their order: 32 hex digits."""
    total = 0
    for cases, vectors, records in base.blocks():
        for case, vector, record in zip(cases, vectors, records, strict=True):
            total += int.from_bytes(case_digest(case, vector, record), "little")
    return f"{total % _MODULUS:032x}"


def copy_base(
    source: CaseBase,
    target: str | Path,
    *,
    kind: str = "auto",
    encoder: Encoder | None = None,
    mirror: bool = False,
    batch: int = 500,
    progress: Progress | None = None,
) -> CopyReport:
    """Make the target equal to the source, and prove it.

    Args:
        source: An open base; it may be searched and written to meanwhile.
        target: Folder or address on Milvus: not there yet, or an earlier copy, which is completed.
        kind: Kind of index of a target that is made.
        encoder: If given, the cases get new vectors from their stored samples by this encoder.
        mirror: Remove from the target what the source does not hold.
        batch: Cases that are read and written at a time.
        progress: Called with (pass, cases done, cases of the source) after each batch.

    Returns:
        What was done, and the checksum of what is at the target now.

    Raises:
        EncoderMismatchError: The target is there, for another encoder.
        CaseBaseError: The target holds cases that the source does not, the source changes faster than it can be copied,
            or cases without stored samples should be encoded.
    """
    if encoder is not None:
        _check_samples(source)
    with _opened(source, target, kind, encoder) as there, there.exclusive():
        report = CopyReport()
        while report.passes < PASSES:
            report.passes += 1
            changes, total, seen = _pass(source, there, encoder, batch, report, progress)
            changes += _remove(source, there, seen, report, mirror or report.passes > 1)
            if not changes:
                report.n_cases, report.digest = len(there), f"{total % _MODULUS:032x}"
                _LOG.info("copied cases=%d passes=%d digest=%s", report.n_cases, report.passes, report.digest)
                return report
    raise CaseBaseError(
        f"{source.manifest.base_id[:8]} still changed in pass {PASSES}: the copy is not complete",
        hint="start the same command again when less is written",
    )


def _pass(
    source: CaseBase,
    there: CaseBase,
    encoder: Encoder | None,
    batch: int,
    report: CopyReport,
    progress: Progress | None,
) -> tuple[int, int, set[str]]:
    """One reading of the source: changes made, sum of the target's digests, ids that were seen."""
    changes = total = 0
    seen: set[str] = set()
    n = len(source)
    for cases, vectors, records in source.blocks(batch):
        have = there.some([case.case_id for case in cases])
        held = {case.case_id: i for i, case in enumerate(have[0])}
        missing, differing = [], []
        for i, (case, record) in enumerate(zip(cases, records, strict=True)):
            seen.add(case.case_id)
            at = held.get(case.case_id)
            if at is None:
                missing.append(i)
                continue
            wanted = case_digest(case, None if encoder else vectors[i], record)
            if wanted != case_digest(have[0][at], None if encoder else have[1][at], have[2][at]):
                differing.append(i)
            else:
                total += int.from_bytes(case_digest(have[0][at], have[1][at], have[2][at]), "little")
        for rows, write in ((missing, there.add), (differing, there.update)):
            if rows:
                some = [records[i] for i in rows]
                write([cases[i] for i in rows], vectors[rows] if encoder is None else _encoded(some, encoder), some)
        report.added += len(missing)
        report.updated += len(differing)
        changes += len(missing) + len(differing)
        if progress is not None:
            progress(report.passes, len(seen), n)
    return changes, total, seen


def _remove(source: CaseBase, there: CaseBase, seen: set[str], report: CopyReport, allowed: bool) -> int:
    """Remove what the target holds and the source does not (any more)."""
    if len(there) <= len(seen):
        return 0
    extra = [case.case_id for case in there.cases() if case.case_id not in seen]
    extra = [case_id for case_id in extra if case_id not in source]  # it may have come after it was looked for
    if extra and not allowed:
        raise CaseBaseError(
            f"the target holds {len(extra)} cases that the source does not, the first is {extra[0]!r}",
            hint="is it the right target? with mirror (--mirror) they are removed",
        )
    if extra:
        there.remove(extra)
        report.removed += len(extra)
    return max(1, len(extra))


def _opened(source: CaseBase, target: str | Path, kind: str, encoder: Encoder | None) -> CaseBase:
    manifest = source.manifest
    name, fingerprint, dim = manifest.encoder_name, manifest.fingerprint, manifest.dim
    if encoder is not None:
        name, fingerprint, dim = encoder.name, encoder.fingerprint, encoder.dim
    if not base_exists(target):
        return create_base(
            target, name, fingerprint, dim, kind=kind,
            drawing_version=manifest.drawing_version, preprocessing=manifest.preprocessing,
        )  # fmt: skip
    there = open_base(target)
    have = (there.manifest.encoder_name, there.manifest.fingerprint, there.manifest.dim)
    if have != (name, fingerprint, dim):
        there.close()
        raise EncoderMismatchError(
            f"{target} was built with encoder {have[0]} {have[1][:12]} (expected {name} {fingerprint[:12]})",
            hint="choose another target",
        )
    return there


def _check_samples(source: CaseBase) -> None:
    without = [
        case.case_id
        for cases, _, records in source.blocks()
        for case, record in zip(cases, records, strict=True)
        if record is None
    ]
    if without:
        raise CaseBaseError(
            f"{len(without)} cases have no stored samples to encode, the first is {without[0]!r}",
            hint="ingest the pictures themselves again with the new encoder",
        )


def _encoded(records: Sequence[EcgRecord | None], encoder: Encoder) -> Vectors:
    return encoder.encode_records([searchable(record) for record in records if record is not None])
