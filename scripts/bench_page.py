"""How long a visitor of the page waits: for the page itself, for the neighbours, for the draft, for the rest of it.

    python scripts/bench_page.py [--base DIR --examples DIR] [--encoder NAME] [--visits 5] [--shots DIR] [--json FILE]

API and page are started as `ecgkin demo` starts them, each once, over the case base given or over 60 simulated cases;
then headless Chromium comes as a new visitor with an empty cache each time. "page" is from the call for the address
until the field for files can be used; "examples" until the demo's ECGs are drawn; the other times count from the click
that asks. The first visitor after the start comes first in the table; the others are given by median and worst.
Processor time is that of browser, page and API together, from one step to the next: on a machine that is busy with
other work it says what the seconds would be at rest, or more (what runs on two cores at once counts twice).
`--shots DIR` keeps pictures of the steps: of one visitor at 1440 px and light, of one at 1024 px and dark, and of one
at 820 px in German; these visits are not counted. Needs playwright and Debian's chromium.
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

from ecgkin.retrieval.cores import share_cores

WAIT_MS = 180_000
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
STEPS = ("page", "examples", "neighbours", "draft", "side by side", "why similar", "map")
N_CASES = 60


def simulated(folder: Path, encoder: Any) -> tuple[Path, Path]:
    """A base of simulated cases, and a folder with an ECG to ask about."""
    from ecgkin.index.ingest.pipeline import ingest_records, open_or_create
    from ecgkin.retrieval.ecg.drawing.raster import render
    from ecgkin.ui.demo.cases import simulated_gallery, simulated_query
    from ecgkin.ui.demo.serve import SMALL_PX, write_csv

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
    from ecgkin.ui.api.state import State
    from ecgkin.ui.server.app import create_app
    from ecgkin.ui.server.serving import in_thread
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


def visit(
    browser: Any, url: str, shots: Path | None = None, *, width: int = 1440, dark: bool = False
) -> dict[str, float]:
    """Seconds of each step of one visitor; pictures of the steps go to a folder."""
    took: dict[str, float] = {}
    used = processor_s()
    scheme = "dark" if dark else "light"
    context = browser.new_context(viewport={"width": width, "height": 900}, locale="en-GB", color_scheme=scheme)
    context.set_default_timeout(WAIT_MS)
    tab = context.new_page()
    begin = time.perf_counter()

    def passed(step: str, seen: Any = None) -> None:
        nonlocal used
        took[step] = time.perf_counter() - begin
        now = processor_s()
        took[f"{step} CPU"], used = now - used, now
        if shots is not None:
            settle(tab)
            if seen is not None:
                seen.scroll_into_view_if_needed()
            time.sleep(1.5)
            tab.screenshot(path=shots / f"{len(took) // 2}-{step.replace(' ', '-')}-{scheme}-{width}.png")

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
    points = tab.locator(".st-key-case-map g.mark-symbol.role-mark path")
    points.first.wait_for(state="attached")
    passed("map", points.last)
    context.close()
    return took


def german(browser: Any, url: str, shots: Path) -> None:
    """The start, and what comes of a recording, on a tablet in German."""
    context = browser.new_context(viewport={"width": 820, "height": 1180}, locale="de-DE")
    context.set_default_timeout(WAIT_MS)
    tab = context.new_page()
    tab.goto(f"{url}/?lang=de")
    tab.locator(".st-key-sample-1 img").wait_for()
    settle(tab)
    tab.screenshot(path=shots / "1-page-german-820.png")
    tab.locator(".st-key-sample-1 button").last.click()
    tab.locator(".ek-draft").wait_for()
    settle(tab)
    time.sleep(1.5)
    tab.screenshot(path=shots / "4-draft-german-820.png")
    context.close()


def processor_s() -> float:
    """Processor time of this process with the API in it, the page's and the browser's below it; NaN without /proc."""
    parents: dict[int, int] = {}
    used: dict[int, float] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(folder.name)] = int(fields[1])
        # With children that have ended.
        used[int(folder.name)] = sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")

    def mine(pid: int) -> bool:
        while pid in parents and pid != os.getpid():
            pid = parents[pid]
        return pid == os.getpid()

    return sum(seconds for pid, seconds in used.items() if mine(pid)) if parents else float("nan")


def settle(tab: Any) -> None:
    """Wait until Streamlit is done."""
    tab.locator("[data-testid=stStatusWidget]").wait_for(state="detached")
    time.sleep(0.5)


def table(rows: list[dict[str, float]]) -> str:
    """Markdown."""
    heads = ("step", "first visitor, s", "others: median, s", "worst, s", "CPU, median, s")
    lines = [f"| {' | '.join(heads)} |", f"| :--- |{' ---: |' * (len(heads) - 1)}"]
    for step in STEPS:
        first, *others = (row[step] for row in rows)
        rest = others or [first]
        used = statistics.median(row[f"{step} CPU"] for row in rows[1:] or rows)
        lines.append(f"| {step} | {first:.2f} | {statistics.median(rest):.2f} | {max(rest):.2f} | {used:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, help="case base; with --examples")
    parser.add_argument("--examples", type=Path, help="folder with ECG_1.png, .webp, .csv (`ecgkin demo` makes one)")
    parser.add_argument("--encoder", default="default")
    parser.add_argument("--visits", type=int, default=5)
    parser.add_argument("--shots", type=Path, help="folder for pictures")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    share_cores()
    from playwright.sync_api import sync_playwright

    from ecgkin.retrieval.encoders import load_encoder

    encoder = load_encoder(args.encoder)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        base, examples = (args.base, args.examples) if args.base and args.examples else simulated(Path(folder), encoder)
        chromium = shutil.which("chromium") or "/usr/bin/chromium"
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS, timeout=WAIT_MS)
        with started(base, examples, encoder) as (url, seconds):
            rows = [visit(browser, url) for _ in range(args.visits)]
            if args.shots:
                args.shots.mkdir(parents=True, exist_ok=True)
                visit(browser, url, args.shots)
                visit(browser, url, args.shots, width=1024, dark=True)
                german(browser, url, args.shots)
        browser.close()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"encoder {args.encoder}, {args.visits} visitors, {cores} cores, {platform.platform()}")
    print(f"API and page ready after {seconds:.1f} s\n\n{table(rows)}")
    if args.json:
        args.json.write_text(json.dumps({"ready_s": seconds, "visits": rows}, indent=1))


if __name__ == "__main__":
    main()
