"""The tasks of `ecgkin evaluate run` that write: drafts, the mini generator, ECGBench."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ecgkin.generation.study_shared import Study, Values

_ADDED_AT_ONCE = 2_000


def drafts(study: Study, options: Values) -> Values:
    """Drafts without a model, as `ecgkin evaluate drafts`."""
    from ecgkin.generation.draft_arms import BUILT_IN
    from ecgkin.generation.evaluate_drafts import evaluate_drafts

    report = evaluate_drafts(
        study.embedder.data.root, study.embedder.encoder,
        query_folds=study.settings.query_folds, gallery_folds=study.settings.gallery_folds,
        arms=options.get("arms", BUILT_IN), calibration=study.calibration, limit=options.get("limit"),
        out_dir=study.out / "drafts", cache_dir=study.embedder.cache, resamples=study.settings.resamples,
        progress=study.embedder.progress,
    )  # fmt: skip
    return {"markdown": report.as_markdown(), **report.as_dict()}


def mini(study: Study, options: Values) -> Values:
    """Retrieval, generation, both: the generator that was trained here, and the one that was trained without cases."""
    from ecgkin.generation.mini.backend import MiniGenerator
    from ecgkin.generation.mini.evaluate import evaluate_mini

    encoder: Any = study.embedder.encoder
    model, without = (Path(options[name]) if options.get(name) else None for name in ("model", "without"))
    report = evaluate_mini(
        study.embedder.data.root, encoder, MiniGenerator(model, encoder),
        without=MiniGenerator(without, encoder) if without else None,
        query_folds=study.settings.query_folds, gallery_folds=study.settings.gallery_folds,
        arms=options.get("arms"), calibration=study.calibration, limit=options.get("limit"),
        out_dir=study.out / "mini", cache_dir=study.embedder.cache, resamples=study.settings.resamples,
        progress=study.embedder.progress,
    )  # fmt: skip
    return {"markdown": report.as_markdown(), **report.as_dict()}


def ecgbench(study: Study, options: Values) -> Values:
    """ECGBench: sets at hand, and the PTB-XL parts rebuilt, answered by drafters over a case base of the gallery."""
    from ecgkin.generation import ecgbench as bench
    from ecgkin.generation.drafter import Drafter
    from ecgkin.generation.ecgbench_rebuild import rebuild
    from ecgkin.generation.ecgbench_score import score_split

    files = {name: Path(path) for name, path in dict(options.get("files", {})).items()}
    for split in options.get("rebuild", ()):
        files[split] = rebuild(
            study.embedder.data, study.out / "ecgbench", split=split, folds=study.settings.query_folds,
            limit=options.get("limit"), progress=study.embedder.progress,
        )  # fmt: skip
    base = Path(options["base"]) if options.get("base") else gallery_base(study)
    out: Values = {}
    for model in options.get("models", ["consensus"]):
        with Drafter.open(base, model) as drafter:
            answerer = bench.drafter_answerer(drafter, int(options.get("k", 3)))
            for split, path in files.items():
                rows = bench.load_split(path)
                # Answers are kept by row: those of another encoder must not be taken for this one's.
                folder = study.out / "ecgbench" / study.embedder.encoder.fingerprint[:12]
                answers = bench.answer_split(split, rows, answerer, folder, model, study.embedder.progress)
                out[f"{model}, {split}"] = score_split(split, rows, bench.read_answers(answers))
    return out


def gallery_base(study: Study) -> Path:
    """A case base of the run's gallery, made once from vectors that are kept anyway."""
    from ecgkin.index.casebase import CaseBase
    from ecgkin.index.sources import ptbxl_items

    encoder, rows = study.embedder.encoder, study.gallery
    folder = study.out / "base" / f"{encoder.fingerprint[:12]}-{len(rows)}"
    if (folder / "done").is_file():
        return folder / "cases"
    import shutil

    shutil.rmtree(folder, ignore_errors=True)  # what a run left behind that was stopped while it filled the base
    vectors = study.embedder.gallery(rows)
    items = ptbxl_items(study.embedder.data.root, study.settings.gallery_folds)
    case_of = {item.case.case_id: item.case for item in items}
    cases = [case_of[f"ptbxl/{row.ecg_id}"] for row in rows]
    folder.mkdir(parents=True)
    with CaseBase.create(folder / "cases", encoder.name, encoder.fingerprint, encoder.dim) as base:
        for start in range(0, len(cases), _ADDED_AT_ONCE):
            base.add(cases[start : start + _ADDED_AT_ONCE], vectors[start : start + _ADDED_AT_ONCE])
    (folder / "done").touch()
    return folder / "cases"
