"""On which records of PTB-XL a comparison is made, and what it shares with others: cache, resamples, progress."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Scope:
    """What a comparison on PTB-XL is told besides what it compares.

    Attributes:
        query_folds, gallery_folds: Who asks, who is searched; a patient lies in one fold alone.
        limit, gallery_limit: At most so many of each; None for all.
        resamples: Of the bootstrap over patients.
        cache_dir: Where embeddings are kept between runs; None keeps nothing.
        progress: Called with what is being done, how much of it is done, and of how much.
    """

    query_folds: Collection[int] = (9,)
    gallery_folds: Collection[int] = range(1, 9)
    limit: int | None = None
    gallery_limit: int | None = None
    resamples: int = 1_000
    cache_dir: str | Path | None = None
    progress: Callable[[str, int, int], None] | None = None

    @property
    def cache(self) -> Path | None:
        """The folder of the cache."""
        return Path(self.cache_dir) if self.cache_dir is not None else None
