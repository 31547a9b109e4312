"""/v1/explanations: what is marked as having made a case near is what has made it near."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.drawing.style import RenderStyle
from ecgkin.retrieval.ecg.page.printed import PrintedEcg, read_printed
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.ui.api.explain import PageMasks, RecordMasks, Stretch, explain
from ecgkin.ui.api.state import State
from ecgkin.ui.server.app import create_app
from ecgkin.ui.server.serving import in_thread
from ecgkin.ui.settings import load_settings


def unit(values: Any) -> NDArray[np.float32]:
    """Rows of unit length."""
    rows = np.asarray(values, dtype=np.float32) + 1e-3
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def lead_vectors(records: Sequence[EcgRecord]) -> NDArray[np.float32]:
    """How much each quarter of each lead swings."""
    out = []
    for record in records:
        middles = np.median(record.signal_mv, axis=1, keepdims=True)
        out.append([np.abs(part).mean() for lead in record.signal_mv - middles for part in np.array_split(lead, 4)])
    return unit(out)


def ink_vectors(printed: Sequence[PrintedEcg]) -> NDArray[np.float32]:
    """How much ink each of 16 x 32 cells of a trace map has."""
    return unit([one.seen.trace_map.reshape(16, 16, 32, 16).mean(axis=(1, 3)).ravel() for one in printed])


def test_the_stretch_that_is_alike_comes_first(made_record: EcgRecord) -> None:
    """A case that is like the query in one quarter of one lead alone: that stretch costs most."""
    masks = RecordMasks(made_record, lead_vectors)
    row = made_record.leads.index("V5")
    others = [Stretch(n) for n in range(12) if n != row]
    rest = [part for n, part in enumerate(Stretch(row).cut(4)) if n != 2]
    [case] = masks.vectors([[*others, *rest]])
    score, found = explain(masks, case)
    best = found[0]
    assert (best.lead, best.begin, best.end) == ("V5", 0.5, 0.75)
    assert best.begin_s == pytest.approx(made_record.duration_s / 2) and best.end_s == pytest.approx(7.5, abs=0.1)
    assert [part.loss for part in found] == sorted((part.loss for part in found), reverse=True)
    [whole] = masks.vectors([[]])
    assert score == pytest.approx(float(whole @ case), abs=1e-5)


@pytest.mark.parametrize("layout", ["3x4+1R", "6x2", "12x1"])
def test_a_page_loses_the_lead_that_is_masked(made_record: EcgRecord, layout: str) -> None:
    """On the trace map one lead goes and a line stays; the place on the picture is where that lead is drawn."""
    from ecgkin.retrieval.ecg.drawing.geometry import page_geometry
    from ecgkin.retrieval.ecg.drawing.raster import render

    style = RenderStyle(layout=layout)
    printed = read_printed(render(made_record, style))
    page = printed.page
    masks = PageMasks(printed, ink_vectors)
    geometry = page_geometry(style)
    assert masks.n_panels == len(geometry.panels)
    for number, panel in enumerate(geometry.panels):
        part = Stretch(number)
        told = masks.told(part, 0.5)
        assert told.lead == panel.lead and told.row == panel.row + 1 and told.loss == 0.5
        middle = np.mean(told.corners, axis=0) / geometry.px_per_mm
        wanted = (panel.x_mm + panel.width_mm / 2, panel.baseline_y_mm)
        assert np.abs(middle - wanted).max() < 0.4 * geometry.row_spacing_mm
        gone = page.trace_map.astype(int) - masks.masked([part])
        columns = np.flatnonzero((gone > 100).any(axis=0))
        scale = 512 / (geometry.trace_x_mm + geometry.trace_width_mm - geometry.calibrations[0][0][0])
        left = (panel.x_mm - geometry.calibrations[0][0][0]) * scale
        assert left - 1 <= columns.min() and columns.max() <= left + panel.width_mm * scale + 1
        assert len(columns) > 0.02 * panel.width_mm * scale


def test_marked_part_of_a_page_is_what_a_case_has(made_record: EcgRecord) -> None:
    """A case that shares one lead of the page alone: the answer begins with parts of that lead."""
    from ecgkin.retrieval.ecg.drawing.raster import render

    masks = PageMasks(read_printed(render(made_record)), ink_vectors)
    wanted = next(n for n in range(masks.n_panels) if masks.told(Stretch(n), 0.0).lead == "V2")
    [case] = masks.vectors([[Stretch(n) for n in range(masks.n_panels) if n != wanted]])
    _, found = explain(masks, case)
    assert found[0].lead == "V2" and found[0].loss > 0


def test_rows_of_an_unknown_layout(made_record: EcgRecord) -> None:
    """Where the layout is not known, stretches of the rows are told without the name of a lead."""
    from dataclasses import replace

    from ecgkin.retrieval.ecg.drawing.raster import render

    read = read_printed(render(made_record))
    page = replace(read.page, layout="other", leads=())
    masks = PageMasks(PrintedEcg(read.picture, page), ink_vectors)
    assert masks.n_panels == 4 * page.n_rows
    [case] = masks.vectors([[]])
    score, found = explain(masks, case)
    assert score == pytest.approx(1.0, abs=1e-5) and {part.lead for part in found} == {""}
    assert {part.row for part in found} == set(range(1, page.n_rows + 1)) and found[0].loss > 0


def test_over_http(simulated_base: Path) -> None:
    """Samples are explained; a picture needs an encoder that reads pages; an unknown case is not found."""
    from PIL import Image

    settings = load_settings(api_port=0, api_max_seconds=300.0)
    state = State(simulated_base, settings, HashingEncoder())
    with (
        in_thread(create_app(settings, state), settings) as url,
        httpx.Client(base_url=url, timeout=300.0, trust_env=False) as http,
    ):
        signal = http.get("/v1/cases/simulated/3/signal").json()
        answer = http.post("/v1/explanations", json={"signal": signal, "case_id": "simulated/3"})
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert found["score"] == pytest.approx(1.0, abs=1e-4) and found["stretches"][0]["loss"] > 0
        assert http.post("/v1/explanations", json={"signal": signal, "case_id": "no/such"}).status_code == 404
        packed = io.BytesIO()
        Image.new("RGB", (400, 300), "white").save(packed, "PNG")
        files = {"file": ("page.png", packed.getvalue())}
        # A case that is not there is said before the file is opened, which may take seconds.
        unread = {"file": ("page.png", b"no picture at all")}
        assert http.post("/v1/explanations", files=unread, data={"case_id": "no/such"}).status_code == 404
        assert http.post("/v1/explanations", files=unread, data={"case_id": "simulated/3"}).status_code == 422
        refused = http.post("/v1/explanations", files=files, data={"case_id": "simulated/3"})
        assert refused.status_code == 422 and "does not read pages" in refused.text


@pytest.mark.slow
@pytest.mark.parametrize("asked", ["record", "page"])
def test_marked_stretches_matter_to_the_trained_encoder(asked: str) -> None:
    """With the shipped encoder: flattening what is marked costs more similarity than flattening as much elsewhere."""
    from ecgkin.retrieval.ecg.drawing.raster import render
    from ecgkin.retrieval.encoders import load_encoder
    from ecgkin.retrieval.encoders.dual import DualEncoder
    from ecgkin.ui.demo.cases import simulated_gallery, simulated_query

    encoder = load_encoder("default")
    assert isinstance(encoder, DualEncoder)
    loaded = [item.load() for item in simulated_gallery(6)]
    cases = encoder.encode_records([record for record in loaded if isinstance(record, EcgRecord)])
    _, query = simulated_query(1)
    masks = (
        RecordMasks(query, encoder.encode_records)
        if asked == "record"
        else PageMasks(read_printed(render(query)), encoder.encode_printed)
    )
    [whole] = masks.vectors([[]])
    case = cases[int(np.argmax(cases @ whole))]
    drops = {}
    for panel in range(masks.n_panels):
        for part in Stretch(panel).cut(4):
            drops[part] = float(whole @ case) - float(masks.vectors([[part]])[0] @ case)
    _, found = explain(masks, case)
    leads = [masks.told(part, 0.0) for part in drops]
    marked = [part for part in found if part.end - part.begin < 1][:3]
    chosen = [
        part
        for part, told in zip(drops, leads, strict=True)
        if any((told.lead, told.row, told.begin) == (m.lead, m.row, m.begin) for m in marked)
    ]
    rest = [part for part in drops if part not in chosen]

    def left(stretches: list[Stretch]) -> float:
        return float(masks.vectors([stretches])[0] @ case)

    elsewhere = [left([rest[n], rest[n + 5], rest[n + 11]]) for n in (0, 3, 9, 16)]
    assert len(chosen) == 3 and left(chosen) < min(float(whole @ case), float(np.mean(elsewhere)))
