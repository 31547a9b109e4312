"""How many ECGs a second one core draws, against the PyPI package ecg-plot (0.3) in the same run.

    python scripts/bench_drawing.py [--quick] [--json FILE]

Rows: this project at encoder size (512 x 256) and at page size (2200 x 1700), with grid, from records of 100 and of
500 Hz, each with its paper cached (one style) and painted anew (another style every time); the SVG writer; and
ecg-plot's 12-lead page with a rhythm strip, through Matplotlib's Agg and scaled to the same width, where the package
is installed. None but the row "PNG" compresses what it draws. Records are made up here (seeded noise on bumps).
"""

from __future__ import annotations

import argparse
import importlib.metadata
import io
import itertools
import json
import platform
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from ecgkin.retrieval.ecg.drawing.geometry import RenderStyle
from ecgkin.retrieval.ecg.drawing.raster import render, render_array
from ecgkin.retrieval.ecg.drawing.svg import render_svg
from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.record import EcgRecord

SMALL = RenderStyle(width_px=512, height_px=256)
PAGE = RenderStyle(width_px=2200, height_px=1700)


def made_record(fs_hz: int) -> EcgRecord:
    """Ten seconds of bumps at 75 a minute with noise, which is harder to draw than a clean trace."""
    rng = np.random.default_rng(0)
    t = np.arange(10 * fs_hz) / fs_hz
    phase = (t * 1.25) % 1.0
    bumps = ((0.15, 0.25, 0.03), (1.0, 0.4, 0.012), (-0.2, 0.425, 0.01), (0.3, 0.65, 0.05))
    beat = sum(h * np.exp(-0.5 * ((phase - c) / w) ** 2) for h, c, w in bumps)
    heights = rng.uniform(-1.5, 1.5, (12, 1))
    return EcgRecord((heights * beat + rng.normal(0, 0.02, (12, t.size))).astype(np.float32), float(fs_hz), LEADS)


def times_ms(call: Callable[[], object], seconds: float, least: int) -> list[float]:
    """Milliseconds of each call, after one call to warm up, for at least `seconds` and `least` calls."""
    call()
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(taken) < least:
        # Processor time of all threads: others on a shared machine count less, and a second core does not help.
        start = time.process_time()
        call()
        taken.append((time.process_time() - start) * 1e3)
    return taken


def foreign_page(record: EcgRecord, width_px: int) -> Callable[[], object] | None:
    """ecg-plot drawing the same record on paper through Matplotlib's Agg; None where it is not installed."""
    try:
        import ecg_plot
        import matplotlib
    except ImportError:
        return None
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    def draw() -> object:
        chart = ecg_plot.plot(
            record.signal_mv, sample_rate=record.fs_hz, lead_names=list(LEADS),
            layout="12lead", time_mode="sequential", rhythm_lead="II",
        )  # fmt: skip
        figure = chart.to_matplotlib()[0]
        figure.set_dpi(width_px / figure.get_size_inches()[0])
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        page = np.asarray(canvas.buffer_rgba())
        plt.close("all")
        return page

    return draw


def png(record: EcgRecord, style: RenderStyle) -> bytes:
    """A page as PNG."""
    target = io.BytesIO()
    render(record, style).save(target, "PNG", compress_level=6)
    return target.getvalue()


def main() -> None:
    """Run every row and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a quarter of a second a row instead of three")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    seconds = 0.25 if options.quick else 3.0
    slow, fast = made_record(100), made_record(500)
    # A paper colour that never comes twice keeps the cached background from being used.
    papers = itertools.cycle((200 + i % 50, 150 + i // 50, 160) for i in range(5000))

    def anew(style: RenderStyle) -> RenderStyle:
        return replace(style, background=next(papers))

    rows: dict[str, Callable[[], object]] = {
        "512 x 256, 100 Hz": lambda: render_array(slow, SMALL),
        "512 x 256, 500 Hz": lambda: render_array(fast, SMALL),
        "512 x 256, 100 Hz, new style each": lambda: render_array(slow, anew(SMALL)),
        "2200 x 1700, 100 Hz": lambda: render_array(slow, PAGE),
        "2200 x 1700, 500 Hz": lambda: render_array(fast, PAGE),
        "2200 x 1700, 500 Hz, new style each": lambda: render_array(fast, anew(PAGE)),
        "2200 x 1700, 500 Hz, PNG": lambda: png(fast, PAGE),
        "SVG, 500 Hz": lambda: render_svg(fast, PAGE),
    }
    figures = []
    for width in (512, 2200):
        other = foreign_page(fast, width)
        if other is not None:
            rows[f"{width} wide, 500 Hz, ecg-plot {importlib.metadata.version('ecg-plot')}"] = other
    for name, call in rows.items():
        p50, p95 = np.percentile(times_ms(call, seconds, 1 if options.quick else 5), [50, 95])
        figures.append({"row": name, "p50_ms": p50, "p95_ms": p95, "per_second_and_core": 1e3 / p50})
    about = {
        "processor": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "opencv": cv2.__version__,
        "numpy": np.__version__,
        "threads": 1,
        "quick": options.quick,
    }
    print(f"{'drawing':<40} {'p50 ms':>9} {'p95 ms':>9} {'a second':>9}")
    for f in figures:
        print(f"{f['row']:<40} {f['p50_ms']:>9.2f} {f['p95_ms']:>9.2f} {f['per_second_and_core']:>9.1f}")
    if other is None:
        print("ecg-plot is not installed: no comparison (pip install ecg-plot)")
    text = json.dumps({"about": about, "figures": figures}, indent=1)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
