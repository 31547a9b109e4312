"""What the FAISS engine needs of its surroundings: the library itself, a graphics card, how many threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from ecgkin.retrieval.errors import QueryError

# Few queries, one thread: with two threads on busy cores one flat query over 17 k rows took 9.3 ms instead of .54.
SINGLE_THREAD_UP_TO = 8


def load_faiss() -> Any:
    """FAISS."""
    # Its type stubs lack half of what the Python layer adds.
    import faiss

    return cast(Any, faiss)


def gpu_resources(device: str) -> Any:
    """FAISS's handle of a graphics card; None where the processor is to be used."""
    if device not in ("auto", "cpu", "cuda"):
        raise QueryError(f"device is {device!r} (expected auto, cpu or cuda)")
    if device == "cpu":
        return None
    faiss = load_faiss()

    if hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0:
        return faiss.StandardGpuResources()
    if device == "cuda":
        raise QueryError(
            "device cuda: this FAISS has no GPU support or sees no GPU", hint="install the extra [gpu], or use auto"
        )
    return None


@contextmanager
def few_threads(n_queries: int) -> Iterator[None]:
    """One thread inside, if there are only few queries."""
    faiss = load_faiss()

    before = faiss.omp_get_max_threads()
    if n_queries > SINGLE_THREAD_UP_TO or before == 1:
        yield
        return
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
