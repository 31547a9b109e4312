"""Word pieces for reports and queries: German, English and Swedish, with the field's abbreviations."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.statements.report_text import fold, normalise_report
from ecgkin.retrieval.errors import WeightsMissingError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MAX_TOKENS = 64  # reports have a median of 9 words and at most 47 (field.md section 7)
PAD, UNKNOWN, BEGIN, END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"


def prepare(text: str) -> str:
    """The form in which the text tower reads: report clean-up, lower case, umlauts as bare vowels.

    >>> prepare("Linksschenkelblock, LVH; ischÄmie")
    'linksschenkelblock lvh ischamie'
    """
    return fold(normalise_report(text))


def train_tokenizer(texts: Iterable[str], folder: Path, vocab_size: int = 4000) -> Tokenizer:
    """Learn word pieces from texts and write `tokenizer.json` into `folder`.

    Args:
        texts: The corpus.
        folder: Where `tokenizer.json` is written.
        vocab_size: Word pieces, special ones included.

    Returns:
        The tokenizer.
    """
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from tokenizers.trainers import WordPieceTrainer

    tokenizer = Tokenizer(WordPiece(unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = Whitespace()
    trainer = WordPieceTrainer(
        vocab_size=vocab_size, min_frequency=2, special_tokens=[PAD, UNKNOWN, BEGIN, END], show_progress=False
    )
    tokenizer.train_from_iterator((prepare(text) for text in texts), trainer)
    tokenizer.post_processor = TemplateProcessing(single=f"{BEGIN} $A {END}", special_tokens=[(BEGIN, 2), (END, 3)])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"pad_token": PAD, "unk_token": UNKNOWN, "cls_token": BEGIN, "sep_token": END}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": MAX_TOKENS, **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    return tokenizer


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a folder.

    Raises:
        WeightsMissingError: There is none.
    """
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    if not path.is_file():
        raise WeightsMissingError(f"{path} is missing", hint="train the text stage, or reinstall ecgkin")
    return Tokenizer.from_file(str(path))


def token_ids(tokenizer: Tokenizer, texts: Sequence[str], length: int | None = None) -> NDArray[np.int64]:
    """Token numbers, shape (n, length), padded with 0; `length` None takes the longest, at most `MAX_TOKENS`.

    Args:
        tokenizer: Of the encoder.
        texts: What is to be cut into pieces.
        length: Columns; None takes the longest text's, at most `MAX_TOKENS`.

    Returns:
        int64 (n, length), padded with 0.
    """
    encoded = [e.ids[:MAX_TOKENS] for e in tokenizer.encode_batch([prepare(text) for text in texts])]
    width = length or max((len(ids) for ids in encoded), default=1)
    out = np.zeros((len(encoded), width), dtype=np.int64)
    for i, ids in enumerate(encoded):
        out[i, : min(width, len(ids))] = ids[:width]
    return out
