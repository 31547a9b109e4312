"""Records, readers, drawing, page reading, simulation, statements.

Names load with their module on first use, so that importing this package costs nothing:

>>> from ecgkin.retrieval.ecg import LEADS
>>> LEADS[3]
'aVR'
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ecgkin.retrieval.ecg.augment.photograph import AugmentStyle as AugmentStyle
    from ecgkin.retrieval.ecg.augment.photograph import photograph as photograph
    from ecgkin.retrieval.ecg.drawing.geometry import RenderStyle as RenderStyle
    from ecgkin.retrieval.ecg.drawing.raster import render as render
    from ecgkin.retrieval.ecg.drawing.raster import render_array as render_array
    from ecgkin.retrieval.ecg.drawing.svg import render_svg as render_svg
    from ecgkin.retrieval.ecg.formats.ptbxl import PtbXl as PtbXl
    from ecgkin.retrieval.ecg.formats.ptbxl import PtbXlRow as PtbXlRow
    from ecgkin.retrieval.ecg.formats.read import read_ecg as read_ecg
    from ecgkin.retrieval.ecg.leads import LEADS as LEADS
    from ecgkin.retrieval.ecg.leads import canonical_lead as canonical_lead
    from ecgkin.retrieval.ecg.page.digitize import digitize as digitize
    from ecgkin.retrieval.ecg.page.digitized import Digitized as Digitized
    from ecgkin.retrieval.ecg.page.reading import PageReading as PageReading
    from ecgkin.retrieval.ecg.page.reading import read_page as read_page
    from ecgkin.retrieval.ecg.record import EcgRecord as EcgRecord
    from ecgkin.retrieval.ecg.simulation.simulate import SimulatedEcg as SimulatedEcg
    from ecgkin.retrieval.ecg.simulation.simulate import simulate as simulate
    from ecgkin.retrieval.ecg.statements.catalogue import STATEMENTS as STATEMENTS
    from ecgkin.retrieval.ecg.statements.catalogue import SUPERCLASSES as SUPERCLASSES
    from ecgkin.retrieval.ecg.statements.catalogue import Statement as Statement
    from ecgkin.retrieval.ecg.statements.find import FoundStatement as FoundStatement
    from ecgkin.retrieval.ecg.statements.find import find_statements as find_statements
    from ecgkin.retrieval.ecg.statements.report_text import clean_report as clean_report
    from ecgkin.retrieval.ecg.statements.report_text import normalise_report as normalise_report
    from ecgkin.retrieval.ecg.statements.report_text import report_language as report_language

_MODULE = {
    "LEADS": "leads",
    "STATEMENTS": "statements.catalogue",
    "SUPERCLASSES": "statements.catalogue",
    "AugmentStyle": "augment.photograph",
    "Digitized": "page.digitized",
    "EcgRecord": "record",
    "FoundStatement": "statements.find",
    "PageReading": "page.reading",
    "PtbXl": "formats.ptbxl",
    "PtbXlRow": "formats.ptbxl",
    "RenderStyle": "drawing.geometry",
    "SimulatedEcg": "simulation.simulate",
    "Statement": "statements.catalogue",
    "canonical_lead": "leads",
    "clean_report": "statements.report_text",
    "digitize": "page.digitize",
    "find_statements": "statements.find",
    "normalise_report": "statements.report_text",
    "photograph": "augment.photograph",
    "read_ecg": "formats.read",
    "read_page": "page.reading",
    "render": "drawing.raster",
    "render_array": "drawing.raster",
    "render_svg": "drawing.svg",
    "report_language": "statements.report_text",
    "simulate": "simulation.simulate",
}

__all__ = [
    "LEADS",
    "STATEMENTS",
    "SUPERCLASSES",
    "AugmentStyle",
    "Digitized",
    "EcgRecord",
    "FoundStatement",
    "PageReading",
    "PtbXl",
    "PtbXlRow",
    "RenderStyle",
    "SimulatedEcg",
    "Statement",
    "canonical_lead",
    "clean_report",
    "digitize",
    "find_statements",
    "normalise_report",
    "photograph",
    "read_ecg",
    "read_page",
    "render",
    "render_array",
    "render_svg",
    "report_language",
    "simulate",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
