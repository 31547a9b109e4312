"""First contact with a user's copy of published weights: what it is, what it needs, and whether it behaves.

What can be told without labelled data is told here; what only labelled data can tell is listed with the figure to
expect (`CheckReport.still_to_measure`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.encoders.published import SYSTEMS, load_published, parse_name
from ecgkin.retrieval.errors import EcgkinError

if TYPE_CHECKING:
    from ecgkin.retrieval.encoders.published.door import PublishedEncoder

OK, DIFFERS, FAILED, TOLD = "ok", "differs", "failed", "told"
N_RECORDS = 100
TOO_ALIKE = 0.99
"""A median cosine above this between different ECGs means that something was not loaded or scaled wrongly."""
_SAME = 1e-5
_TEXTS = ("atrial fibrillation", "normal ECG", "left bundle branch block")

# What only a site with weights and PTB-XL at 500 Hz (records500) can say; figures as published, second-hand.
STILL_TO_MEASURE: dict[str, tuple[str, ...]] = {
    "merl": (
        "zero-shot on PTB-XL fold 10 at 500 Hz with the authors' CKEPE_prompt.json: superclasses 74.2 within 0.5",
        "the same with ?leads=standard: must be lower",
        "the same at 100 Hz raised to 500 Hz: the loss",
    ),
    "d-beta": (
        "zero-shot on PTB-XL fold 10 at 500 Hz in both lead orders (?leads=standard, ?leads=mimic): rhythm near 88.6",
        "by cosine and by the plain dot product of the raw vectors (encoders.published.door: raw_records, raw_texts)",
        "the same at 100 Hz raised to 500 Hz: the loss",
    ),
    "ecgfounder": (
        "the classes that say a statement on PTB-XL fold 10, ?filter=on and ?filter=off: AUC by statement",
        "the same at 100 Hz raised to 500 Hz: the loss",
    ),
    "more": (
        "zero-shot on PTB-XL's superclasses, fold 10, in both lead orders; published figures are of the unswapped one",
    ),
}


@dataclass(frozen=True)
class Finding:
    """One check: `ok`, `differs` (from the published file; it loads all the same), `failed`, or `told` (a fact)."""

    check: str
    status: str
    found: str
    expected: str = ""


@dataclass(frozen=True)
class CheckReport:
    """What is known about a user's copy of a published encoder.

    Attributes:
        name: As it was given.
        system, kind: Whose it is and what the file is; kind is "" where it does not load.
        file: The checkpoint.
        needs, published_at, licence: Of the system.
        findings: All checks in order.
        dim: Length of a vector; 0 where it does not load.
        has_text: Whether it can place words.
        fingerprint: As case bases remember it; "" where it does not load.
        still_to_measure: What only labelled data can tell, with the figure to expect.
    """

    name: str
    system: str
    kind: str
    file: str
    needs: str
    published_at: str
    licence: str
    findings: tuple[Finding, ...]
    dim: int = 0
    has_text: bool = False
    fingerprint: str = ""
    still_to_measure: tuple[str, ...] = field(default=())

    @property
    def ok(self) -> bool:
        """True if no check failed."""
        return all(finding.status != FAILED for finding in self.findings)

    @property
    def is_published_file(self) -> bool:
        """True if no check found a difference from the published file."""
        return self.ok and all(finding.status != DIFFERS for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, with `ok` and `is_published_file`."""
        return asdict(self) | {"ok": self.ok, "is_published_file": self.is_published_file}

    def lines(self) -> list[str]:
        """For people."""
        out = [f"{self.name}: {self.system}" + (f", {self.kind}" if self.kind else "")]
        for one in self.findings:
            wanted = f" (expected {one.expected})" if one.expected and one.status in (DIFFERS, FAILED) else ""
            out.append(f"  {one.status:8}{one.check}: {one.found}{wanted}")
        out += [f"  needs: {self.needs}", f"  published at: {self.published_at}", f"  licence: {self.licence}"]
        if self.dim:
            words = "records and words" if self.has_text else "records; no words"
            out.append(f"  {self.dim} dimensions, {words}; no calibration: votes are raw shares")
        if self.ok and not self.is_published_file:
            out.append(
                "  this is not the published file: it can be searched with, but figures say nothing about the system"
            )
        out += [f"  still to measure: {one}" for one in self.still_to_measure]
        return out


def check_encoder(name: str, *, records: Sequence[EcgRecord] = (), device: str = "cpu") -> CheckReport:
    """Look at a user's copy of a published encoder; nothing that is wrong with its files raises.

    Args:
        name: For example "merl:DIR".
        records: ECGs to compare with each other; without them `N_RECORDS` simulated ones.
        device: "cpu", "cuda" or "cuda:N".

    Returns:
        What was found: sizes, sums, and how its vectors behave.

    Raises:
        QueryError: No such system or setting.
    """
    system, place, _ = parse_name(name)
    findings: list[Finding] = []

    def attempt(check: str, work: Callable[[], Finding]) -> bool:
        try:
            findings.append(work())
        except EcgkinError as error:
            findings.append(Finding(check, FAILED, f"{error}" + (f"; {error.hint}" if error.hint else "")))
        return findings[-1].status != FAILED

    made: list[PublishedEncoder] = []

    def load() -> Finding:
        made.append(load_published(name, device))
        return Finding(
            "loads", OK, f"{made[0].n_tensors} tensors, {made[0].n_values:,} values; every one accounted for"
        )

    facts: dict[str, Any] = {
        "name": name,
        "system": system.title,
        "needs": system.needs,
        "published_at": system.published_at,
        "licence": system.licence,
    }
    if not attempt("loads", load):
        return CheckReport(**facts, kind="", file=str(place), findings=tuple(findings))
    door = made[0]
    findings += _sizes(door)
    findings += [Finding(what, OK if fine else DIFFERS, said, wanted) for what, fine, said, wanted in door.own_checks()]
    given = list(records) or simulated_records()
    attempt("vectors of ECGs", lambda: _ecgs(door, given, simulated=not records))
    attempt("the same alone and in a batch", lambda: _alone(door, given))
    attempt("lead order", lambda: _order(door, given))
    attempt("100 Hz", lambda: _low_rate(door, given))
    if door.has_text:
        attempt("vectors of texts", lambda: _texts(door))
    return CheckReport(
        **facts,
        kind=door.kind,
        file=str(door.checkpoint_path),
        findings=tuple(findings),
        dim=door.dim,
        has_text=door.has_text,
        fingerprint=door.fingerprint,
        still_to_measure=STILL_TO_MEASURE[system.key],
    )


def simulated_records(n: int = N_RECORDS, fs_hz: float = 500.0) -> list[EcgRecord]:
    """Different simulated ECGs, always the same ones.

    Args:
        n: How many.
        fs_hz: Samples a second.

    Returns:
        Records of ten seconds.
    """
    from ecgkin.retrieval.ecg.simulation.simulate import simulate_corpus

    return [one.record for one in simulate_corpus(n, seed=0, fs_hz=fs_hz)]


def _sizes(door: PublishedEncoder) -> list[Finding]:
    have = {"tensors": door.n_tensors, "values": door.n_values, "dim": door.dim}
    wanted = door.published_sizes
    if not wanted:
        return []
    found = ", ".join(f"{have[key]:,} {key}" for key in wanted)
    expected = ", ".join(f"{value:,} {key}" for key, value in wanted.items())
    same = all(have[key] == value for key, value in wanted.items())
    return [Finding("published sizes", OK if same else DIFFERS, found, expected)]


def _ecgs(door: PublishedEncoder, records: Sequence[EcgRecord], *, simulated: bool) -> Finding:
    rows = door.encode_records(records)
    cosines = (rows @ rows.T)[np.triu_indices(len(rows), 1)]
    median = float(np.median(cosines)) if cosines.size else float("nan")
    said = f"median cosine between {len(records)} {'simulated' if simulated else 'given'} ECGs {median:.3f}"
    if len(records) > 1 and median > TOO_ALIKE:
        return Finding(
            "vectors of ECGs", DIFFERS, said, f"at most {TOO_ALIKE}: something was not loaded or is scaled wrongly"
        )
    return Finding("vectors of ECGs", OK, said)


def _alone(door: PublishedEncoder, records: Sequence[EcgRecord]) -> Finding:
    some = records[:3]
    together = door.encode_records(some)
    apart = np.concatenate([door.encode_records([one]) for one in some])
    worst = float(np.abs(together - apart).max())
    status = OK if worst <= _SAME else FAILED
    return Finding("the same alone and in a batch", status, f"largest difference {worst:.1e}", f"at most {_SAME:.0e}")


def _order(door: PublishedEncoder, records: Sequence[EcgRecord]) -> Finding:
    from dataclasses import replace

    some = records[:20]
    swapped = [replace(one, leads=tuple(_EXCHANGED.get(lead, lead) for lead in one.leads)) for one in some]
    cosines = (door.encode_records(some) * door.encode_records(swapped)).sum(axis=1)
    order = ", ".join(door.rule.leads[3:6]) if len(door.rule.leads) > 5 else ", ".join(door.rule.leads)
    return Finding(
        "lead order", TOLD, f"{order}; with aVL and aVF exchanged the median cosine is {float(np.median(cosines)):.3f}"
    )


_EXCHANGED = {"aVL": "aVF", "aVF": "aVL"}


def _low_rate(door: PublishedEncoder, records: Sequence[EcgRecord]) -> Finding:
    some = [one for one in records[:20] if one.fs_hz > 100]
    if not some:
        return Finding("100 Hz", TOLD, f"the ECGs are at {records[0].fs_hz:g} Hz themselves")
    low = [one.resampled(100.0) for one in some]
    cosines = (door.encode_records(some) * door.encode_records(low)).sum(axis=1)
    return Finding("100 Hz", TOLD, f"the same ECGs at 100 Hz have a median cosine of {float(np.median(cosines)):.3f}")


def _texts(door: PublishedEncoder) -> Finding:
    rows = door.encode_texts(_TEXTS)
    largest = float((rows @ rows.T)[np.triu_indices(len(rows), 1)].max())
    said = f"largest cosine between {len(_TEXTS)} different texts {largest:.3f}"
    if largest > 1 - 1e-6:
        return Finding("vectors of texts", DIFFERS, said, "less than 1: different texts get one vector")
    return Finding("vectors of texts", OK, said)


def list_systems() -> list[dict[str, Any]]:
    """The systems as plain values, for `ecgkin encoder list`."""
    return [
        asdict(system) | {"options": {k: list(v) for k, v in system.options.items()}} for system in SYSTEMS.values()
    ]
