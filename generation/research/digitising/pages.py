"""Pages to measure digitising on, each with the samples that it prints where they are known.

Data that is only measured on (`shared`): `ludb_pages`, `photos`, `ood/printouts`, `pages_real`. Own pages are drawn
from fold 9 of PTB-XL.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.drawing.geometry import page_geometry
from ecgkin.retrieval.ecg.drawing.raster import render_array
from ecgkin.retrieval.ecg.drawing.style import LAYOUTS, RHYTHM_LEADS, RenderStyle
from ecgkin.retrieval.ecg.formats.ptbxl import PtbXl
from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.record import EcgRecord

FS = 500.0
PICTURES = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True, eq=False)
class MeasuredPage:
    """One picture to digitise.

    Attributes:
        name: For the table.
        picture: Path, or RGB array (h, w, 3).
        truth_mv: Samples that the page prints, shape (12, 5000), 500 Hz, NaN elsewhere; None where not known.
        other_mv: Another program's answer, same shape.
        note: Layout or kind as the source says it.
    """

    name: str
    picture: Path | NDArray[np.uint8]
    truth_mv: NDArray[np.float64] | None = None
    other_mv: NDArray[np.float64] | None = None
    note: str = field(default="")


def printed(signal_mv: NDArray[np.floating], columns: int, strips: tuple[str, ...], seconds: float = 10.0,
            simultaneous: bool = False) -> NDArray[np.float64]:  # fmt: skip
    """The samples that a page shows of a recording, NaN elsewhere.

    Args:
        signal_mv: Recording in standard order, shape (12, n), 500 Hz, n >= `seconds` * 500.
        columns: Columns of leads; each shows `seconds` / `columns`.
        strips: Leads that are printed over the whole width.
        seconds: Time that a row shows.
        simultaneous: Whether all columns show the same time.

    Returns:
        mV, the shape of `signal_mv`.
    """
    n = round(seconds * FS)
    out = np.full((12, n), np.nan)
    part = n // columns
    for index in range(12):
        column = 0 if simultaneous else index // (12 // columns)
        out[index, column * part : (column + 1) * part] = signal_mv[index, column * part : (column + 1) * part]
    for lead in strips:
        out[LEADS.index(lead)] = signal_mv[LEADS.index(lead), :n]
    return out


def ludb(folder: Path) -> Iterator[MeasuredPage]:
    """LUDB records drawn by ECGMiner's authors, with ECGMiner's answers."""
    for file in sorted(folder.glob("*.npz")):
        with np.load(file) as data:
            truth = printed(data["truth_mv"], 4, ("II",))
            yield MeasuredPage(file.stem, file.with_suffix(".png"), truth, data["ecgminer_mv"].astype(np.float64))


def foreign_pictures(folder: Path, data: PtbXl) -> Iterator[MeasuredPage]:
    """Foreign programs' drawings of PTB-XL records (3x4+1R, the strip is II).

    Args:
        folder: With the pictures and their manifest.
        data: PTB-XL.

    Returns:
        Pages with what they show.
    """
    rows = {row.ecg_id: row for row in data.select(range(1, 11))}
    with (folder / "manifest.csv").open(newline="") as stream:
        for item in csv.DictReader(stream):
            if item.get("ecg_id"):
                record = data.record(rows[int(item["ecg_id"])]).resampled(FS)
                yield MeasuredPage(
                    Path(item["file"]).stem, folder / item["file"], printed(record.standard(), 4, ("II",))
                )


def real_pages(folder: Path) -> Iterator[MeasuredPage]:
    """Pictures without truth, `negatives` left out; `note` is the layout by eye where the manifest has it."""
    with (folder / "manifest.csv").open(newline="") as stream:
        rows = {row["file"]: row for row in csv.DictReader(stream)}
    for name in sorted(rows):
        file = folder / name
        if file.suffix.lower() in PICTURES and not name.startswith("negatives/") and file.exists():
            row = rows[name]
            yield MeasuredPage(name, file, note=row.get("layout_by_eye") or row.get("layout") or "")


def fold_nine(data: PtbXl, count: int) -> list[EcgRecord]:
    """Every k-th record of fold 9 at 500 Hz.

    Args:
        data: PTB-XL.
        count: How many.

    Returns:
        Records.
    """
    rows = data.select([9])
    chosen = rows[:: max(1, len(rows) // count)][:count]
    return [data.record(row).resampled(FS) for row in chosen]


def own_style(rng: np.random.Generator) -> RenderStyle:
    """A page of our own renderer as hospitals print it."""
    layout = str(rng.choice(["3x4+1R", "3x4", "3x4+3R", "6x2", "12x1"], p=[0.45, 0.15, 0.15, 0.15, 0.1]))
    return RenderStyle(
        layout=layout,
        order="cabrera" if rng.random() < 0.1 else "standard",
        gain_mm_mv=float(rng.choice([10.0, 5.0, 20.0], p=[0.9, 0.05, 0.05])),
        grid=str(rng.choice(["pink", "red", "blue", "green", "grey"])),
        line_width_mm=float(rng.uniform(0.2, 0.45)),
        calibration=str(rng.choice(["left", "right", "none"], p=[0.6, 0.2, 0.2])),  # type: ignore[arg-type]
        lead_separators=bool(rng.random() < 0.7),
        width_px=int(rng.choice([1650, 2200])),
    )


def own_pages(records: list[EcgRecord], photographed: bool) -> Iterator[MeasuredPage]:
    """Pages of our own renderer, clean or as a phone or scanner sees them.

    Args:
        records: At 500 Hz.
        photographed: Damaged as a phone or scanner would.

    Returns:
        Pages with what they show.
    """
    from ecgkin.retrieval.ecg.augment.photograph import photograph

    for number, record in enumerate(records):
        rng = np.random.default_rng([18, number])
        style = own_style(rng)
        page = render_array(record, style)
        if photographed:
            page = photograph(page, rng, "photo")
        yield MeasuredPage(f"{record.record_id} {style.layout}", page, shown(record, style), note=style.layout)


def shown(record: EcgRecord, style: RenderStyle) -> NDArray[np.float64]:
    """The samples that `render` shows of a record (500 Hz), at the page's time, shape (12, 5000).

    Args:
        record: At 500 Hz.
        style: Of the page.

    Returns:
        mV, NaN where nothing is shown.
    """
    out = np.full((12, round(style.window_s * FS)), np.nan)
    signal = record.standard()
    for panel in page_geometry(style).panels:
        row = LEADS.index(panel.lead)
        first = round(panel.start_s * FS)
        last = round((panel.start_s + panel.length_s) * FS)
        if not np.isfinite(out[row]).any() or panel.is_rhythm:
            out[row, first:last] = signal[row, first:last]
    return out


def strips_of(layout: str) -> tuple[int, tuple[str, ...]]:
    """Columns and default rhythm strips of a layout of our renderer."""
    columns, strips = LAYOUTS[layout]
    return columns, RHYTHM_LEADS[strips]
