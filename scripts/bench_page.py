"""How long a visitor of the page waits: for the page itself, for the neighbours, for the draft, for the rest of it.

    python scripts/bench_page.py [--base DIR --examples DIR] [--encoder NAME] [--visits 5] [--json FILE]

API and page are started as `ecgkin demo` starts them, each once, over the case base given or over 60 simulated cases;
then headless Chromium comes as a new visitor with an empty cache each time. "page" is from the call for the address
until the field for files can be used; "examples" until the demo's ECGs are drawn; the other times count from the click
that asks. The first visitor after the start comes first in the table; the others are given by median and worst.
Needs playwright and Debian's chromium.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WAIT_MS = 180_000
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
STEPS = ("page", "examples", "neighbours", "draft", "side by side", "why similar", "map")
N_CASES = 60


def simulated(folder: Path, encoder: Any) -> tuple[Path, Path]:
    """A base of simulated cases, and a folder with an ECG to ask about."""
    from ecgkin.index.ingest import ingest_records, open_or_create
    from ecgkin.retrieval.ecg.drawing import render
    from ecgkin.ui.demo_cases import simulated_gallery, simulated_query
    from ecgkin.ui.demo_serve import SMALL_PX, write_csv

    with open_or_create(folder / "base", encoder) as base:
        ingest_records(base, simulated_gallery(N_CASES), encoder)
    queries = folder / "queries"
    queries.mkdir()
    _, record = simulated_query(3)
    page = render(record)
    page.save(queries / "ECG_1.png")
    page.thumbnail((SMALL_PX, SMALL_PX))
    page.save(queries / "ECG_1.webp", quality=80)
    write_csv(record, queries / "ECG_1.csv")
    return folder / "base", queries


@contextmanager
def started(base: Path, examples: Path, encoder: Any) -> Iterator[tuple[str, float]]:
    """The page's address, and the seconds until it was there."""
    from ecgkin.ui.api.app import create_app
    from ecgkin.ui.api.serving import in_thread
    from ecgkin.ui.api.state import State
    from ecgkin.ui.settings import load_settings
    from ecgkin.ui.web.serving import running

    settings = load_settings(api_port=0, api_max_seconds=WAIT_MS / 1000)
    begin = time.perf_counter()
    state = State(base, settings, encoder)
    warming = threading.Thread(target=state.preload, daemon=True)
    warming.start()
    with in_thread(create_app(settings, state), settings) as api, running(api, examples=examples, port=0) as (_, url):
        warming.join()
        yield url, time.perf_counter() - begin


def visit(browser: Any, url: str) -> dict[str, float]:
    """Seconds of each step of one visitor."""
    took: dict[str, float] = {}
    context = browser.new_context(viewport={"width": 1440, "height": 900}, locale="en-GB")
    context.set_default_timeout(WAIT_MS)
    tab = context.new_page()
    begin = time.perf_counter()

    def passed(step: str) -> None:
        took[step] = time.perf_counter() - begin

    tab.goto(f"{url}/?lang=en", wait_until="commit")
    tab.locator("input[type=file]").wait_for(state="attached")
    passed("page")
    tab.locator(".st-key-sample-1 img").wait_for()
    passed("examples")
    time.sleep(1.0)  # what is still coming in is not part of the next step
    begin = time.perf_counter()
    tab.get_by_role("button", name="ECG 1, page", exact=True).click()
    tab.locator(".st-key-card-1 img").wait_for()
    passed("neighbours")
    tab.locator(".ek-draft .ek-sections").wait_for()
    passed("draft")
    settle(tab)
    begin = time.perf_counter()
    tab.get_by_role("button", name="Compare", exact=True).first.click()
    tab.frame_locator(".st-key-viewer-compare iframe").locator(".pane").nth(1).wait_for()
    passed("side by side")
    settle(tab)
    begin = time.perf_counter()
    tab.get_by_text("Why similar?").click()
    tab.get_by_text(re.compile("Most of it|No stretch alone|That did not work")).first.wait_for()
    passed("why similar")
    tab.get_by_role("button", name="Back to the neighbours").click()
    tab.locator(".ek-draft").wait_for()
    settle(tab)
    begin = time.perf_counter()
    tab.get_by_text("Map of the case base").click()
    tab.locator(".st-key-case-map g.mark-symbol.role-mark path").first.wait_for(state="attached")
    passed("map")
    context.close()
    return took


def settle(tab: Any) -> None:
    """Wait until Streamlit is done."""
    tab.locator("[data-testid=stStatusWidget]").wait_for(state="detached")
    time.sleep(0.5)


def table(rows: list[dict[str, float]]) -> str:
    """Markdown."""
    lines = ["| step | first visitor, s | others: median, s | worst, s |", "| :--- | ---: | ---: | ---: |"]
    for step in STEPS:
        first, *others = (row[step] for row in rows)
        rest = others or [first]
        lines.append(f"| {step} | {first:.2f} | {statistics.median(rest):.2f} | {max(rest):.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, help="case base; with --examples")
    parser.add_argument("--examples", type=Path, help="folder with ECG_1.png, .webp, .csv (`ecgkin demo` makes one)")
    parser.add_argument("--encoder", default="default")
    parser.add_argument("--visits", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    from playwright.sync_api import sync_playwright

    from ecgkin.retrieval.encoders import load_encoder

    encoder = load_encoder(args.encoder)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        base, examples = (args.base, args.examples) if args.base and args.examples else simulated(Path(folder), encoder)
        chromium = shutil.which("chromium") or "/usr/bin/chromium"
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS, timeout=WAIT_MS)
        with started(base, examples, encoder) as (url, seconds):
            rows = [visit(browser, url) for _ in range(args.visits)]
        browser.close()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"encoder {args.encoder}, {args.visits} visitors, {cores} cores, {platform.platform()}")
    print(f"API and page ready after {seconds:.1f} s\n\n{table(rows)}")
    if args.json:
        args.json.write_text(json.dumps({"ready_s": seconds, "visits": rows}, indent=1))


if __name__ == "__main__":
    main()
