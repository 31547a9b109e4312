"""BERTScore with a model that is at hand: how alike two texts are by the contextual vectors of their word pieces.

Zhang et al. 2020, "BERTScore: Evaluating text generation with BERT": every piece of one text is matched with its most
alike piece of the other; precision and recall are the mean cosines. Without weights by document frequency and without
rescaling, as its Equations 1 to 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgkin.generation.pulse.build import import_transformers
from ecgkin.retrieval.errors import ModelError

_LONGEST = 256  # word pieces of a draft or report that count
_BATCH = 16


def bert_scores(drafts: Sequence[str], references: Sequence[str], folder: str | Path) -> NDArray[np.float64]:
    """F of each pair, at most 1, shape (n,); NaN where one of the two is empty.

    Args:
        drafts: What was written.
        references: What it is compared with, as many.
        folder: A model of the BERT kind with its tokenizer, as transformers writes it.

    Raises:
        ModelError: The folder holds no such model, or the numbers of texts differ.
    """
    if len(drafts) != len(references):
        raise ModelError(f"{len(drafts)} drafts and {len(references)} references do not pair up")
    model, tokenizer = _load(Path(folder))
    out = np.full(len(drafts), np.nan)
    for start in range(0, len(drafts), _BATCH):
        part = [
            i for i in range(start, min(start + _BATCH, len(drafts))) if drafts[i].strip() and references[i].strip()
        ]
        ours = _vectors(model, tokenizer, [drafts[i] for i in part])
        theirs = _vectors(model, tokenizer, [references[i] for i in part])
        for i, one, other in zip(part, ours, theirs, strict=True):
            if len(one) and len(other):
                alike = one @ other.T
                precision, recall = float(alike.max(axis=1).mean()), float(alike.max(axis=0).mean())
                out[i] = 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0
    return out


def _load(folder: Path) -> tuple[Any, Any]:
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} holds no config.json", hint="give the folder of a BERT model with its tokenizer")
    transformers = import_transformers()
    try:
        model = transformers.AutoModel.from_pretrained(folder, local_files_only=True).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{folder} holds no model that transformers reads: {error}") from error
    return model, tokenizer


def _vectors(model: Any, tokenizer: Any, texts: Sequence[str]) -> list[NDArray[np.float64]]:
    """Unit vectors of the word pieces of each text, without the marks at its ends, shapes (n_pieces, dim)."""
    import torch

    if not texts:
        return []
    coded = tokenizer(
        list(texts),
        padding=True,
        truncation=True,
        max_length=_LONGEST,
        return_tensors="pt",
        return_special_tokens_mask=True,
    )
    marks = coded.pop("special_tokens_mask").bool()
    with torch.inference_mode():
        states = model(**coded).last_hidden_state.double()
    states = torch.nn.functional.normalize(states, dim=-1)
    words = coded["attention_mask"].bool() & ~marks
    return [np.asarray(row[kept].numpy()) for row, kept in zip(states, words, strict=True)]
