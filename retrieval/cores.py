"""How many threads libraries take for one call, in processes that answer rather than compute for hours."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

_OF_LIBRARIES = ("OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share_cores(environment: MutableMapping[str, str] = os.environ) -> None:
    """Leave one core free of the threads of OpenCV and of NumPy's BLAS; has an effect before these are loaded only.

    A page is read in two threads of our own, by ink and by a network. A library that cuts its short calls in pieces
    for all cores makes each wait for the other, and BLAS waits by turning: on two cores at rest pages took 8, 15 and
    4 % longer so (a page, a photograph, one of 12 MP), and a third more processor time.

    Args:
        environment: Variables; what is set there already stays.
    """
    for name in _OF_LIBRARIES:
        environment.setdefault(name, environment.get("OMP_NUM_THREADS") or str(max(1, cores() - 1)))
