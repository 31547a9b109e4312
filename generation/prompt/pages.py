"""The picture that goes to a model: pages drawn at exactly 2:1, other pictures as they are or fitted to 2:1."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ecgkin.generation.prompt.context import Counter
from ecgkin.retrieval.ecg.record import EcgRecord

if TYPE_CHECKING:
    from PIL import Image

    from ecgkin.retrieval.ecg.page.printed import PrintedEcg

# Pages of exactly 2:1 cost a PULSE model least (`backends.pulse.images.pulse_page_size`).
PAGE_WH = (2200, 1100)


def page_of(query: EcgRecord | Image.Image | PrintedEcg | str | Path) -> EcgRecord | Image.Image | PrintedEcg:
    """The record or the picture behind a query, read from its file where it is one.

    Raises:
        ImageError, RecordError: The file cannot be read.
    """
    if not isinstance(query, str | Path):
        return query
    path = Path(query)
    from ecgkin.retrieval.ecg.formats.tried import open_unattended

    return open_unattended(path)


def draw_page(record: EcgRecord) -> Image.Image:
    """A record as a page of exactly 2:1 (2200 x 1100 px), RGB."""
    from ecgkin.retrieval.ecg.drawing.raster import render
    from ecgkin.retrieval.ecg.drawing.style import RenderStyle

    width, height = PAGE_WH
    return render(record, RenderStyle(width_px=width, height_px=height))


def fit_two_to_one(picture: Image.Image) -> Image.Image:
    """The picture on a white sheet of exactly 2:1, not scaled; as it is where it has that shape."""
    from PIL import Image as images

    width, height = picture.size
    if width == 2 * height:
        return picture
    half = max(height, (width + 1) // 2)
    sheet = images.new("RGB", (2 * half, half), "white")
    sheet.paste(picture.convert("RGB"), ((2 * half - width) // 2, (half - height) // 2))
    return sheet


def picture_for(ecg: EcgRecord | Image.Image, counter: Counter, max_new_tokens: int, spare: int = 600) -> Image.Image:
    """What the model is shown: a drawn page for a record, the picture itself for a picture.

    A picture of another shape keeps it (a 4:3 page is seen at 672 x 504 px, on a sheet of 2:1 at 448 x 336) unless
    question, cases and answer would not fit beside it.

    Args:
        ecg: The query.
        counter: Counts visual tokens.
        max_new_tokens: Room for the answer.
        spare: Tokens to keep for question and cases; three cases with reports take 400 to 600.

    Returns:
        An RGB picture.
    """
    if isinstance(ecg, EcgRecord):
        return draw_page(ecg)
    if counter.count_tokens("", ecg) + spare + max_new_tokens <= counter.context_length:
        return ecg
    fitted = fit_two_to_one(ecg)
    return fitted if counter.count_tokens("", fitted) < counter.count_tokens("", ecg) else ecg
