"""Counts a prompt's tokens as PULSE would, without its weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ecgkin.generation.backends.pulse import names
from ecgkin.generation.backends.pulse.checkpoint import read_config, read_json
from ecgkin.generation.backends.pulse.images import TileRule, image_tokens
from ecgkin.generation.backends.pulse.prompt import encode_prompt, render_prompt
from ecgkin.retrieval.errors import ModelError

if TYPE_CHECKING:
    from PIL.Image import Image

# Geometry of PULSE-7B: CLIP ViT-L/14 at 336 px, Vicuna's 4096 tokens.
_TILE_PX, _PATCH_PX, _CONTEXT = 336, 14, 4096


def _count_bytes(text: str) -> int:
    return math.ceil(len(text.encode()) / 2)


def _count_by(vocabulary: Path) -> Callable[[str], int]:
    """What counts the tokens of a conversation text by a tokenizer.json, one BOS in front."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(vocabulary))
    except Exception as error:  # the library raises bare exceptions
        raise ModelError(f"{vocabulary} cannot be read: {error}") from error
    return lambda text: len(encode_prompt(lambda piece: list(tokenizer.encode(piece).ids), text))


@dataclass(frozen=True)
class PulseCounter:
    """Tokens by a checkpoint's own rules.

    Attributes:
        name: Whose rules they are.
        context_length: Longest prompt plus answer.
        rule: How pictures become visual tokens.
        count_text: Tokens of a conversation text, the picture's slot among them where there is one.
        exact: Whether the text is counted by the checkpoint's tokenizer; otherwise the count is too high on purpose.
    """

    name: str
    context_length: int
    rule: TileRule
    count_text: Callable[[str], int]
    exact: bool

    @classmethod
    def of_folder(cls, folder: str | Path) -> PulseCounter:
        """The rules of a checkpoint folder.

        Raises:
            WeightsMissingError, ModelError: There is none, or it cannot be read.
        """
        from ecgkin.generation.backends.pulse.build import load_tokenizer
        from ecgkin.generation.backends.pulse.model import find_checkpoint

        found = find_checkpoint(folder)
        config, tokenizer = read_config(found), load_tokenizer(found)

        def count(text: str) -> int:
            return len(encode_prompt(lambda piece: list(tokenizer(piece, verbose=False).input_ids), text))

        return cls(found.name, config.context_length, config.rule, count, True)

    @classmethod
    def of_converted(cls, settings: str | Path) -> tuple[PulseCounter, bool]:
        """The rules of a checkpoint that was converted for a server, and whether its pictures are sent as tiles.

        Args:
            settings: The folder that `pulse.convert` wrote, or the pulse.json in it. Text is counted by tokenizer.json
                beside it; without that, two bytes are a token.

        Raises:
            WeightsMissingError: There is no pulse.json.
            ModelError: A file cannot be read.
        """
        file = Path(settings)
        if file.is_dir() or file.suffix != ".json":
            file = file / names.SETTINGS_FILE
        values = read_json(file)
        try:
            context_length = int(values.get("context_length", _CONTEXT))
        except (TypeError, ValueError) as error:
            raise ModelError(f"context_length in {file} is {values['context_length']!r} (expected a number)") from error
        vocabulary = file.parent / "tokenizer.json"
        exact = vocabulary.is_file()
        count = _count_by(vocabulary) if exact else _count_bytes
        counter = cls(file.parent.name, context_length, TileRule.from_dict(values), count, exact)
        return counter, values.get("send_tiles") is True

    @classmethod
    def published(cls, merge: str = names.FLAT) -> PulseCounter:
        """PULSE-7B by its training code; every two bytes of text count as a token, which Llama's never reach."""
        rule = TileRule(_TILE_PX, _PATCH_PX, names.PINPOINTS_7B, merge)
        return cls("PULSE-7B as published", _CONTEXT, rule, _count_bytes, False)

    def image_tokens(self, image: Image | None) -> int:
        """Visual tokens of a picture, 0 without one."""
        return 0 if image is None else image_tokens(image.width, image.height, self.rule)

    def count_tokens(self, prompt: str, image: Image | None = None) -> int:
        """Tokens of a prompt in the context, template and visual tokens included.

        Args:
            prompt: The user's turn.
            image: The picture that goes along, or None.

        Returns:
            Tokens.
        """
        text = self.count_text(render_prompt(prompt, picture=image is not None))
        # The slot of the picture counts as one token of the text.
        return text - (image is not None) + self.image_tokens(image)
