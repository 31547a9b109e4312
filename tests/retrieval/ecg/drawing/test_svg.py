"""Vector pages: well-formed, in millimetres, and the same geometry as the raster."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.drawing.geometry import LAYOUTS, RenderStyle, page_geometry
from ecgkin.retrieval.ecg.drawing.raster import render_array
from ecgkin.retrieval.ecg.drawing.svg import render_svg
from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.record import EcgRecord

SVG = "{http://www.w3.org/2000/svg}"


def leads_of(svg: str) -> list[ElementTree.Element]:
    groups = ElementTree.fromstring(svg).iter(f"{SVG}g")
    return [g for g in groups if "lead" in g.get("class", "").split()]


def points_of(path: ElementTree.Element) -> NDArray[np.float64]:
    data = path.get("d", "")
    assert data.startswith("M")
    return np.array([[float(v) for v in pair.split()] for pair in data[1:].removesuffix("h0").split("L")])


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
@pytest.mark.parametrize("order", ["standard", "cabrera"])
def test_paths_hold_every_sample_at_its_place(made_record: EcgRecord, layout: str, order: str) -> None:
    style = RenderStyle(layout=layout, order=order, speed_mm_s=50.0, gain_mm_mv=20.0, center=False)
    geometry = page_geometry(style)
    groups = leads_of(render_svg(made_record, style))
    assert [g.get("data-lead") for g in groups] == [panel.lead for panel in geometry.panels]
    for group, panel in zip(groups, geometry.panels, strict=True):
        assert ("inverted" in group.get("class", "").split()) == (panel.lead == "aVR" and order == "cabrera")
        assert ("rhythm" in group.get("class", "").split()) == panel.is_rhythm
        assert group.findtext(f"{SVG}title", "").startswith(f"Lead {panel.label},")
        (path,) = group.findall(f"{SVG}path")
        points = points_of(path)
        first = round(panel.start_s * 500)
        lead = made_record.signal_mv[LEADS.index(panel.lead), first : first + len(points)]
        assert len(points) in (round(panel.length_s * 500) + 1, made_record.n_samples - first)
        seconds = (points[:, 0] - panel.x_mm) / 50.0 + panel.start_s
        np.testing.assert_allclose(seconds, (first + np.arange(len(points))) / 500, atol=2e-5)
        np.testing.assert_allclose(panel.sign * (panel.baseline_y_mm - points[:, 1]) / 20.0, lead, atol=5e-5)


def test_the_raster_has_ink_wherever_the_paths_run(made_record: EcgRecord) -> None:
    style = RenderStyle(grid="none", calibration="none", lead_names=False, lead_separators=False, footer_text="")
    darkness = 1 - render_array(made_record, style).mean(axis=2) / 255
    on_paths = np.zeros_like(darkness, dtype=bool)
    for group in leads_of(render_svg(made_record, style)):
        for path in group.findall(f"{SVG}path"):
            column, row = np.floor(points_of(path) * page_geometry(style).px_per_mm).astype(int).T
            on_paths[row, column] = True
    assert on_paths.sum() > 10_000
    assert darkness[on_paths].min() > 0.5
    # And nowhere else: no ink farther than 12 px from a sample (a steep QRS has that between two samples).
    near = np.zeros_like(on_paths)
    for shift_y in range(-12, 13):
        for shift_x in (-3, -2, -1, 0, 1, 2, 3):
            near |= np.roll(on_paths, (shift_y, shift_x), axis=(0, 1))
    assert darkness[~near].max() == 0.0


def test_the_page_is_in_millimetres() -> None:
    record = EcgRecord(np.zeros((12, 1000), np.float32), 100.0, LEADS, record_id="a<b>&c")
    root = ElementTree.fromstring(render_svg(record))
    assert (root.get("width"), root.get("height"), root.get("viewBox")) == ("279.4mm", "215.9mm", "0 0 279.4 215.9")
    assert root.findtext(f"{SVG}title") == "ECG a<b>&c"
    minor, major = root.iter(f"{SVG}pattern")
    assert (minor.get("width"), major.get("width")) == ("1", "5")
    geometry = page_geometry()
    assert (float(major.get("x", "")) + 2.5 - geometry.trace_x_mm) % 5 == pytest.approx(0, abs=2e-3)
    assert (float(major.get("y", "")) + 2.5 - geometry.row_y_mm[0]) % 5 == pytest.approx(0, abs=2e-3)
    assert len([p for p in root.iter(f"{SVG}path") if p.get("class") == "calibration"]) == 4
    assert len([p for p in root.iter(f"{SVG}path") if p.get("class") == "separator"]) == 9
    bare = ElementTree.fromstring(
        render_svg(record, RenderStyle(grid="none", calibration="none", lead_separators=False))
    )
    assert not list(bare.iter(f"{SVG}pattern"))
    assert {p.get("class") for p in bare.iter(f"{SVG}path")} == {"trace"}


def test_hostile_text_stays_text(made_record: EcgRecord) -> None:
    header = 'Ü <script>alert(1)</script> & "q" \x00\x1b\ufffe]]>\nsecond'
    record = replace(made_record, record_id="</title><x/>")
    root = ElementTree.fromstring(render_svg(record, RenderStyle(header_text=header)))
    assert not list(root.iter(f"{SVG}script")) and not list(root.iter("script")) and not list(root.iter(f"{SVG}x"))
    texts = [t.text or "" for t in root.iter(f"{SVG}text") if t.get("class") == "header"]
    assert texts[0].startswith('Ü <script>alert(1)</script> & "q"')
    assert texts[-1] == "second"
    names = [t.text or "" for t in root.iter(f"{SVG}text") if t.get("class") == "lead"]
    assert sorted(set(names)) == sorted(LEADS) and len(names) == 13


def test_missing_leads_and_gaps() -> None:
    signal = np.zeros((3, 1000), np.float32)
    signal[0, 100:120] = np.nan
    signal[0, 110] = 0.1
    signal[1] = np.nan
    groups = leads_of(render_svg(EcgRecord(signal, 100.0, ("I", "II", "V6")), RenderStyle(layout="12x1")))
    paths = {g.get("data-lead"): g.findall(f"{SVG}path") for g in groups}
    assert [len(points_of(p)) for p in paths["I"]] == [100, 1, 880]
    assert paths["I"][1].get("d", "").endswith("h0")
    missing = {g.get("data-lead") for g in groups if "missing" in g.get("class", "").split()}
    assert missing == set(LEADS) - {"I", "V6"}
    for group in groups:
        said = [t.text for t in group.findall(f"{SVG}text")]
        assert said == (["n/a"] if group.get("data-lead") in missing else [])
        assert ("not available" in group.findtext(f"{SVG}title", "")) == (group.get("data-lead") in missing)
    assert not paths["II"]
