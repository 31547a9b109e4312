"""Pictures from other people's devices as queries on a PTB-XL gallery, where somebody wrote on them what they show.

A few dozen pictures with two or three findings each give no AUC of their own: most classes have one positive. So every
finding is ranked among the same votes for PTB-XL's own queries that lack it, which is the AUC of one positive.
"""

from __future__ import annotations

import csv
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ecgkin.generation.research.retrieval.bootstrap import Interval, mean_interval, patient_weights
from ecgkin.generation.research.retrieval.galleries import Progress, encode_pictures
from ecgkin.generation.research.retrieval.labels import LabelledRow
from ecgkin.generation.research.retrieval.metrics import vote_scores
from ecgkin.generation.research.retrieval.out_of_domain import gallery_truth, statement_classes
from ecgkin.generation.research.retrieval.ranking import Floats, nearest, nearest_others
from ecgkin.retrieval.ecg.page.reading import load_image
from ecgkin.retrieval.ecg.statements.find import find_statements
from ecgkin.retrieval.ecg.statements.report_text import fold
from ecgkin.retrieval.encoders.base import Encoder
from ecgkin.retrieval.errors import ImageError, QueryError
from ecgkin.retrieval.search.vote import VoteRule

_LOG = logging.getLogger(__name__)
MANIFEST = "manifest.csv"


@dataclass(frozen=True)
class Printout:
    """One picture of a folder.

    Attributes:
        path: The picture.
        kind: How it was made, as the manifest says.
        label: What is said of it; "" where nothing is.
        codes: SNOMED CT classes of `statement_classes` found in the label.
    """

    path: Path
    kind: str
    label: str
    codes: tuple[str, ...]


@dataclass(frozen=True)
class PrintoutResult:
    """Vote on labelled pictures.

    Attributes:
        n, refused: Labelled pictures with a class, and those of them that were not read (they count as ranked last).
        mean: Mean over all (picture, class) of the share of PTB-XL's queries without the class whose vote is lower.
        per_picture: File name to (class, that share, vote, cases of the class in the gallery) for each of its classes.
        best: File name to (cosine of the nearest case, its row); row -1 where the picture was not read.
    """

    n: int
    refused: int
    mean: Interval
    per_picture: Mapping[str, tuple[tuple[str, float, float, int], ...]]
    best: Mapping[str, tuple[float, int]]


def classes_in(label: str, names: Mapping[str, str]) -> tuple[str, ...]:
    """SNOMED classes that a label names, by the statements in it or by the class's own name; denied ones are left out.

    Args:
        label: Free text, for example a machine's statement.
        names: SNOMED code to name, of `out_of_domain.class_names`.

    Returns:
        SNOMED codes.
    """
    found = find_statements(label)
    said = {one.code for one in found if one.polarity != "absent"}
    plain = fold(label)

    def meant(code: str, members: Sequence[str]) -> bool:
        if {one.code for one in found} & set(members):
            return bool(said & set(members))
        # A class is also meant by its own name: for "myocardial infarction" alone PTB-XL has no statement.
        name = re.escape(fold(names.get(code, "-")))
        return re.search(rf"(?<!no )(?<!not )(?<!without )\b{name}\b", plain) is not None

    return tuple(code for code, members in statement_classes().items() if meant(code, members))


def read_printouts(folder: Path, names: Mapping[str, str]) -> list[Printout]:
    """All pictures that a folder's manifest lists (columns `file`, `label`, `kind`), in its order.

    Args:
        folder: Holds `manifest.csv` and the pictures.
        names: SNOMED code to name.

    Returns:
        Pictures with the classes that their labels name.

    Raises:
        QueryError: There is no manifest, it lacks a column, or a picture is missing.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise QueryError(f"{path} is missing (expected a table with the columns file, label and kind)")
    out = []
    with path.open(encoding="utf-8-sig", newline="") as stream:
        table = csv.DictReader(stream)
        lacking = {"file", "label", "kind"} - set(table.fieldnames or ())
        if lacking:
            raise QueryError(f"{path} lacks the columns {', '.join(sorted(lacking))}")
        for cells in table:
            picture = folder / cells["file"]
            if not picture.is_file():
                raise QueryError(f"{path} lists {cells['file']}, which is not there")
            label = (cells["label"] or "").strip()
            out.append(Printout(picture, cells["kind"] or "", label, classes_in(label, names)))
    return out


def embed_printouts(encoder: Encoder, pictures: Sequence[Printout], progress: Progress | None = None) -> Floats:
    """Vectors of pictures, shape (n, dim); zeros where one cannot be read.

    Args:
        encoder: Who encodes.
        pictures: Which.
        progress: Called with (what, done, total).

    Returns:
        float32 (n, dim).
    """
    vectors = np.zeros((len(pictures), encoder.dim), dtype=np.float32)
    for i, item in enumerate(pictures):
        try:
            image = load_image(item.path)
        except ImageError as error:
            _LOG.warning("a print-out was refused: %s", type(error).__name__)
        else:
            vectors[i] = encode_pictures(encoder, [Image.fromarray(image)])[0]
        if progress is not None:
            progress("print-outs", i + 1, len(pictures))
    return vectors


def evaluate_printouts(
    pictures: Sequence[Printout],
    vectors: Floats,
    home_emb: Floats,
    home_rows: Sequence[LabelledRow],
    gallery_emb: Floats,
    gallery_rows: Sequence[LabelledRow],
    *,
    rule: VoteRule | None = None,
    resamples: int = 1_000,
) -> PrintoutResult:
    """Where the vote for a picture's own findings stands among the votes of PTB-XL's queries without them.

    Args:
        pictures, vectors: Queries; those without a class do not count.
        home_emb, home_rows: PTB-XL's own queries; their patients' cases do not vote for them.
        gallery_emb, gallery_rows: The cases.
        rule: Of the vote; None takes the default.
        resamples: Of the bootstrap over pictures.

    Returns:
        Shares and intervals by class, and over all.

    Raises:
        QueryError: No picture has a class that the gallery knows.
    """
    rule = rule or VoteRule()
    every = list(statement_classes())
    in_gallery = gallery_truth(gallery_rows, every)
    columns = [i for i, c in enumerate(every) if in_gallery[:, i].any() and any(c in p.codes for p in pictures)]
    classes, known = [every[i] for i in columns], in_gallery[:, columns]
    chosen = [i for i, p in enumerate(pictures) if set(p.codes) & set(classes)]
    if not chosen:
        raise QueryError("no print-out has a label of which the gallery has a case")
    truth = gallery_truth(home_rows, classes)
    depth = min(rule.k, len(gallery_emb))
    of_home = nearest_others(home_emb, gallery_emb, depth, home_rows, gallery_rows)
    at_home = vote_scores(of_home, known, depth, rule.tau)
    found = nearest(vectors[chosen], gallery_emb, depth)
    votes = vote_scores(found, known, depth, rule.tau)
    refused = np.abs(vectors[chosen]).sum(axis=1) == 0
    shares: list[float] = []
    owners: list[int] = []
    per_picture: dict[str, tuple[tuple[str, float, float, int], ...]] = {}
    best: dict[str, tuple[float, int]] = {}
    for number, i in enumerate(chosen):
        rows = []
        for column, code in enumerate(classes):
            if code not in pictures[i].codes:
                continue
            others = at_home[~truth[:, column], column]
            own = float(votes[number, column])
            share = 0.0 if refused[number] else float((others < own).mean() + 0.5 * (others == own).mean())
            rows.append((code, share, own, int(known[:, column].sum())))
            shares.append(share)
            owners.append(number)
        name = pictures[i].path.name
        per_picture[name] = tuple(rows)
        best[name] = (0.0, -1) if refused[number] else (float(found.scores[number, 0]), int(found.rows[number, 0]))
    weights = patient_weights(np.asarray(owners), resamples)
    return PrintoutResult(
        n=len(chosen), refused=int(refused.sum()), mean=mean_interval(np.asarray(shares), weights),
        per_picture=per_picture, best=best,
    )  # fmt: skip
