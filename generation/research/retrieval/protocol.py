"""`ecgkin evaluate retrieval`: the whole protocol on a PTB-XL folder with one encoder.

Galleries are made as an ingest makes them, queries are full drawn pages (or "photos" of them) that go the way of any
uploaded picture. Folds that the folder does not hold are left out; the query fold 9 is where k, tau, curves and
thresholds may be chosen, any other takes them from the calibration or the defaults.

Also here: queries that no case answers (pages without heartbeats, words without an ECG), by which the threshold of
"nothing similar" is judged, and the calibration that `--fit` writes, with its error on other patients.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgkin.generation.research.retrieval import baselines, calibrate
from ecgkin.generation.research.retrieval.bootstrap import (
    AucTable,
    Interval,
    holm,
    mean_interval,
    paired_p,
    patient_weights,
)
from ecgkin.generation.research.retrieval.case_retrieval import (
    RANKED,
    CaseRetrievalResult,
    Rules,
    evaluate_case_retrieval,
    evaluate_neighbours,
)
from ecgkin.generation.research.retrieval.cross_modal import (
    CrossModalResult,
    evaluate_cross_modal,
    evaluate_similarity,
    join_rank,
    text_numbers,
)
from ecgkin.generation.research.retrieval.galleries import (
    ALL_LAYOUTS,
    PHOTO,
    PRIMARY,
    Embedder,
    Progress,
    draw_query,
    encode_pictures,
)
from ecgkin.generation.research.retrieval.labels import default_space
from ecgkin.generation.research.retrieval.metrics import clean_columns, jaccard, vote_scores
from ecgkin.generation.research.retrieval.ranking import Floats, Neighbours, nearest, patient_numbers, unit_rows
from ecgkin.generation.research.retrieval.report import HEADLINE, JoinResult, Latency, RetrievalReport, write_report
from ecgkin.generation.research.retrieval.text_search import evaluate_text_search, text_queries
from ecgkin.retrieval.ecg.formats.ptbxl import PtbXl, PtbXlRow
from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.encoders.base import Encoder
from ecgkin.retrieval.encoders.witness import StatementHead, StatementWitness, Testimony, shipped_head
from ecgkin.retrieval.errors import QueryError, RecordError
from ecgkin.retrieval.search.vote import SUPER, Calibration, Threshold, VoteRule

KINDS: tuple[str, ...] = ("phases shuffled", "noise", "random walk", "tones", "steps")
VOTE, HEAD, BOTH = "vote", "head", "vote and head"
WORDS = "signals without heartbeats, drawn as pages: " + ", ".join(KINDS)

# Sentences without anything of an ECG in them, English and German.
SENTENCES: tuple[str, ...] = (
    "two cups of flour and a pinch of salt",
    "the train to Hamburg leaves from platform nine",
    "heavy rain is expected in the west tomorrow",
    "how do I reset my password",
    "the chess game ended in a draw after forty moves",
    "a red bicycle leans against the garden wall",
    "quarterly revenue rose by eight percent",
    "fracture of the left distal radius",
    "please water the tomatoes twice a week",
    "the cat sleeps on the warm radiator",
    "select name from customers where city is Oslo",
    "her new novel is set in medieval Lisbon",
    "chest radiograph with a small pleural effusion",
    "the museum is closed on Mondays",
    "turn left after the second roundabout",
    "the recipe calls for fresh basil and lemon",
    "zwei Eier mit dem Zucker schaumig schlagen",
    "der Zug nach Köln hat zwanzig Minuten Verspätung",
    "morgen wird es im Norden sonnig und windig",
    "das Fahrrad steht seit Wochen im Keller",
    "die Mannschaft gewann das Spiel mit drei zu eins",
    "bitte die Blumen auf dem Balkon gießen",
    "Fraktur des rechten Sprunggelenks",
    "wie ändere ich die Sprache meines Telefons",
    "das Museum zeigt Bilder aus dem Barock",
    "die Miete ist zum ersten des Monats fällig",
    "ein Glas Wasser und ein Stück Brot",
    "im Herbst ziehen die Vögel nach Süden",
    "lorem ipsum dolor sit amet",
    "asdf qwer zxcv",
)

_LOG = logging.getLogger(__name__)

_STRANGERS = 200
VALIDATION_FOLD = 9
JOIN_PHOTOS = 300
_TIMED = 40
_SEED = 300


def stranger_records(records: Sequence[EcgRecord], seed: int = 4) -> list[EcgRecord]:
    """Signals that are no ECG, one for each record given, kinds in turn.

    "phases shuffled" keeps the power spectrum of every lead of that record, and nothing of its beats; the others
    take only its standard deviation, rate and length.

    Args:
        records: Whose spectra, spreads, rates and lengths are taken.
        seed: Of the chance.

    Returns:
        As many records as were given.
    """
    rng = np.random.default_rng(seed)
    out = []
    for i, record in enumerate(records):
        signal = np.nan_to_num(record.standard()).astype(np.float64)
        made = _make(KINDS[i % len(KINDS)], signal, record.fs_hz, rng)
        made -= made.mean(axis=1, keepdims=True)
        spread = made.std(axis=1, keepdims=True)
        target = np.clip(signal.std(axis=1, keepdims=True), 0.05, 1.0)
        scaled = made / np.where(spread > 0, spread, 1.0) * target
        out.append(EcgRecord(scaled.astype(np.float32), record.fs_hz, LEADS, record_id=f"stranger-{i}"))
    return out


def _make(kind: str, signal: NDArray[np.float64], fs_hz: float, rng: np.random.Generator) -> NDArray[np.float64]:
    leads, n = signal.shape
    t = np.arange(n) / fs_hz
    if kind == "phases shuffled":
        spectrum = np.fft.rfft(signal, axis=1)
        phases = np.exp(2j * np.pi * rng.random(spectrum.shape))
        return np.asarray(np.fft.irfft(np.abs(spectrum) * phases, n=n, axis=1))
    if kind == "noise":
        return rng.standard_normal((leads, n))
    if kind == "random walk":
        return np.asarray(np.cumsum(rng.standard_normal((leads, n)), axis=1))
    if kind == "tones":
        return np.asarray(np.sin(2 * np.pi * (rng.uniform(0.3, 12.0, (leads, 1)) * t + rng.random((leads, 1)))))
    edges = rng.random((leads, n)) < 2.0 / fs_hz
    return np.asarray(np.where(np.cumsum(edges, axis=1) % 2 == 0, 1.0, -1.0))


def fitted_calibration(
    embedder: Embedder,
    report: RetrievalReport,
    queries: Sequence[PtbXlRow],
    gallery: Sequence[PtbXlRow],
    query_emb: dict[str, Floats],
    gallery_emb: Floats,
) -> tuple[Calibration, dict[str, calibrate.CalibrationError]]:
    """Curves on the primary layout, thresholds for each kind of query.

    Args:
        embedder: The encoder over its data.
        report: What was measured on these queries.
        queries, gallery: The rows behind it.
        query_emb: Query vectors by layout, each of shape (n_queries, dim); zeros where a picture was refused.
        gallery_emb: Case vectors, shape (n_gallery, dim).

    Returns:
        The calibration, and how far raw and (cross-fitted over patients) calibrated votes are off.
    """
    result = report.layouts[PRIMARY]
    space = default_space()
    truth, known = (space.statements([row.labels for row in rows]) for rows in (queries, gallery))
    calibration = calibrate.fit_calibration(
        result.neighbours,
        truth,
        known,
        space,
        encoder=embedder.encoder.fingerprint,
        statements=result.rules.statements,
        superclasses=result.rules.superclasses,
        thresholds=_thresholds(embedder, queries, query_emb, gallery_emb),
        fitted_on=f"PTB-XL folds {report.about['query folds']} against {report.about['gallery folds']}, "
        f"{len(queries)} queries",
    )
    (patients,) = patient_numbers([row.patient_id for row in queries])
    errors: dict[str, calibrate.CalibrationError] = {}
    families = (
        ("statements", truth, known, result.rules.statements),
        (
            "superclasses",
            space.superclass_matrix(truth),
            space.superclass_matrix(known),
            result.rules.superclasses,
        ),
    )
    for name, own, others, rule in families:
        raw = vote_scores(result.neighbours, others, rule.k, rule.tau)
        errors[f"{name}, raw share"] = calibrate.calibration_error(own, raw)
        crossed = calibrate.cross_fitted(result.neighbours, own, others, rule, patients)
        errors[f"{name}, calibrated (cross-fitted)"] = calibrate.calibration_error(own, crossed)
    return calibration, errors


def _thresholds(
    embedder: Embedder, queries: Sequence[PtbXlRow], query_emb: dict[str, Floats], gallery_emb: Floats
) -> dict[str, Threshold]:
    def best(vectors: Floats) -> Floats:
        # A refused picture has a zero vector; the reader has turned it away already.
        return nearest(vectors[np.abs(vectors).sum(axis=1) > 0], gallery_emb, 1).scores[:, 0]

    made = stranger_records([embedder.data.record(row) for row in queries[:_STRANGERS]])
    pages = encode_pictures(embedder.encoder, [draw_query(record, PRIMARY) for record in made])
    words = embedder.texts([text for _, _, text in text_queries()] + [row.report for row in queries if row.report])
    read = np.abs(pages).sum(axis=1) > 0
    refused = f"; {len(made) - int(read.sum())} of {len(made)} already refused by the page reader"
    return {
        "image": calibrate.fit_threshold(
            np.concatenate([best(vectors) for vectors in query_emb.values()]),
            best(pages) if read.any() else None,
            outside_words=WORDS + refused,
        ),
        "record": calibrate.fit_threshold(
            best(embedder.gallery(queries)), best(embedder.encoder.encode_records(made)), outside_words=WORDS
        ),
        "text": calibrate.fit_threshold(
            best(words), best(embedder.texts(SENTENCES)), outside_words="sentences without an ECG in them"
        ),
    }


def evaluate_retrieval(
    ptbxl_root: str | Path,
    encoder: Encoder,
    *,
    query_folds: Collection[int] = (VALIDATION_FOLD,),
    gallery_folds: Collection[int] = range(1, 9),
    layouts: Sequence[str] = ALL_LAYOUTS,
    limit: int | None = None,
    out_dir: str | Path | None = None,
    cache_dir: str | Path | None = None,
    rules: Rules | None = None,
    calibration: Calibration | None = None,
    untrained: Sequence[Encoder] = (),
    fit: bool = False,
    witness: StatementWitness | None = None,
    resamples: int = 1_000,
    progress: Progress | None = None,
) -> RetrievalReport:
    """Run the protocol of field.md section 5.

    Args:
        ptbxl_root: Folder with the official layout.
        encoder: What is measured.
        query_folds, gallery_folds: Cut to the folds that the folder holds; a patient never stands on both sides.
        layouts: Query layouts besides the primary one (which is always measured); see `galleries.ALL_LAYOUTS`.
        limit: At most this many gallery records, and a quarter as many queries, drawn with a fixed seed; None for all.
        out_dir: Where tables (report.md), figures (report.json), run files and, with `fit`, calibration.json go.
        cache_dir: Where embeddings are kept between runs; None keeps nothing.
        rules: Depth and temperature of the votes; None chooses them on fold 9, and elsewhere takes those of
            `calibration`, or the defaults.
        calibration: For its rules, and for the rows of vote, head and both.
        untrained: Encoders of the same architecture without training, for the rows of that name.
        fit: Fit a calibration on these queries.
        witness: Another classifier, for a row beside vote and head.
        resamples: Bootstrap resamples over patients.
        progress: Called with (what, done, total).

    Returns:
        Everything that was measured.

    Raises:
        RecordError: The folder is no PTB-XL folder, or holds none of the folds.
        QueryError: An unknown layout, or folds on both sides.
    """
    _check(layouts, query_folds, gallery_folds)
    data = PtbXl(ptbxl_root, fs_hz=None)
    queries, gallery = _chosen(data, query_folds, gallery_folds, limit)
    began = time.perf_counter()
    embedder = Embedder(data, encoder, Path(cache_dir) if cache_dir else None, progress)
    weights = patient_weights(patient_numbers([row.patient_id for row in queries])[0], resamples)
    fixed = rules or (None if {row.fold for row in queries} == {VALIDATION_FOLD} else _rules_of(calibration))

    gallery_emb = embedder.gallery(gallery)
    query_emb, by_layout = _by_layout(embedder, layouts, queries, gallery, gallery_emb, fixed, weights)
    result = by_layout[PRIMARY]
    systems = {encoder.name: result, **_baselines(embedder, untrained, queries, gallery, fixed, weights)}
    head = shipped_head(encoder)
    if head is not None:
        # What a classifier's answers do as vectors: what the embedding adds is the distance to this row.
        said, known = (unit_rows(head.of_vectors(v).probabilities) for v in (query_emb[PRIMARY], gallery_emb))
        systems["probabilities of the head"] = evaluate_case_retrieval(
            said, known, queries, gallery, rules=fixed, weights=weights
        )

    cross = _cross_modal(embedder, queries, query_emb, weights)
    chosen = "chosen on these queries" if fixed is None else "fixed beforehand"
    text_emb = embedder.texts([text for _, _, text in text_queries()])
    report = RetrievalReport(
        about=_about(embedder, queries, gallery) | {"limit": limit, "vote": chosen, "resamples": resamples},
        encoder=encoder.name,
        systems=systems,
        layouts=by_layout,
        cross_modal=cross,
        text=evaluate_text_search(text_emb, gallery_emb, gallery),
        join=_join(embedder, query_emb, queries, gallery_emb, weights),
        p_values=_p_values(systems, encoder.name),
        latency=_latency(embedder, queries, gallery_emb),
    )
    if head is not None and calibration is not None:
        report.witnesses = evaluate_witnesses(
            query_emb[PRIMARY], result.neighbours, queries, gallery,
            head=head, calibration=calibration, weights=weights,
            other=None if witness is None else _heard(witness, data, queries, progress),
        )  # fmt: skip
    if fit:
        # Weights of vote and head are fitted by `evaluate drafts --fit`, for these vectors and about these depths.
        report.calibration, report.calibration_errors = fitted_calibration(
            embedder, report, queries, gallery, query_emb, gallery_emb
        )
    report.about["seconds"] = round(time.perf_counter() - began, 1)
    if out_dir is not None:
        write_report(report, Path(out_dir), queries, gallery)
    return report


def _check(layouts: Sequence[str], query_folds: Collection[int], gallery_folds: Collection[int]) -> None:
    unknown = [layout for layout in layouts if layout not in ALL_LAYOUTS]
    if unknown:
        raise QueryError(f"layouts {unknown} are not known (expected some of {', '.join(ALL_LAYOUTS)})")
    if set(query_folds) & set(gallery_folds):
        raise QueryError(f"folds {sorted(set(query_folds) & set(gallery_folds))} are both query and gallery")


def _cross_modal(
    embedder: Embedder, queries: Sequence[PtbXlRow], query_emb: Mapping[str, Floats], weights: Floats
) -> dict[str, CrossModalResult]:
    """ECG to report and back: the encoder on pages and photos, chance, the commonest reports, labels as an oracle."""
    name = embedder.encoder.name
    texts = embedder.texts([row.report for row in queries])
    cross = {
        name: evaluate_cross_modal(query_emb[PRIMARY], texts, queries, weights=weights),
        "random": evaluate_similarity(_random_similarity(len(queries)), queries, weights=weights),
        # Without sub-galleries: a list of fixed cases means nothing where some of them are not drawn.
        "commonest reports": evaluate_similarity(
            _constant_similarity(queries), queries, sub_gallery=len(queries), weights=weights
        ),
        "label oracle": evaluate_similarity(_oracle_similarity(queries), queries, weights=weights),
    }
    if PHOTO in query_emb:
        cross[f"{name}, photos"] = evaluate_cross_modal(query_emb[PHOTO], texts, queries, weights=weights)
    return cross


def _about(embedder: Embedder, queries: Sequence[PtbXlRow], gallery: Sequence[PtbXlRow]) -> dict[str, Any]:
    """Data and encoder of a run."""
    data, encoder = embedder.data, embedder.encoder
    return {
        "data": f"PTB-XL, table of {data.n_listed} records (version 1.0.3 has 21799), {data.fs_hz} Hz",
        "query folds": sorted({row.fold for row in queries}),
        "gallery folds": sorted({row.fold for row in gallery}),
        "encoder": encoder.name,
        "fingerprint": encoder.fingerprint,
        "dim": encoder.dim,
        "index bytes (float32, flat)": 4 * encoder.dim * len(gallery),
    }


def _chosen(
    data: PtbXl, query_folds: Collection[int], gallery_folds: Collection[int], limit: int | None
) -> tuple[list[PtbXlRow], list[PtbXlRow]]:
    present = sorted({row.fold for row in data.rows})
    sides = []
    for name, folds, share in (("query", query_folds, 4), ("gallery", gallery_folds, 1)):
        rows = data.select(folds)
        if not rows:
            raise RecordError(
                f"{data.root} holds none of the {name} folds {sorted(folds)} (it holds {present})",
                hint="choose other folds, or unpack the rest of PTB-XL",
            )
        if limit is not None:
            # Fewer than ten hits or a handful of queries measure nothing.
            n = min(len(rows), max(20, limit // share))
            some = np.sort(np.random.default_rng(_SEED).choice(len(rows), size=n, replace=False))
            rows = [rows[i] for i in some]
        sides.append(rows)
    return sides[0], sides[1]


def _rules_of(calibration: Calibration | None) -> Rules:
    if calibration is None:
        return Rules(VoteRule(), VoteRule())
    return Rules(calibration.superclasses, calibration.statements)


def _by_layout(
    embedder: Embedder,
    layouts: Sequence[str],
    queries: Sequence[PtbXlRow],
    gallery: Sequence[PtbXlRow],
    gallery_emb: Floats,
    rules: Rules | None,
    weights: Floats,
) -> tuple[dict[str, Floats], dict[str, CaseRetrievalResult]]:
    """Queries of each layout and what they find; the primary one comes first, and all others vote by its rules."""
    vectors: dict[str, Floats] = {}
    out: dict[str, CaseRetrievalResult] = {}
    for layout in dict.fromkeys((PRIMARY, *layouts)):
        vectors[layout] = embedder.queries(queries, layout)
        out[layout] = evaluate_case_retrieval(
            vectors[layout], gallery_emb, queries, gallery, rules=rules, weights=weights
        )
        rules = out[PRIMARY].rules
    return vectors, out


def _baselines(
    embedder: Embedder,
    untrained: Sequence[Encoder],
    queries: Sequence[PtbXlRow],
    gallery: Sequence[PtbXlRow],
    rules: Rules | None,
    weights: Floats,
) -> dict[str, CaseRetrievalResult]:
    """Rows beside the system; each may choose its own vote where the system may."""
    out: dict[str, CaseRetrievalResult] = {}
    random = baselines.random_embeddings(len(queries) + len(gallery), 64)
    out["random"] = evaluate_case_retrieval(
        random[: len(queries)], random[len(queries) :], queries, gallery, rules=rules, weights=weights
    )
    labels = default_space().statements([row.labels for row in gallery])
    constant = baselines.constant_list(len(queries), labels, min(RANKED, len(gallery)))
    out["constant list"] = evaluate_neighbours(constant, queries, gallery, rules=rules, weights=weights)
    if embedder.progress is not None:
        embedder.progress("log-spectra", 0, 1)
    data = embedder.data
    spectra, query_spectra = baselines.spectrum_embeddings(
        (data.record(row) for row in gallery), (data.record(row) for row in queries)
    )
    out["log-spectrum"] = evaluate_case_retrieval(
        query_spectra, spectra, queries, gallery, rules=rules, weights=weights
    )
    for i, encoder in enumerate(untrained):
        other = Embedder(data, encoder, embedder.cache, embedder.progress)
        out[f"untrained {i + 1}"] = evaluate_case_retrieval(
            other.queries(queries, PRIMARY), other.gallery(gallery), queries, gallery, rules=rules, weights=weights
        )
    return out


def _random_similarity(n: int) -> Floats:
    return np.random.default_rng(baselines.RANDOM_SEED).random((n, n), dtype=np.float32)


def _constant_similarity(rows: Sequence[PtbXlRow]) -> Floats:
    """The same order for every query: each distinct report once, the commonest first."""
    texts = text_numbers([row.report for row in rows])
    listed = baselines.commonest_texts(texts, len(rows))
    scores = np.zeros(len(rows), dtype=np.float32)
    scores[listed] = np.arange(len(listed), 0, -1, dtype=np.float32)
    return np.tile(scores, (len(rows), 1))


def _oracle_similarity(rows: Sequence[PtbXlRow]) -> Floats:
    """What matching by the true statements would reach: Jaccard of the label sets, ties at random."""
    labels = default_space().statements([row.labels for row in rows])
    return jaccard(labels, labels)


def _join(
    embedder: Embedder,
    query_emb: dict[str, Floats],
    queries: Sequence[PtbXlRow],
    gallery_emb: Floats,
    weights: Floats,
) -> dict[str, JoinResult]:
    """Where the same record comes when another picture of it is asked for, among gallery and query fold together."""
    everything = np.concatenate([gallery_emb, embedder.gallery(queries)])
    n = min(JOIN_PHOTOS, len(queries))
    some = np.sort(np.random.default_rng(_SEED).choice(len(queries), size=n, replace=False))
    out: dict[str, JoinResult] = {}
    for layout, vectors in query_emb.items():
        ranks = join_rank(vectors[some], everything, some + len(gallery_emb))
        shares = {k: mean_interval((ranks <= k).astype(np.float64), weights[:, some]) for k in (1, 10)}
        out[layout] = JoinResult(n, len(everything), shares[1], shares[10], float(np.median(ranks)), ranks)
    return out


def _p_values(systems: dict[str, CaseRetrievalResult], name: str) -> dict[str, float]:
    """Holm-adjusted two-sided p of "no difference to log-spectrum neighbours" for the headline measures."""
    own, other = systems[name].resampled, systems["log-spectrum"].resampled
    return holm({measure: paired_p(own[measure], other[measure]) for measure in HEADLINE})


def _latency(embedder: Embedder, queries: Sequence[PtbXlRow], gallery_emb: Floats) -> Latency:
    """From a picture in memory to the ten best rows, one at a time."""
    pages = [draw_query(embedder.data.record(row), PRIMARY) for row in queries[:_TIMED]]
    took = []
    for page in pages:
        start = time.perf_counter()
        vector = encode_pictures(embedder.encoder, [page])
        (gallery_emb @ vector[0]).argpartition(-min(10, len(gallery_emb)))
        took.append(1000.0 * (time.perf_counter() - start))
    return Latency(float(np.percentile(took, 50)), float(np.percentile(took, 95)), len(took))


def _heard(
    witness: StatementWitness, data: PtbXl, queries: Sequence[PtbXlRow], progress: Progress | None
) -> tuple[str, Testimony]:
    """Name of a classifier and what it says of the queries' recordings; 0 where it refuses one, as for "no"."""
    parts: list[Testimony | None] = []
    for done, row in enumerate(queries, 1):
        try:
            parts.append(witness.of_records([data.record(row)]))
        except RecordError:
            parts.append(None)
        if progress is not None:
            progress(witness.name, done, len(queries))
    first = next((part for part in parts if part is not None), None)
    if first is None:
        raise QueryError(f"{witness.name} refuses every one of the {len(queries)} queries")
    silent = np.where(np.isfinite(first.probabilities), np.float32(0), first.probabilities)
    found = np.concatenate([silent if part is None else part.probabilities for part in parts])
    return witness.name, Testimony(first.codes, found, first.covered)


def evaluate_witnesses(
    vectors: Floats,
    found: Neighbours,
    queries: Sequence[PtbXlRow],
    gallery: Sequence[PtbXlRow],
    *,
    head: StatementHead,
    calibration: Calibration,
    weights: NDArray[np.float32],
    other: tuple[str, Testimony] | None = None,
) -> dict[str, Mapping[str, Interval]]:
    """Macro-AUCs of each, by "superclasses", "statements" and "statements (>= 10 positives)".

    With another classifier there is one family more, the statements that it knows, and a row that has this one alone.

    Args:
        vectors: Of the queries, (n, dim).
        found: Their neighbours, as deep as the calibration votes.
        queries, gallery: Rows.
        head: Of the encoder.
        calibration: Says how deep the vote goes, and weighs vote and head where that was fitted.
        weights: How often each query is drawn, (n_resamples, n).
        other: Name of another classifier, and what it says of the queries.

    Returns:
        "vote", "head" and "vote and head" (where it was fitted) -> family -> interval.
    """
    space = default_space()
    truth, known = (space.statements([row.labels for row in rows]) for rows in (queries, gallery))
    supers, known_supers = space.superclass_matrix(truth), space.superclass_matrix(known)
    said = head.of_vectors(vectors)
    place = {code: i for i, code in enumerate(said.codes)}
    has_super = np.asarray(supers.any(axis=1))
    out: dict[str, dict[str, Interval]] = {VOTE: {}, HEAD: {}, **({BOTH: {}} if calibration.joint else {})}
    ranked = found.rows.shape[1]
    for family, y, cases, rule, names in (
        ("superclasses", supers, known_supers, calibration.superclasses, [SUPER + n for n in space.superclasses]),
        ("statements", truth, known, calibration.statements, list(space.codes)),
    ):
        shares = vote_scores(found, cases, min(rule.k, ranked), rule.tau).astype(np.float64)
        read = said.probabilities[:, [place[name] for name in names]].astype(np.float64)
        scores = {VOTE: shares, HEAD: read}
        if calibration.joint:
            scores[BOTH] = np.array(
                [
                    calibration.joint_probabilities(names, *one)
                    for one in zip(shares, [rule.k] * len(y), read, strict=True)
                ]
            )
        rows = has_super if family == "superclasses" else np.ones(len(y), dtype=np.bool_)
        for name, score in scores.items():
            table = AucTable.of(y[rows], score[rows].astype(np.float32), weights[:, rows])
            out[name][family] = table.macro().interval
            if family == "statements":
                out[name]["statements (>= 10 positives)"] = table.macro(clean_columns(y)).interval
                if other is not None:
                    known_to = np.isin(names, other[1].covered)
                    out[name][f"statements of {other[0]}"] = table.macro(known_to).interval
    if other is not None:
        name, testimony = other
        said_of = np.full(truth.shape, np.nan, dtype=np.float32)
        said_of[:, [space.codes.index(code) for code in testimony.codes]] = testimony.probabilities
        known_to = np.isin(space.codes, testimony.covered)
        table = AucTable.of(truth[:, known_to], said_of[:, known_to], weights)
        out[name] = {f"statements of {name}": table.macro().interval}
    return dict(out)
