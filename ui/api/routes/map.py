"""/v1/map: the case base as points in a plane."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query, Request
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.statements.catalogue import superclasses
from ecgkin.ui.api.answers import MapOut, MapPointOut
from ecgkin.ui.api.state import State

router = APIRouter(prefix="/v1", tags=["cases"])

MAX_POINTS = 5000


@router.get("/map", response_model=MapOut, summary="The case base as points in a plane")
async def case_map(
    request: Request,
    limit: Annotated[int, Query(ge=2, le=MAX_POINTS, description="cases at most, evenly taken")] = 2000,
    query_id: Annotated[str | None, Query(pattern="^[0-9a-f]{32}$", description="a search to place among them")] = None,
) -> MapOut:
    """The two main axes of the vectors (principal components): what lies far apart is unlike, not the other way."""
    state: State = request.app.state.ecgkin

    def draw() -> MapOut:
        vector = state.query(query_id)[1] if query_id is not None else None
        cases = state.base.cases()
        if len(cases) > limit:
            cases = [cases[i] for i in np.linspace(0, len(cases) - 1, limit).round().astype(int)]
        vectors = state.base.vectors([case.case_id for case in cases]) if cases else np.empty((0, state.base.dim))
        places, axes, mean, share = plane(np.asarray(vectors, dtype=np.float64))
        points = [
            MapPointOut(
                case_id=case.case_id, x=float(x), y=float(y), superclass=next(iter(superclasses(case.labels)), "")
            )
            for case, (x, y) in zip(cases, places, strict=True)
        ]
        at = (
            None if vector is None else [float(v) for v in (np.asarray(vector, dtype=np.float64).ravel() - mean) @ axes]
        )
        return MapOut(points=points, total=len(state.base), query=at, explained=share)

    return await state.work.run(draw)


def plane(
    vectors: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], float]:
    """Principal components of vectors.

    Args:
        vectors: Shape (n, dim).

    Returns:
        Places (n, 2); the two axes (dim, 2), signs fixed so that the same vectors always give the same map; the mean
        (dim,); and the share of the variance that both axes carry, 0 to 1.
    """
    n, dim = vectors.shape
    mean = vectors.mean(axis=0) if n else np.zeros(dim)
    centred = vectors - mean
    values, turned = np.linalg.eigh(centred.T @ centred)
    axes = turned[:, ::-1][:, :2]
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), [0, 1]] < 0, -1.0, 1.0)
    total = float(values.sum())
    return centred @ axes, axes, mean, float(values[-2:].sum()) / total if total > 0 else 0.0
