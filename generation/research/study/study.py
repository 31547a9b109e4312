"""`ecgkin evaluate run CONFIG`: tasks, arms and data sets of one YAML file to one report with figures."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ecgkin import __version__
from ecgkin.generation.backends.mini.backend import SHIPPED
from ecgkin.generation.backends.mini.model import weights_fingerprint
from ecgkin.generation.research.retrieval.arm_weights import trained_fingerprint
from ecgkin.generation.research.retrieval.galleries import Embedder
from ecgkin.generation.research.retrieval.report import plain_values
from ecgkin.generation.research.study.report.small import as_small
from ecgkin.generation.research.study.report.tables import as_markdown
from ecgkin.generation.research.study.settings import TASKS, WORDLESS, StudySettings
from ecgkin.generation.research.study.shared import Study, some_rows
from ecgkin.generation.research.study.tasks import RUNNERS
from ecgkin.generation.research.study.trainings import plan, train_missing
from ecgkin.retrieval.ecg.formats.ptbxl import PtbXl
from ecgkin.retrieval.errors import QueryError, RecordError

_LOG = logging.getLogger(__name__)
Progress = Callable[[str, int, int], None]
_VERSION = 2  # raised when a task gives other values than before, so that kept parts are made anew


def run_study(
    settings: StudySettings, ptbxl: Path | None = None, progress: Progress | None = None, command: str = ""
) -> dict[str, Any]:
    """Train what is missing, run the tasks that have no result yet; write report.md, study.md, run files, figures.

    Args:
        settings: All of it.
        ptbxl: PTB-XL folder; None takes that of the settings, then ECGKIN_PTBXL.
        progress: Called with (what, done, total).
        command: Stands above the tables of study.md.

    Returns:
        What report.json holds.

    Raises:
        QueryError: There is no data folder, or a training or a task cannot be run as asked.
        RecordError: The folder holds none of the folds.
    """
    from ecgkin.retrieval.encoders import load_encoder
    from ecgkin.retrieval.search.search import shipped_calibration

    root = ptbxl or Path(settings.ptbxl or os.environ.get("ECGKIN_PTBXL", ""))
    if str(root) in ("", "."):
        raise QueryError("there is no PTB-XL folder to measure on", hint="pass --ptbxl DIR, or set ECGKIN_PTBXL")
    out = Path(settings.out)
    trained = train_missing(plan(settings.train), root, progress)
    data = PtbXl(root, fs_hz=None)
    queries, gallery = (
        some_rows(data.select(folds), settings.limit // share if settings.limit else 0)
        for folds, share in ((settings.query_folds, 4), (settings.gallery_folds, 1))
    )
    if not queries or not gallery:
        raise RecordError(f"{root} holds {len(queries)} records of the query folds and {len(gallery)} of the gallery")
    encoder = load_encoder(settings.encoder, device=settings.device)
    embedder = Embedder(data, encoder, Path(settings.cache) if settings.cache else out / "cache", progress)
    study = Study(settings, embedder, queries, gallery, shipped_calibration(encoder), out)
    (out / "parts").mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {}
    report: dict[str, Any] = {}
    tasks = [name for name in TASKS if name in settings.tasks]
    for task in tasks:
        path = out / "parts" / f"{task}.json"
        seen = getattr(encoder, "image_fingerprint", encoder.fingerprint) if task in WORDLESS else encoder.fingerprint
        key = f"v{_VERSION} {settings.key(task)} {seen} {len(queries)} {len(gallery)}{_weights(settings, task)}"
        stored = json.loads(path.read_text()) if path.is_file() else {}
        if stored.get("key") != key:
            began = time.perf_counter()
            values = plain_values(RUNNERS[task](study, settings.tasks[task]))
            stored = {"key": key, "seconds": round(time.perf_counter() - began, 1), "values": values}
            partial = path.with_suffix(".partial")
            partial.write_text(json.dumps(stored), encoding="utf-8")
            partial.replace(path)
            _LOG.info("task %s seconds=%.1f", task, stored["seconds"])
        results[task] = {"seconds": stored["seconds"], **stored["values"]}
        # After every task: a run that is stopped, or whose next task lacks something, leaves a report of what it has.
        report = {"about": _about(settings, study), "trained": trained, "tasks": results}
        _write(report, out, settings.figures and task == tasks[-1], command)
    return report


def _weights(settings: StudySettings, task: str) -> str:
    """Which weights a task looks at besides the encoder's: an arm that was trained anew is measured anew."""
    options = settings.tasks[task]
    arms = options.get("arms", settings.arms) if task in ("retrieval", "part", "aligned") else ()
    found = [trained_fingerprint(arm) for arm in arms]
    if task == "mini" or (task == "ecgbench" and "mini" in options.get("models", ())):
        folders = [Path(options.get("model") or SHIPPED), *(Path(w) for w in [options.get("without")] if w)]
        found += [weights_fingerprint(folder) for folder in folders]
    return "".join(f" {one}" for one in found if one)


def _write(report: dict[str, Any], out: Path, figures: bool, command: str) -> None:
    (out / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    drawn: list[str] = []
    if figures:
        from ecgkin.generation.research.study.report.figures import draw_figures

        drawn = [path.name for path in draw_figures(report["tasks"], out / "figures")]
    (out / "report.md").write_text(as_markdown(report, drawn), encoding="utf-8")
    (out / "study.md").write_text(as_small(report, drawn, command), encoding="utf-8")


def _about(settings: StudySettings, study: Study) -> dict[str, Any]:
    return {
        "data": f"PTB-XL, table of {study.embedder.data.n_listed} records (version 1.0.3 has 21799)",
        "queries": f"{len(study.queries)} of folds {sorted({r.fold for r in study.queries})}, "
        f"{len({r.patient_id for r in study.queries})} patients",
        "gallery": f"{len(study.gallery)} of folds {sorted({r.fold for r in study.gallery})}",
        "encoder": f"{study.embedder.encoder.name} {study.embedder.encoder.fingerprint}",
        "vote": "chosen on these queries for every arm"
        if {r.fold for r in study.queries} == {9}
        else "fixed beforehand",
        "intervals": f"95 %, {settings.resamples} bootstrap resamples over patients, the same for all arms",
        "ecgkin": __version__,
    }
