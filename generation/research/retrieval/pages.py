"""Pictures as they come, asked of a gallery: how well they are read, what they find, when nothing counts as similar.

Queries are pages of held-out records (drawn, photographed, wild: any paper, layout, damage), signals without heartbeats
drawn as pages, and folders of pictures that are only measured on.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgkin.generation.research.retrieval.calibrate import fit_threshold
from ecgkin.generation.research.retrieval.galleries import PHOTO, PRIMARY, draw_query
from ecgkin.generation.research.retrieval.labels import default_space
from ecgkin.generation.research.retrieval.metrics import identical_share, vote_scores
from ecgkin.generation.research.retrieval.protocol import stranger_records
from ecgkin.generation.research.retrieval.ranking import Floats, Neighbours
from ecgkin.retrieval.ecg.formats.ptbxl import PtbXl, PtbXlRow
from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.page.evidence import Grade
from ecgkin.retrieval.encoders.base import Encoder
from ecgkin.retrieval.errors import EcgkinError
from ecgkin.retrieval.search.vote import Calibration, Threshold, VoteRule

DRAWN = ("clean", "photo", "wild")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
SEED = 21
# A page that was surely read is refused for its nearest case as rarely as this; one that was not is believed only
# where its nearest case is as near as that of half of those that were.
SURE_REFUSED, UNSURE_FROM = 0.02, 0.5
_BEYOND = 0.005  # above the nearest of all pages without heartbeats


@dataclass(frozen=True, eq=False)
class PageQuery:
    """One picture.

    Attributes:
        name: For tables.
        picture: Path, or RGB array (h, w, 3).
        row: The record on it; None where it is not one of the gallery's data.
    """

    name: str
    picture: Path | NDArray[np.uint8]
    row: PtbXlRow | None = None


@dataclass(frozen=True, eq=False)
class ReadQuery:
    """What became of one.

    Attributes:
        query: The picture.
        grade: How well it was read; "" where it was refused.
        vectors: "ink": of its ink alone, "signals": of its signals and the map that they draw, "used": what a search
            takes; empty where refused.
        read_s: Seconds for reading.
        said: Why it was refused.
    """

    query: PageQuery
    grade: Grade | str
    vectors: dict[str, Floats]
    read_s: float
    said: str = ""


def drawn_queries(data: PtbXl, rows: Sequence[PtbXlRow], kind: str) -> Iterator[PageQuery]:
    """Pages of records.

    Args:
        data: Where they are.
        rows: Which.
        kind: One of `DRAWN`.

    Returns:
        The pages with their records, in the order of `rows`.
    """
    for row in rows:
        record = data.record(row)
        if kind == "wild":
            yield PageQuery(f"{row.ecg_id}", _wild(record, row.ecg_id), row)
        else:
            page = draw_query(record, PRIMARY if kind == "clean" else PHOTO)
            yield PageQuery(f"{row.ecg_id}", np.asarray(page, dtype=np.uint8), row)


def _wild(record: Any, number: int) -> NDArray[np.uint8]:
    from ecgkin.retrieval.ecg.page.training.pages import wild_page

    signal = np.nan_to_num(record.resampled(500.0).standard()).astype(np.float32)[:, :5000]
    signal = np.pad(signal, ((0, 0), (0, 5000 - signal.shape[1])))
    signals = dict(zip(LEADS, signal, strict=True))
    # Leads beyond the twelve, as the drawing of training pages has them.
    signals |= {"-aVR": -signals["aVR"], "V3R": 0.5 * signals["V1"], "V4R": 0.4 * signals["V1"]}
    signals |= {name: share * signals["V6"] for name, share in (("V7", 0.8), ("V8", 0.65), ("V9", 0.5))}
    return wild_page(np.random.default_rng([SEED, number]), signals, negatives=0.0, truth=False).image


def stranger_queries(data: PtbXl, rows: Sequence[PtbXlRow]) -> Iterator[PageQuery]:
    """Signals without heartbeats as pages, every other one photographed.

    Args:
        data: Where the records are.
        rows: Whose signals are taken apart.

    Returns:
        Pages without a record of their own.
    """
    for number, record in enumerate(stranger_records([data.record(row) for row in rows])):
        page = draw_query(record, PHOTO if number % 2 else PRIMARY)
        yield PageQuery(record.record_id, np.asarray(page, dtype=np.uint8))


def folder_queries(folder: Path, data: PtbXl | None = None) -> Iterator[PageQuery]:
    """Pictures that a folder's manifest lists (or, without one, all of them); `negatives` below it are left out.

    Args:
        folder: With pictures and `manifest.csv` (column `file`, and `ecg_id` where a record is known).
        data: Whose records `ecg_id` names.
    """
    rows = {row.ecg_id: row for row in data.select(range(1, 11))} if data is not None else {}
    if not (folder / "manifest.csv").is_file():
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in SUFFIXES:
                yield PageQuery(path.name, path)
        return
    with (folder / "manifest.csv").open(encoding="utf-8-sig", newline="") as stream:
        for line in csv.DictReader(stream):
            path = folder / line["file"]
            known = line.get("ecg_id") or ""
            if path.suffix.lower() not in SUFFIXES or line["file"].startswith("negatives/") or not path.is_file():
                continue
            if data is None or int(known or 0) in rows:
                yield PageQuery(line["file"], path, rows.get(int(known or 0)))


def read_queries(encoder: Encoder, queries: Iterable[PageQuery]) -> list[ReadQuery]:
    """Read each picture as a search reads it, and encode what it is shown.

    Args:
        encoder: With `encode_printed`.
        queries: The pictures.
    """
    from ecgkin.retrieval.ecg.formats.pictures import open_picture
    from ecgkin.retrieval.ecg.page.corrections import Corrections
    from ecgkin.retrieval.ecg.page.printed import read_printed

    out = []
    for query in queries:
        began = time.perf_counter()
        try:
            opened = open_picture(query.picture) if isinstance(query.picture, Path) else query.picture
            printed = read_printed(opened)
        except EcgkinError as error:
            out.append(ReadQuery(query, "", {}, time.perf_counter() - began, str(error)))
            continue
        took = time.perf_counter() - began
        ink = replace(printed, record=None, known=Corrections())
        drawn = replace(printed, page=printed.signal_page or printed.page, known=Corrections())
        found = np.asarray(encoder.encode_printed([ink, drawn, printed]), dtype=np.float32)  # type: ignore[attr-defined]
        vectors = dict(zip(("ink", "signals", "used"), found, strict=True))
        out.append(ReadQuery(query, printed.grade, vectors, took))
    return out


@dataclass(frozen=True, eq=False)
class Gallery:
    """The cases that are asked.

    Attributes:
        rows: Their records.
        vectors: Unit rows, float32 (n, dim).
    """

    rows: Sequence[PtbXlRow]
    vectors: Floats

    def best(self, read: Sequence[ReadQuery], arm: str = "used") -> Floats:
        """Cosine of the nearest case of another patient, shape (n,); -1 where a picture was refused."""
        return np.array([self._scores(one, arm).max() if one.vectors else -1.0 for one in read], dtype=np.float32)

    def first(self, read: Sequence[ReadQuery], arm: str = "used") -> float:
        """Share of the pictures of a record of this gallery that find it first; NaN where there are none."""
        places = {row.ecg_id: k for k, row in enumerate(self.rows)}
        said = []
        for one in read:
            if one.query.row is None or one.query.row.ecg_id not in places:
                continue
            scores = self.vectors @ one.vectors[arm] if one.vectors else None
            said.append(scores is not None and scores[places[one.query.row.ecg_id]] >= scores.max())
        return float(np.mean(said)) if said else float("nan")

    def votes(self, read: Sequence[ReadQuery], calibration: Calibration, arm: str = "used") -> dict[str, float]:
        """AUC of the votes on superclasses and statements (macro), and P@10 by equal superclasses.

        Args:
            read: Pictures of records; a refused one has the votes of nobody.
            calibration: Whose depth and temperature count.
            arm: "ink", "signals" or "used".
        """
        from sklearn.metrics import roc_auc_score

        space = default_space()
        known = space.statements([row.labels for row in self.rows])
        some = [one for one in read if one.query.row is not None]
        truth = space.statements([one.query.row.labels for one in some if one.query.row is not None])
        scores = np.stack([self._scores(one, arm) for one in some])
        depth = min(max(10, calibration.depth), len(self.rows))
        order = np.argsort(-scores, axis=1)[:, :depth]
        found = Neighbours(order, np.take_along_axis(scores, order, axis=1))
        out = {}
        own_classes, known_classes = space.superclass_matrix(truth), space.superclass_matrix(known)
        families: tuple[tuple[str, Any, Any, VoteRule, int], ...] = (
            ("superclass AUC", own_classes, known_classes, calibration.superclasses, 1),
            ("statement AUC", truth, known, calibration.statements, 3),
        )
        for name, own, others, rule, least in families:
            votes = vote_scores(found, others, rule.k, rule.tau)
            columns = [j for j in range(own.shape[1]) if least <= own[:, j].sum() < len(own)]
            out[name] = float(np.mean([roc_auc_score(own[:, j], votes[:, j]) for j in columns]))
        alike = identical_share(found, own_classes, known_classes, min(10, depth))
        out["P@10"] = float(np.nanmean(alike[own_classes.any(axis=1)]))
        return out

    def _scores(self, one: ReadQuery, arm: str) -> Floats:
        """Cosines to all cases; those of the same patient, and all for a picture that was refused, are -1."""
        if not one.vectors:
            return np.full(len(self.rows), -1.0, dtype=np.float32)
        scores = self.vectors @ one.vectors[arm]
        if one.query.row is not None:
            patient = one.query.row.patient_id
            scores[[k for k, row in enumerate(self.rows) if row.patient_id == patient]] = -1.0
        return np.asarray(scores, dtype=np.float32)


def fit_page_thresholds(
    wild: Sequence[ReadQuery], strangers: Sequence[ReadQuery], small: Gallery, large: Gallery
) -> dict[str, Threshold]:
    """Thresholds of "nothing similar" for pictures, by how well they were read.

    A page that was surely read shows an ECG: it is refused for its nearest case alone as rarely as `SURE_REFUSED`,
    among pages as they come, and in a base as small as `small`. A page of which something was not read may be
    anything: it counts only where its nearest case in `large` is as near as that of `UNSURE_FROM` of those that were,
    and nearer than that of any page without heartbeats of the same grade.

    Args:
        wild: Pages as they come.
        strangers: Pages without heartbeats.
        small, large: Galleries without the queries' patients.

    Returns:
        Thresholds as "image:sure", "image:fair" and "image:poor".
    """
    of = {grade: [one for one in wild if one.grade == grade] for grade in ("sure", "fair", "poor")}
    outside = {grade: [one for one in strangers if one.grade == grade] for grade in of}
    words = "signals without heartbeats, drawn and photographed as pages, of this grade"
    sure = fit_threshold(
        small.best(of["sure"]), small.best(outside["sure"]), quantile=SURE_REFUSED, outside_words=words
    )
    out = {"image:sure": sure}
    from_ = round(float(np.quantile(large.best(of["sure"]), UNSURE_FROM)), 4)
    for grade in ("fair", "poor"):
        inside, others = large.best(of[grade]), large.best(outside[grade])
        score = round(max(from_, float(others.max()) + _BEYOND if len(others) else 0.0), 4)
        out[f"image:{grade}"] = Threshold(
            score=score,
            quantile=UNSURE_FROM,
            inside_refused=float((inside < score).mean()) if len(inside) else float("nan"),
            outside_refused=float((others < score).mean()) if len(others) else float("nan"),
            n_inside=len(inside),
            n_outside=len(others),
            outside=words,
        )
    return out
