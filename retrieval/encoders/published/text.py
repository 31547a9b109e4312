"""Tokenizers and text towers of published encoders: configuration and vocabulary from the hub folder, weights never."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.errors import ModelError, WeightsMissingError, why

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CONFIG_FILE = "config.json"
TOKENIZER_FILE = "tokenizer.json"
WORDPIECE_FILE = "vocab.txt"
_KINDS = {"bert": "WordPiece", "roberta": "BPE", "t5": "Unigram"}

T = TypeVar("T")


@dataclass(frozen=True)
class TextFolder:
    """The hub folder of a text model.

    Attributes:
        folder: Where it is.
        config: Its config.json.
        tokenizer: With truncation to the system's length and without padding.
        pad_id: Token that fills up.
    """

    folder: Path
    config: Mapping[str, Any]
    tokenizer: Tokenizer
    pad_id: int

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, special tokens included."""
        return [list(one.ids) for one in self.tokenizer.encode_batch(list(texts))]

    def padded(self, texts: Sequence[str], length: int | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Token ids and attention mask, both (n, length); None pads to the longest text.

        Args:
            texts: Any number.
            length: Tokens of every row; None for the longest text's.

        Returns:
            Ids and mask, int64 (n, length).
        """
        rows = self.ids(texts)
        width = length if length is not None else max((len(row) for row in rows), default=1)
        ids = np.full((len(rows), width), self.pad_id, dtype=np.int64)
        mask = np.zeros((len(rows), width), dtype=np.int64)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = row
            mask[place, : len(row)] = 1
        return ids, mask

    def content(self) -> bytes:
        """What of the folder changes a vector: tokenizer and configuration."""
        return self.tokenizer.to_str().encode() + json.dumps(self.config, sort_keys=True).encode()


def find_text_folder(
    near: Path,
    model_type: str,
    hub_name: str,
    wanted: Mapping[str, Any],
    max_tokens: int,
    *,
    tokenizer_of: str = "",
) -> TextFolder:
    """The configuration and tokenizer of a text model, in a folder or one below it.

    Args:
        near: The folder that the user named.
        model_type: Of its config.json.
        hub_name: What it is called on the hub, for messages.
        wanted: Fields of config.json whose other values would change the arithmetic.
        max_tokens: Longer texts are cut there, special tokens included.
        tokenizer_of: What the model is called whose tokenizer it takes; "" where it is its own.

    Returns:
        Configuration and tokenizer.

    Raises:
        WeightsMissingError: There is none, or it has no tokenizer.
        ModelError: There are two, or one of another model.
    """
    found = {}
    for folder in (near, *sorted(p for p in near.iterdir() if p.is_dir())):
        if (folder / CONFIG_FILE).is_file():
            config = _read_json(folder / CONFIG_FILE)
            if config.get("model_type") == model_type:
                found[folder] = config
    if not found:
        raise WeightsMissingError(
            f"no folder with the configuration of {hub_name} in {near} (expected config.json with model_type "
            f"{model_type!r}, and its tokenizer)",
            hint=f"copy config.json and the tokenizer files of {hub_name} into {near / hub_name.split('/')[-1]}",
        )
    if len(found) > 1:
        raise ModelError(
            f"{near} holds several configurations of type {model_type!r}: {', '.join(p.name for p in found)}",
            hint="leave one of them",
        )
    folder, config = next(iter(found.items()))
    for name, value in wanted.items():
        if config.get(name) != value:
            raise ModelError(
                f"{name} is {config.get(name)!r} in {folder / CONFIG_FILE} (expected {value!r})",
                hint=f"this is not the configuration of {hub_name}",
            )
    tokenizer_of = tokenizer_of or hub_name
    tokenizer = _read_tokenizer(folder, model_type, tokenizer_of)
    kind = str(json.loads(tokenizer.to_str())["model"].get("type"))
    if kind != _KINDS[model_type]:
        raise ModelError(
            f"the tokenizer in {folder} is a {kind} (expected the {_KINDS[model_type]} of {tokenizer_of})",
            hint=f"copy the tokenizer files of {tokenizer_of} there",
        )
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    size = _whole(config, "vocab_size", folder)
    if tokenizer.get_vocab_size() > size:
        raise ModelError(
            f"the tokenizer in {folder} has {tokenizer.get_vocab_size()} tokens, its configuration {size}",
            hint=f"they are of different models: take the tokenizer of {tokenizer_of}, config.json of {hub_name}",
        )
    return TextFolder(folder, config, tokenizer, _whole(config, "pad_token_id", folder))


def build_tower(make: Callable[[dict[str, Any]], T], text: TextFolder, hub_name: str) -> T:
    """A text network of the sizes that its configuration says, not filled yet.

    Args:
        make: Builds it of the configuration.
        text: Its folder.
        hub_name: What it is called on the hub, for messages.

    Returns:
        What `make` returns.

    Raises:
        ModelError: The configuration describes no network.
    """
    try:
        return make(dict(text.config))
    except Exception as error:  # the library raises kinds of its own, by version
        said = " ".join(str(error).split())
        raise ModelError(
            f"{text.folder / CONFIG_FILE} describes no network: {textwrap.shorten(said, 160)}",
            hint=f"copy config.json of {hub_name} again",
        ) from error


def _whole(config: Mapping[str, Any], name: str, folder: Path) -> int:
    """A number of 0 and more of a configuration; 0 where it is left out."""
    value = config.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ModelError(
            f"{name} is {value!r} in {folder / CONFIG_FILE} (expected a whole number)", hint="get the file again"
        )
    return value


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except PermissionError:
        raise
    except (ValueError, OSError) as error:
        raise ModelError(f"{path} is no JSON: {why(error)}", hint="get the file again") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path} holds a {type(value).__name__} (expected an object)", hint="get the file again")
    return value


def _read_tokenizer(folder: Path, model_type: str, hub_name: str) -> Tokenizer:
    from tokenizers import Tokenizer

    path = folder / TOKENIZER_FILE
    if path.is_file():
        try:
            return Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises plain Exception
            raise ModelError(f"{path} is damaged: {error}", hint=f"get it again from {hub_name}") from error
    if model_type == "bert" and (folder / WORDPIECE_FILE).is_file():
        from tokenizers.implementations.bert_wordpiece import BertWordPieceTokenizer

        wordpiece = BertWordPieceTokenizer(str(folder / WORDPIECE_FILE), lowercase=True)
        return Tokenizer.from_str(wordpiece.to_str())
    raise WeightsMissingError(
        f"{folder} holds no {TOKENIZER_FILE}",
        hint=f"copy it from {hub_name}, or write it with transformers: AutoTokenizer(...).save_pretrained(folder)",
    )
