"""A case as a row of a Milvus collection, and back; samples as rows of a second collection beside it.

<name>            one row a case: fields for the filters, the whole case as JSON, the vector; one row for the manifest
<name>_samples    the samples of the cases, in pieces (a text field of Milvus holds 65,535 bytes)
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ecgkin.index.atomic import checksum
from ecgkin.index.case import Case
from ecgkin.index.engines.protocol import Vectors
from ecgkin.index.filters import fold
from ecgkin.index.manifest import Manifest
from ecgkin.index.milvus.filters import MISSING_AGE, label_values, primary_key, spelled
from ecgkin.index.waveform import pack_record, unpack_record
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import CaseBaseError, ManifestError, RecordError, why

TEXT_BYTES = 65_535  # the longest VARCHAR of Milvus
PIECE = 60_000
MANIFEST_KEY = "manifest"
BODY_FIELDS = ("pk", "body", "sequence", "samples", "n_pieces")
SAMPLE_DIM = 2  # each collection of Milvus needs a vector; nobody searches this one


def case_row(
    case: Case, vector: Vectors, tenant: str, sequence: int, samples: str, n_pieces: int, samples_sum: str = ""
) -> dict[str, Any]:
    """The row of a case.

    Args:
        case: The case.
        vector: Its unit vector, shape (dim,).
        tenant: Whose it is.
        sequence: Rises with the order in which vectors come.
        samples: Prefix of the keys of its samples; "" where there are none.
        n_pieces: How many pieces those are.
        samples_sum: Checksum of the samples (`samples_sum_of`); "" where there are none.

    Returns:
        Values by field of the collection.

    Raises:
        RecordError: It does not fit into a row (its report, meta and labels together have more than 65,535 bytes).
    """
    plain = np.asarray(vector, dtype="<f4")
    try:
        said = json.loads(json.dumps(case.as_dict()))  # keys of meta as they will be read back
        sums = {"text": _text_sum(said), "vector": checksum(plain.tobytes()).hex(), "samples": samples_sum}
        body = json.dumps({**said, "checksums": sums}, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise RecordError(f"meta of {case.case_id} cannot be stored: {error} (expected JSON values)") from error
    size = len(body.encode())
    if size > TEXT_BYTES:
        raise RecordError(f"case {case.case_id} has {size} bytes of text (Milvus keeps at most {TEXT_BYTES})")
    return {
        "pk": primary_key(tenant, case.case_id),
        "tenant": tenant,
        "sequence": sequence,
        "patient": spelled(case.patient_id),
        "source": spelled(case.source),
        "language": spelled(None if case.language is None else fold(case.language)),
        "sex": spelled(None if case.sex is None else fold(case.sex)),
        "date": case.recorded_at or "",
        "content": spelled(case.content_hash),
        "age": MISSING_AGE if case.age_years is None else float(case.age_years),
        "labels": label_values(case.labels),
        "body": body,
        "samples": samples,
        "n_pieces": n_pieces,
        "vector": plain,
    }


def case_of(row: Mapping[str, Any]) -> Case:
    """The case of a row that was asked for with its body, and perhaps its vector: compared with their checksums.

    Raises:
        ManifestError: The row is damaged.
    """
    try:
        said = json.loads(row["body"])
        sums = said.pop("checksums", None)  # rows that older versions wrote have none
        if sums is not None:
            if sums["text"] != _text_sum(said):
                raise ValueError("the text does not fit its checksum")
            vector = row.get("vector")
            if vector is not None and sums["vector"] != checksum(np.asarray(vector, dtype="<f4").tobytes()).hex():
                raise ValueError("the vector does not fit its checksum")
        return Case(**said)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ManifestError(f"row {row.get('pk')!r} of the collection is damaged: {error}") from error


def samples_sum_of(row: Mapping[str, Any]) -> str:
    """The checksum of its samples that a row with its body names; "" where it names none."""
    return str((json.loads(row["body"]).get("checksums") or {}).get("samples", ""))


def _text_sum(said: Mapping[str, Any]) -> str:
    return checksum(json.dumps(said, sort_keys=True)).hex()


def manifest_row(manifest: Manifest, kind: str) -> dict[str, Any]:
    """The manifest as a row of the default partition, which no search looks at; its vector means nothing.

    Args:
        manifest: Of the base.
        kind: Kind of index that was asked for.

    Returns:
        Values by field.
    """
    head = np.eye(1, manifest.dim, dtype=np.float32)[0]
    row = case_row(Case(MANIFEST_KEY), head, "", 0, "", 0)
    return {**row, "pk": MANIFEST_KEY, "body": json.dumps({**manifest.model_dump(), "kind": kind}, sort_keys=True)}


def manifest_of(row: Mapping[str, Any], where: str) -> tuple[Manifest, str]:
    """The manifest of such a row, and the kind of index that was asked for.

    Args:
        row: With its body.
        where: What to call the base in messages.

    Returns:
        Manifest and kind.

    Raises:
        ManifestError: It is none, or another version of ecgkin wrote it.
    """
    try:
        content = json.loads(row["body"])
        kind = str(content.pop("kind"))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ManifestError(f"the manifest of {where} cannot be read: {why(error)}") from error
    return Manifest.of(content, where), kind


def sample_rows(samples: str, record: EcgRecord) -> tuple[list[dict[str, Any]], str]:
    """The pieces of a record, under keys that begin with `samples`, and their checksum.

    Args:
        samples: Prefix of the keys.
        record: Its samples are rounded to 1 uV.

    Returns:
        Rows of the collection of samples, and 16 hex digits.

    Raises:
        RecordError: A sample is infinite.
    """
    head, blob = pack_record(record)
    text = base64.b64encode(json.dumps({"head": head}).encode() + b"\n" + blob).decode()
    pieces = [text[start : start + PIECE] for start in range(0, len(text), PIECE)]
    vector = [1.0] + [0.0] * (SAMPLE_DIM - 1)
    rows = [{"pk": f"{samples}.{i}", "piece": piece, "vector": vector} for i, piece in enumerate(pieces)]
    return rows, checksum(text).hex()


def record_of(row: Mapping[str, Any], pieces: Mapping[str, str]) -> EcgRecord:
    """The record of a case.

    Args:
        row: Of the case, with its body.
        pieces: Pieces by key.

    Returns:
        The record.

    Raises:
        ManifestError: A piece is missing or damaged.
    """
    samples, n_pieces = row["samples"], int(row["n_pieces"])
    keys = [f"{samples}.{i}" for i in range(n_pieces)]
    missing = sum(key not in pieces for key in keys)
    if missing:
        raise ManifestError(f"{missing} of {n_pieces} pieces of the samples {samples} are missing")
    text = "".join(pieces[key] for key in keys)
    try:
        if samples_sum_of(row) not in ("", checksum(text).hex()):
            raise ValueError("they do not fit their checksum")
        head, _, blob = base64.b64decode(text).partition(b"\n")
        return unpack_record(json.loads(head)["head"], blob)
    except (ValueError, KeyError, CaseBaseError) as error:
        raise ManifestError(f"stored samples {samples} are damaged: {error}") from error


def facts_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Counts over cases, as `Store.facts` gives them; the newest sequence number stands for the generation."""
    cases = [case_of(row) for row in rows]
    dates = [case.recorded_at for case in cases if case.recorded_at]
    ages = [case.age_years for case in cases if case.age_years is not None]
    return {
        "generation": max((int(row["sequence"]) for row in rows), default=0),
        "n_patients": len({case.patient_id for case in cases} - {None}),
        "first_date": min(dates, default=None),
        "last_date": max(dates, default=None),
        "youngest": min(ages, default=None),
        "oldest": max(ages, default=None),
        "n_records": sum(bool(row["samples"]) for row in rows),
        "sources": dict(Counter(case.source for case in cases).most_common()),
        "sexes": dict(Counter(case.sex or "?" for case in cases).most_common()),
        "labels": dict(Counter(code for case in cases for code in case.labels).most_common()),
    }
