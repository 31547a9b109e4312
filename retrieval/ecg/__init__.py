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
    from ecgkin.retrieval.ecg.augment import AugmentStyle as AugmentStyle
    from ecgkin.retrieval.ecg.augment import photograph as photograph
    from ecgkin.retrieval.ecg.drawing import render as render
    from ecgkin.retrieval.ecg.drawing import render_array as render_array
    from ecgkin.retrieval.ecg.leads import LEADS as LEADS
    from ecgkin.retrieval.ecg.leads import canonical_lead as canonical_lead
    from ecgkin.retrieval.ecg.page import PageReading as PageReading
    from ecgkin.retrieval.ecg.page import read_page as read_page
    from ecgkin.retrieval.ecg.paper import RenderStyle as RenderStyle
    from ecgkin.retrieval.ecg.ptbxl import PtbXl as PtbXl
    from ecgkin.retrieval.ecg.ptbxl import PtbXlRow as PtbXlRow
    from ecgkin.retrieval.ecg.read import read_ecg as read_ecg
    from ecgkin.retrieval.ecg.record import EcgRecord as EcgRecord
    from ecgkin.retrieval.ecg.report_text import clean_report as clean_report
    from ecgkin.retrieval.ecg.report_text import normalise_report as normalise_report
    from ecgkin.retrieval.ecg.report_text import report_language as report_language
    from ecgkin.retrieval.ecg.simulate import SimulatedEcg as SimulatedEcg
    from ecgkin.retrieval.ecg.simulate import simulate as simulate
    from ecgkin.retrieval.ecg.statement_search import FoundStatement as FoundStatement
    from ecgkin.retrieval.ecg.statement_search import find_statements as find_statements
    from ecgkin.retrieval.ecg.statements import STATEMENTS as STATEMENTS
    from ecgkin.retrieval.ecg.statements import SUPERCLASSES as SUPERCLASSES
    from ecgkin.retrieval.ecg.statements import Statement as Statement
    from ecgkin.retrieval.ecg.svg import render_svg as render_svg

_MODULE = {
    "LEADS": "leads",
    "STATEMENTS": "statements",
    "SUPERCLASSES": "statements",
    "AugmentStyle": "augment",
    "EcgRecord": "record",
    "FoundStatement": "statement_search",
    "PageReading": "page",
    "PtbXl": "ptbxl",
    "PtbXlRow": "ptbxl",
    "RenderStyle": "paper",
    "SimulatedEcg": "simulate",
    "Statement": "statements",
    "canonical_lead": "leads",
    "clean_report": "report_text",
    "find_statements": "statement_search",
    "normalise_report": "report_text",
    "photograph": "augment",
    "read_ecg": "read",
    "read_page": "page",
    "render": "drawing",
    "render_array": "drawing",
    "render_svg": "svg",
    "report_language": "report_text",
    "simulate": "simulate",
}

__all__ = [
    "LEADS",
    "STATEMENTS",
    "SUPERCLASSES",
    "AugmentStyle",
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
