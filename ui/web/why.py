"""Why a case is near: stretches of the query are flattened in turn, and what its similarity loses is drawn on it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np

from ecgkin.ui.client import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from ecgkin.retrieval.ecg.record import EcgRecord
    from ecgkin.ui.api.answers import PageOut
    from ecgkin.ui.web.drawings import Mark

# Requests at once: the server encodes queries that come together in one batch.
TOGETHER = 4
# The strongest stretch's colour; weaker ones in proportion.
STRONGEST = 0.5
# A recording is looked at lead by lead, a picture in this many stretches of each of its rows; then the strongest of
# them are cut into so many parts. Each part is one request.
STRETCHES = 4
FINER = 3
PARTS = 4
# What the server answers to a picture in which it sees no ECG.
REFUSED = 422
# A page with every lead over its whole length: each stretch has its place on it.
LAYOUT = "12x1"
# Width of the straightened page that a picture is masked on: a trace map has 512 px.
WIDTH_PX = 900
_MARGIN = 0.04

Asked: TypeAlias = "EcgRecord | bytes"
Points: TypeAlias = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Stretch:
    """Part of the query: a row (a lead of a recording, a row of a picture), from and to as shares of its length."""

    row: int
    begin: float
    end: float

    def cut(self, parts: int) -> list[Stretch]:
        """The same in equal parts, first to last."""
        step = (self.end - self.begin) / parts
        return [Stretch(self.row, self.begin + n * step, self.begin + (n + 1) * step) for n in range(parts)]


class Masks(Protocol):
    """What can be flattened."""

    def coarse(self) -> list[Stretch]:
        """Stretches that cover all of it."""
        ...

    def masked(self, stretches: Sequence[Stretch]) -> Asked:
        """The query with flat lines there; itself for none."""
        ...

    def corners(self, stretch: Stretch) -> Points:
        """Where that is on the sheet, mm."""
        ...

    def name(self, stretch: Stretch) -> str:
        """For people."""
        ...


class RecordMasks:
    """A recording: its rows are leads, shown on a page of `LAYOUT`."""

    def __init__(self, record: EcgRecord) -> None:
        self._record = record

    def coarse(self) -> list[Stretch]:
        """Each lead."""
        return [Stretch(row, 0.0, 1.0) for row in range(len(self._record.leads))]

    def masked(self, stretches: Sequence[Stretch]) -> EcgRecord:
        """With the median of the lead in these stretches."""
        signal, length = self._record.signal_mv.copy(), self._record.signal_mv.shape[1]
        for part in stretches:
            values = signal[part.row]
            flat = float(np.nanmedian(self._record.signal_mv[part.row])) if np.isfinite(values).any() else np.nan
            values[round(part.begin * length) : round(part.end * length)] = flat
        return replace(self._record, signal_mv=signal)

    def corners(self, stretch: Stretch) -> Points:
        """On the panel of its lead."""
        from ecgkin.retrieval.ecg.paper import page_geometry
        from ecgkin.retrieval.ecg.paper_style import RenderStyle
        from ecgkin.ui.web.drawings import crop

        geometry = page_geometry(RenderStyle(layout=LAYOUT))
        left, top, _, _ = crop(LAYOUT)
        lead = self._record.leads[stretch.row]
        panel = next((panel for panel in geometry.panels if panel.lead == lead), None)
        if panel is None:
            return ()
        seconds = self._record.signal_mv.shape[1] / self._record.fs_hz
        a, b = (
            min(1.0, max(0.0, (share * seconds - panel.start_s) / panel.length_s))
            for share in (stretch.begin, stretch.end)
        )
        x = panel.x_mm - left
        middle, half = panel.baseline_y_mm - top, geometry.row_spacing_mm / 2
        return _box(x + a * panel.width_mm, x + b * panel.width_mm, middle - half, middle + half)

    def name(self, stretch: Stretch) -> str:
        """Lead, and seconds where it is not all of it."""
        lead = self._record.leads[stretch.row]
        seconds = self._record.signal_mv.shape[1] / self._record.fs_hz
        if stretch.end - stretch.begin >= 1:
            return lead
        return f"{lead} {stretch.begin * seconds:.1f}-{stretch.end * seconds:.1f} s"


class PictureMasks:
    """A picture: its rows are those that page reading saw in the signal area, straightened.

    Args:
        picture: RGB, shape (h, w, 3).
        page: What was read off it.
    """

    def __init__(self, picture: NDArray[np.uint8], page: PageOut) -> None:
        import cv2

        self._page = page
        self._px_per_mm = page.px_per_mm or picture.shape[1] / 279.4  # as `drawings.picture_sheet` has it
        quad = np.array(page.corners, dtype=np.float32)
        across = float(np.linalg.norm(quad[1] - quad[0]) + np.linalg.norm(quad[2] - quad[3])) / 2
        down = float(np.linalg.norm(quad[3] - quad[0]) + np.linalg.norm(quad[2] - quad[1])) / 2
        scale = min(1.0, WIDTH_PX / max(across, 1.0))
        self._width, self._height = max(1, round(across * scale)), max(1, round(down * scale))
        self._room = round(_MARGIN * self._width)
        inner = np.array([(0, 0), (self._width, 0), (self._width, self._height), (0, self._height)], dtype=np.float32)
        self._back = cv2.getPerspectiveTransform(inner, quad)
        ahead = cv2.getPerspectiveTransform(quad, inner + np.float32(self._room))
        size = (self._width + 2 * self._room, self._height + 2 * self._room)
        self._flat = cv2.warpPerspective(picture, ahead, size, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)

    def coarse(self) -> list[Stretch]:
        """Each row in some stretches."""
        return [part for row in range(max(1, self._page.n_rows)) for part in Stretch(row, 0.0, 1.0).cut(STRETCHES)]

    def masked(self, stretches: Sequence[Stretch]) -> bytes:
        """The straightened page as a JPEG, with a flat line in these stretches."""
        import cv2

        picture = self._flat.copy()
        for part in stretches:
            x0, x1, y0, y1 = (round(value) + self._room for value in self._place(part))
            tile = picture[max(0, y0) : y1, max(0, x0) : x1]
            if min(tile.shape[:2]) < 4:
                continue
            grey = tile.min(axis=2)
            ink, rows = np.percentile(grey, 1), np.argmin(grey, axis=0)
            kernel = np.ones((max(3, tile.shape[0] // 12) | 1,) * 2, np.uint8)
            tile[:] = cv2.morphologyEx(tile, cv2.MORPH_CLOSE, kernel)  # thin dark lines go, the paper stays
            line = int(np.median(rows))
            tile[max(0, line - 1) : line + 1] = np.uint8(ink)
        packed = cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])[1]
        return bytes(packed.tobytes())

    def corners(self, stretch: Stretch) -> Points:
        """Back on the picture as it came."""
        import cv2

        x0, x1, y0, y1 = self._place(stretch)
        square = np.array([[_box(x0, x1, y0, y1)]], dtype=np.float32).reshape(1, 4, 2)
        found = cv2.perspectiveTransform(square, self._back)[0] / self._px_per_mm
        return tuple((float(x), float(y)) for x, y in found)

    def name(self, stretch: Stretch) -> str:
        """Row from 1, and where in it."""
        return f"{stretch.row + 1}: {100 * stretch.begin:.0f}-{100 * stretch.end:.0f} %"

    def _place(self, part: Stretch) -> tuple[float, float, float, float]:
        """x0, x1, y0, y1 in px of the signal area."""
        high = self._height / max(1, self._page.n_rows)
        return part.begin * self._width, part.end * self._width, part.row * high, (part.row + 1) * high


def _box(x0: float, x1: float, y0: float, y1: float) -> Points:
    return ((x0, y0), (x1, y0), (x1, y1), (x0, y1))


def drops(
    vector: Callable[[Asked], Sequence[float]],
    masks: Masks,
    case: Sequence[float],
    moved: Callable[[float], None] | None = None,
) -> dict[Stretch, float]:
    """What the similarity of query and case loses without each stretch of the query.

    Args:
        vector: What the encoder makes of a query, a unit vector; called from threads.
        masks: The query.
        case: Vector of the case.
        moved: Told the share that is done.

    Returns:
        Cosine with all of the query less cosine without the stretch; below 0 where the case gets nearer without it.
        Stretches that were looked at in parts are replaced by these.

    Raises:
        EcgkinError: The query cannot be encoded; a stretch whose loss the server cannot read is left out.
    """
    target = np.asarray(case, dtype=np.float64)
    coarse = masks.coarse()
    total = len(coarse) + 1 + FINER * PARTS
    done = 0
    with ThreadPoolExecutor(TOGETHER) as pool:

        def score(stretches: Sequence[Stretch]) -> float | None:
            try:
                return float(np.asarray(vector(masks.masked(stretches))) @ target)
            except ApiError as error:
                # Without that stretch the server sees no ECG in the picture: of it nothing can be said.
                if error.status != REFUSED or not stretches:
                    raise
                return None

        def scores(sets: Sequence[Sequence[Stretch]]) -> list[float | None]:
            nonlocal done
            out = []
            for one in pool.map(score, sets):
                out.append(one)
                done += 1
                if moved is not None:
                    moved(min(1.0, done / total))
            return out

        [first] = scores([[]])
        assert first is not None  # a refusal of the whole is raised
        whole: float = first

        def lost(parts: Sequence[Stretch], found: Sequence[float | None]) -> dict[Stretch, float]:
            return {part: whole - value for part, value in zip(parts, found, strict=True) if value is not None}

        found = lost(coarse, scores([[part] for part in coarse]))
        strongest = [part for part in sorted(found, key=lambda part: -found[part])[:FINER] if found[part] > 0]
        finer = [part for parent in strongest for part in parent.cut(PARTS)]
        parts = lost(finer, scores([[part] for part in finer]))
        for parent in strongest:
            if any(part in parts for part in parent.cut(PARTS)):
                del found[parent]
        found |= parts
    return found


def marks(masks: Masks, found: dict[Stretch, float]) -> tuple[Mark, ...]:
    """Patches for the viewer: the more similarity goes with a second of a stretch, the stronger."""
    from ecgkin.ui.web.drawings import Mark

    weight = {part: drop / (part.end - part.begin) for part, drop in found.items() if drop > 0}
    most = max(weight.values(), default=0.0)
    places = ((masks.corners(part), STRONGEST * value / most) for part, value in weight.items())
    return tuple(Mark(points, strength) for points, strength in places if points)
