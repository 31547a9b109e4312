"""The trained dual encoder behind the `Encoder` protocol: pages, photos, records and words in one space."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.drawing.geometry import RenderStyle, page_geometry
from ecgkin.retrieval.ecg.drawing.trace_map import draw_trace_map
from ecgkin.retrieval.ecg.page.printed import PrintedEcg, read_printed
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.encoders.checkpoint import EncoderFiles, read_encoder_files
from ecgkin.retrieval.encoders.pictures import encode_printed
from ecgkin.retrieval.encoders.roads import Towers, open_towers
from ecgkin.retrieval.encoders.samples import Expected, places
from ecgkin.retrieval.encoders.space import Vectors, join_parts, join_signals, place_words, unit
from ecgkin.retrieval.encoders.tokenizer import load_tokenizer, token_ids

if TYPE_CHECKING:
    from PIL import Image

_BATCH = 32
# A page in 6x2 fills 12x1 by a half, one in 3x4 by a quarter; a few missing samples matter to no layout.
_LEAST_FILLED = 0.6


class DualEncoder:
    """An open_clip model with its page reading and its tokenizer.

    Attributes:
        name: What `load_encoder` knows it by.
        dim: Length of a vector.
        fingerprint: Hash over everything that changes a vector.
        image_fingerprint: Hash over what changes the vector of a picture or a record.
        tower_fingerprint: Hash over what changes what the image tower makes of a picture.
        weights_dir: Where its files are (calibration lies beside them).
        architecture: Of its parts, and which columns of a vector are which.
    """

    def __init__(self, files: EncoderFiles, device: str = "cpu", towers: Towers | None = None) -> None:
        """Load weights.

        Args:
            files: Of the encoder.
            device: "cpu", "cuda" or "cuda:N".
            towers: Its networks where they are loaded already.

        Raises:
            ModelError: Weights and architecture do not fit, or the device is not there.
        """
        architecture = files.architecture
        self.name, self.fingerprint = files.name, files.fingerprint
        self.dim = architecture.vector_dim
        self.architecture = architecture
        self.image_fingerprint, self.tower_fingerprint = files.image_fingerprint, files.tower_fingerprint
        self.weights_dir = files.folder
        self.gallery_layouts = files.gallery_layouts
        self._tokenizer = load_tokenizer(files.folder)
        self._towers = towers if towers is not None else open_towers(files, device)
        self._expected = Expected.load(files) if architecture.signal_dim else None

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        """Pictures of ECG pages (drawings, scans, photos; any size), read as a search reads them -> unit rows (n, dim).

        Raises:
            ImageError: A picture shows no ECG.
        """
        return encode_printed(self, [read_printed(image) for image in images])

    def encode_printed(self, printed: Sequence[PrintedEcg]) -> Vectors:
        """Pictures that were read already -> unit rows (n, dim), of their ink and of the signals read off them.

        Signals of a poorly read page say less of the record than its ink lets expect: on 42 such pages of fold 9 their
        places had a cosine of .70 to the record's own place, the expected ones .81. They are not used.
        """
        ink = self.encode_maps(one.seen.trace_map for one in printed)
        return self._with_signals(ink, [None if one.grade == "poor" else one.record for one in printed])

    def encode_maps(self, maps: Iterable[NDArray[np.uint8]]) -> Vectors:
        """Trace maps, uint8 (256, 512) each -> what the image tower says of them: unit rows (n, image_dim)."""
        parts = [self._encode_batch(np.stack(batch)) for batch in _batched(maps)]
        return np.concatenate(parts) if parts else np.empty((0, self.architecture.image_dim), dtype=np.float32)

    def _with_signals(self, image: Vectors, records: Sequence[EcgRecord | None]) -> Vectors:
        """What pictures say, with what the samples say; where there are none, with what the pictures let expect."""
        if self._expected is None:
            return image
        signal = self._expected.of_pictures(image)
        rows = [row for row, record in enumerate(records) if record is not None]
        known = [record for record in records if record is not None]
        signal[rows] = places(self._towers.samples, known, self.architecture.signal_fs_hz, signal.shape[1])
        return join_signals(image, signal, self.architecture)

    def encode_records(self, records: Sequence[EcgRecord], style: RenderStyle | None = None) -> Vectors:
        """Records -> unit rows (n, dim): the mean over the drawings of `gallery_layouts`, or one drawing of `style`.

        A page in 3x4 shows a quarter of each lead; several layouts together say more of a case than any one of them. A
        record that itself comes from a page in 3x4 would leave most of a page in 12x1 blank: such layouts are left out.

        Args:
            records: ECGs in mV.
            style: Draws each record once in this way; None draws the layouts of the gallery.

        Returns:
            Unit rows, float32 (n, dim).

        Raises:
            RecordError: A record holds no lead, or nothing in the page's window.
        """
        return self._with_signals(self.encode_drawings(records, style), records)

    def encode_drawings(self, records: Sequence[EcgRecord], style: RenderStyle | None = None) -> Vectors:
        """What the image tower says of records: `encode_records` without their samples, unit rows (n, image_dim).

        Args:
            records, style: As in `encode_records`.

        Returns:
            Unit rows, float32 (n, image_dim).
        """
        styles = [style] if style is not None else [RenderStyle(layout=name) for name in self.gallery_layouts]
        total = np.zeros((len(records), self.architecture.image_dim), dtype=np.float32)
        chosen = [_filled(record, styles) for record in records]
        for one in styles:
            rows = [row for row, some in enumerate(chosen) if one in some]
            total[rows] += self.encode_maps(draw_trace_map(records[row], _fitting(records[row], one)) for row in rows)
        joint = self.architecture.dim
        return join_parts(total[:, :joint], total[:, joint:], self.architecture)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Reports, questions, statement names, abbreviations (English, German, Swedish) -> unit rows (n, dim)."""
        parts = [self._towers.words(token_ids(self._tokenizer, batch)) for batch in _batched(texts)]
        if not parts:
            return np.empty((0, self.dim), dtype=np.float32)
        words = np.concatenate(parts)
        placed = place_words(words, self.architecture)
        if self._expected is None:
            return placed
        return join_signals(placed, self._expected.of_words(unit(words)), self.architecture)

    def patch_tokens(self, maps: Iterable[NDArray[np.uint8]]) -> Vectors:
        """Trace maps, uint8 (256, 512) each -> what the image tower says of each place, (n, 4 + 8 * 32, width).

        The four class tokens come first, then the patches row by row; a decoder can look at them (`generation.mini`).
        """
        parts = [self._towers.tokens(np.stack(batch)) for batch in _batched(maps)]
        return np.concatenate(parts) if parts else np.empty((0, 0, 0), dtype=np.float32)

    def _encode_batch(self, maps: NDArray[np.uint8]) -> Vectors:
        joint, appended = self._towers.images(maps)
        return join_parts(joint, appended, self.architecture)


def _filled(record: EcgRecord, styles: list[RenderStyle]) -> list[RenderStyle]:
    """The styles whose panels the record fills about as well as those of the best one."""
    if len(styles) == 1 or np.isfinite(record.signal_mv).all():
        return styles
    shares = [_share_shown(record, _fitting(record, one)) for one in styles]
    return [one for one, share in zip(styles, shares, strict=True) if share >= _LEAST_FILLED * max(shares)]


def _share_shown(record: EcgRecord, style: RenderStyle) -> float:
    """Part of the panels, strips apart, in which the record has samples."""
    known = []
    for panel in page_geometry(style).panels:
        row = record.lead(panel.lead)
        if not panel.is_rhythm and row is not None:
            first, last = (round(s * record.fs_hz) for s in (panel.start_s, panel.start_s + panel.length_s))
            known.append(float(np.isfinite(row[first:last]).sum()) / max(1, last - first))
    return float(np.mean(known)) if known else 0.0


def _fitting(record: EcgRecord, style: RenderStyle) -> RenderStyle:
    """A style whose window the record fills: short records are drawn with all leads at once, so that none is blank."""
    from dataclasses import replace

    if record.duration_s >= style.start_s + 0.9 * style.window_s:
        return style
    return replace(style, window_s=record.duration_s)


def _batched(items: Iterable[Any]) -> Iterator[list[Any]]:
    batch: list[Any] = []
    for item in items:
        batch.append(item)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def load_dual(folder: Path, device: str = "cpu") -> DualEncoder:
    """Load an encoder from its folder.

    Args:
        folder: Holds `encoder.json`, `model.safetensors` and the tokenizer.
        device: "cpu", "cuda" or "cuda:N".

    Returns:
        The encoder.
    """
    return DualEncoder(read_encoder_files(folder), device)
