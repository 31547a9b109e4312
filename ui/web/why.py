"""Why a case is near: each lead of the query is taken out in turn, and what its similarity loses is drawn on it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ecgkin.retrieval.ecg.record import EcgRecord
    from ecgkin.ui.web.drawings import Mark
    from ecgkin.ui.web.state import Api

# Requests at once: the server encodes queries that come together in one batch.
TOGETHER = 4
# The strongest lead's colour; weaker ones in proportion.
STRONGEST = 0.45


def without(record: EcgRecord, lead: str) -> EcgRecord:
    """The same ECG with one lead as a flat line."""
    from dataclasses import replace

    signal = record.signal_mv.copy()
    signal[record.leads.index(lead)] = 0.0
    return replace(record, signal_mv=signal)


def lead_drops(api: Api, query: EcgRecord, case: EcgRecord) -> dict[str, float]:
    """What the similarity of query and case loses without each lead of the query.

    Args:
        api: The server that encodes.
        query: Samples of the query.
        case: Samples of the case.

    Returns:
        Cosine with all leads less cosine without the lead, by lead; below 0 where the case gets nearer without it.

    Raises:
        ApiError: The server does not encode them.
    """
    masked = [without(query, lead) for lead in query.leads]
    with ThreadPoolExecutor(TOGETHER) as pool:
        vectors = np.array(list(pool.map(api.vector, [case, query, *masked])), dtype=np.float64)
    scores = vectors[1:] @ vectors[0]
    return {lead: float(scores[0] - score) for lead, score in zip(query.leads, scores[1:], strict=True)}


def marks(drops: Mapping[str, float], layout: str) -> tuple[Mark, ...]:
    """Where to draw the drops on a page of the API: one box for each panel of a lead whose drop is above 0."""
    from ecgkin.retrieval.ecg.paper import page_geometry
    from ecgkin.retrieval.ecg.paper_style import RenderStyle
    from ecgkin.ui.web.drawings import Mark, crop

    strongest = max(drops.values(), default=0.0)
    if strongest <= 0:
        return ()
    geometry = page_geometry(RenderStyle(layout=layout))
    left, top, _, _ = crop(layout)
    half = geometry.row_spacing_mm / 2
    return tuple(
        Mark(
            panel.x_mm - left,
            panel.baseline_y_mm - half - top,
            panel.width_mm,
            2 * half,
            STRONGEST * drops[panel.lead] / strongest,
        )
        for panel in geometry.panels
        if drops.get(panel.lead, 0.0) > 0
    )
