"""`ecgkin evaluate retrieval` and `ecgkin train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ecgkin.retrieval.errors import QueryError
from ecgkin.ui import console
from ecgkin.ui.cli.commands import common


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Measure.")
    group.command("retrieval")(retrieval)
    group.command("mini")(mini)
    group.command("ecgbench")(ecgbench)
    group.command("run")(run)
    group.command("zero-shot")(zero_shot)
    group.command("regen")(regen)
    app.add_typer(group, name="evaluate")
    app.command()(train)


def retrieval(
    ptbxl: Annotated[Path | None, typer.Option(help="PTB-XL folder. (setting: ptbxl)", show_default=False)] = None,
    encoder: common.Encoder = None,
    device: common.Device = None,
    query_folds: Annotated[str, typer.Option(help="Folds that ask: 9, or 9 10.")] = "9",
    gallery_folds: Annotated[str, typer.Option(help="Folds that are searched: 1-8, or 1 2 3.")] = "1-8",
    layouts: Annotated[
        str | None,
        typer.Option(
            help="Query layouts besides 3x4+1R, with commas: 6x2,12x1,cabrera,50mm/s,photo.", show_default="all"
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(help="At most this many gallery records, a quarter as many queries.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for report.md, report.json, run files, calibration.", show_default=False)
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder where embeddings are kept between runs.", show_default=False)
    ] = None,
    fit: Annotated[bool, typer.Option("--fit", help="Fit a calibration on these queries.")] = False,
    witness: common.Witness = None,
    untrained: Annotated[
        list[str] | None, typer.Option(help="Encoder for a row of an untrained network.", show_default=False)
    ] = None,
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples over patients.")] = 1000,
    json: common.Json = False,
) -> None:
    """Measure retrieval on PTB-XL: neighbour vote, same-label hits, ECG to report and back, photos, words."""
    settings = common.settings(ptbxl=ptbxl, encoder=encoder, witness=witness, device=device)
    root = common.ptbxl_root(settings)
    from ecgkin.generation.research.retrieval.galleries import ALL_LAYOUTS
    from ecgkin.generation.research.retrieval.protocol import evaluate_retrieval
    from ecgkin.retrieval.encoders import load_encoder
    from ecgkin.retrieval.search.search import shipped_calibration

    chosen = load_encoder(settings.encoder, device=settings.device)
    with console.progress("evaluate") as bar:
        report = evaluate_retrieval(
            root,
            chosen,
            query_folds=common.numbers(query_folds, "--query-folds"),
            gallery_folds=common.numbers(gallery_folds, "--gallery-folds"),
            layouts=ALL_LAYOUTS if layouts is None else [name for name in layouts.split(",") if name],
            limit=limit,
            out_dir=out,
            cache_dir=cache,
            calibration=shipped_calibration(chosen),
            untrained=[load_encoder(name, device=settings.device) for name in untrained or ()],
            fit=fit,
            witness=common.witness_of(settings),
            resamples=resamples,
            progress=lambda what, done, total: bar(done, total, what),
        )
    console.emit_report(report, json)


def mini(
    model: Annotated[
        Path | None, typer.Option(help="Folder of a mini generator.", show_default="the shipped one")
    ] = None,
    without: Annotated[
        Path | None, typer.Option(help="Folder of one that was trained without cases.", show_default=False)
    ] = None,
    ptbxl: Annotated[Path | None, typer.Option(help="PTB-XL folder. (setting: ptbxl)", show_default=False)] = None,
    encoder: common.Encoder = None,
    device: common.Device = None,
    arms: Annotated[str | None, typer.Option(help="With semicolons.", show_default="all")] = None,
    query_folds: Annotated[str, typer.Option(help="Folds that ask.")] = "9",
    gallery_folds: Annotated[str, typer.Option(help="Folds that are searched.")] = "1-8",
    limit: Annotated[int | None, typer.Option(help="At most this many queries.", show_default=False)] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for report.md, report.json, run files.", show_default=False)
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder where embeddings and tokens are kept.", show_default=False)
    ] = None,
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples over patients.", min=1)] = 1000,
    json: common.Json = False,
) -> None:
    """Measure retrieval against generation against both, with the generator that was trained here."""
    settings = common.settings(ptbxl=ptbxl, encoder=encoder, device=device)
    root = common.ptbxl_root(settings)
    from ecgkin.generation.backends.mini.backend import MiniGenerator
    from ecgkin.generation.research.mini.evaluate import evaluate_mini
    from ecgkin.generation.research.scope import Scope
    from ecgkin.retrieval.encoders import load_encoder
    from ecgkin.retrieval.search.search import shipped_calibration

    chosen: Any = load_encoder(settings.encoder, device=settings.device)
    with console.progress("evaluate mini") as bar:
        report = evaluate_mini(
            root,
            chosen,
            MiniGenerator(model, chosen),
            Scope(
                query_folds=common.numbers(query_folds, "--query-folds"),
                gallery_folds=common.numbers(gallery_folds, "--gallery-folds"),
                limit=limit,
                resamples=resamples,
                cache_dir=cache,
                progress=lambda what, done, total: bar(done, total, what),
            ),
            arms=None if arms is None else [name.strip() for name in arms.split(";") if name.strip()],
            without=MiniGenerator(without, chosen) if without is not None else None,
            calibration=shipped_calibration(chosen),
            out_dir=out,
        )
    console.emit_report(report, json)


def ecgbench(
    file: Annotated[
        Path,
        typer.Argument(help="Parquet or JSON of the set; with --rebuild the folder to make it in.", show_default=False),
    ],
    split: Annotated[str, typer.Option(help="ptb-test, ptb-test-report, cpsc-test, code15-test, ...")] = "ptb-test",
    model: Annotated[str, typer.Option(help="consensus, mini, pulse:DIR, or an address.")] = "consensus",
    base: Annotated[
        Path | None, typer.Option(help="Case base; without one a model answers alone.", show_default=False)
    ] = None,
    k: Annotated[int, typer.Option(help="Cases that a model is shown.", min=0)] = 3,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="First make the set from PTB-XL.")] = False,
    ptbxl: Annotated[Path | None, typer.Option(help="PTB-XL folder. (setting: ptbxl)", show_default=False)] = None,
    folds: Annotated[str, typer.Option(help="Folds of a rebuilt set.")] = "9",
    limit: Annotated[
        int | None, typer.Option(help="At most this many rows of a rebuilt set.", show_default=False)
    ] = None,
    images: Annotated[Path | None, typer.Option(help="Folder of the pictures of a JSON.", show_default=False)] = None,
    out: Annotated[Path, typer.Option(help="Folder of the answer files.")] = Path("answers"),
    answers: Annotated[Path | None, typer.Option(help="Only score this answer file.", show_default=False)] = None,
    judge: Annotated[
        str | None, typer.Option(help="Model that judges reports and the Arena.", show_default=False)
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="ECGKIN_API_KEY", help="For servers.", show_default=False)
    ] = None,
) -> None:
    """Answer and score a set of ECGBench, by the published rules and by corrected ones."""
    from ecgkin.generation.research.ecgbench import bench
    from ecgkin.generation.research.ecgbench.score import score_split

    settings = common.settings(ptbxl=ptbxl)
    if rebuild:
        from ecgkin.generation.research.ecgbench.rebuild import rebuild as made
        from ecgkin.retrieval.ecg.formats.ptbxl import PtbXl

        if settings.ptbxl is None:
            raise QueryError("there is no PTB-XL folder to rebuild from", hint="pass --ptbxl DIR, or set ECGKIN_PTBXL")
        with console.progress("ecgbench") as bar:
            file = made(
                PtbXl(settings.ptbxl, fs_hz=None), file, split=split, folds=common.numbers(folds, "--folds"),
                limit=limit, progress=lambda what, done, total: bar(done, total, what),
            )  # fmt: skip
    rows = bench.load_split(file, images)
    if answers is None:
        from ecgkin.generation.consensus.consensus import MODEL as CONSENSUS
        from ecgkin.generation.drafter import Drafter, open_model

        with console.progress("ecgbench") as bar:
            if base is not None:
                with Drafter.open(base, model, api_key=api_key) as drafter:
                    answerer = bench.drafter_answerer(drafter, k, as_question=model.startswith(("pulse:", "http")))
                    answers = bench.answer_split(
                        split, rows, answerer, out, model, lambda what, done, total: bar(done, total, what)
                    )
            else:
                if model == CONSENSUS:
                    raise QueryError("the consensus answers from a case base", hint="pass --base DIR")
                backend = open_model(model, api_key=api_key)
                answers = bench.answer_split(
                    split, rows, bench.backend_answerer(backend), out, model,
                    lambda what, done, total: bar(done, total, what),
                )  # fmt: skip
    known = bench.read_answers(answers)
    scores: dict[str, Any] = score_split(split, rows, known) if split != bench.ARENA else {"split": split}
    if judge is not None:
        from ecgkin.generation.consensus.consensus import MODEL as CONSENSUS
        from ecgkin.generation.drafter import open_model
        from ecgkin.generation.research.ecgbench.judge import judge as judged

        if judge == CONSENSUS:
            raise QueryError("the consensus judges nothing", hint="pass --judge http(s)://HOST/v1#NAME")
        referee = open_model(judge, api_key=api_key)
        scores["judge"] = judged("arena" if split == bench.ARENA else "report", rows, known, referee)
    console.emit(scores)


def run(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file of the comparison.", show_default=False)],
    ptbxl: Annotated[Path | None, typer.Option(help="PTB-XL folder. (setting: ptbxl)", show_default=False)] = None,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE in place of the file's; several may be given.")
    ] = None,
    json: common.Json = False,
) -> None:
    """Run a whole comparison: tasks, arms, data sets; one report with figures. Goes on where it was stopped."""
    settings = common.settings(ptbxl=ptbxl)
    from ecgkin.generation.research.study.settings import load_study
    from ecgkin.generation.research.study.study import run_study

    study = load_study(config, **_changes(change))
    with console.progress("evaluate run") as bar:
        report = run_study(
            study, settings.ptbxl, lambda what, done, total: bar(done, total, what), f"ecgkin evaluate run {config}"
        )
    if json:
        console.emit(report)
    else:
        text = (Path(study.out) / "report.md").read_text(encoding="utf-8")
        console.out().print(text, markup=False, soft_wrap=True)


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file of the stage.", show_default=False)],
    ptbxl: Annotated[Path | None, typer.Option(help="PTB-XL folder. (setting: ptbxl)", show_default=False)] = None,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE in place of the file's; several may be given.")
    ] = None,
    json: common.Json = False,
) -> None:
    """Train an encoder or the mini generator, or go on where a run was stopped.

    Several GPUs (encoder stages): torchrun -m ecgkin train CONFIG.
    """
    if not config.is_file():
        raise QueryError(f"{config} is not there (expected the YAML file of a training stage)")
    overrides = _changes(change)
    settings = common.settings(ptbxl=ptbxl)
    from ecgkin.generation.research.study.trainings import read_training, train_stage

    stage = read_training(config, **overrides)
    with console.progress("train") as bar:
        figures = train_stage(stage, settings.ptbxl, lambda what, done, total: bar(done, total, what))
    if json:
        console.emit(figures)
    else:
        rows = [(name, f"{value:.4f}" if isinstance(value, float) else value) for name, value in figures.items()]
        console.table(f"{config}, validation", ("figure", "value"), rows, right=("value",))


def _changes(given: list[str] | None) -> dict[str, Any]:
    """NAME=VALUE pairs, values read as YAML."""
    import yaml

    out: dict[str, Any] = {}
    for part in given or ():
        name, equals, value = part.partition("=")
        if not equals or not name.isidentifier():
            raise QueryError(f"--set is {part!r} (expected NAME=VALUE)")
        out[name] = yaml.safe_load(value)
    return out


def zero_shot(
    ptbxl: Annotated[Path | None, typer.Option(help="PTB-XL folder. (setting: ptbxl)", show_default=False)] = None,
    encoder: Annotated[
        list[str] | None,
        typer.Option(
            help="Encoder by name; merl, d-beta, ecgfounder, more without a place keep a row.", show_default="all"
        ),
    ] = None,
    device: common.Device = None,
    query_folds: Annotated[str, typer.Option(help="Folds that ask; published figures are of 10.")] = "9",
    gallery_folds: Annotated[str, typer.Option(help="Folds that are searched; empty for no retrieval table.")] = "1-8",
    split: Annotated[
        list[str] | None,
        typer.Option(
            help="cpsc2018=FILE@FOLDER or csn=FILE@FOLDER: split file, and where its recordings lie.",
            show_default=False,
        ),
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="Your copy of CKEPE_prompt.json or context_llm.json.", show_default="own words")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="At most this many ECGs of each set.", show_default=False)] = None,
    gallery_limit: Annotated[int | None, typer.Option(help="At most this many cases.", show_default=False)] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for zero_shot.md and .json.", show_default=False)] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder where embeddings are kept between runs.", show_default=False)
    ] = None,
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples over patients.", min=1)] = 1000,
    json: common.Json = False,
) -> None:
    """Zero-shot and retrieval tables of encoders with a text tower; what is not at hand keeps its row."""
    settings = common.settings(ptbxl=ptbxl, device=device)
    root = common.ptbxl_root(settings)
    from ecgkin.generation.research.retrieval.zero_shot_table import ALL, read_prompts, read_split, zero_shot_table
    from ecgkin.generation.research.scope import Scope

    sets = []
    for one in split or ():
        column, _, rest = one.partition("=")
        file, _, folder = rest.partition("@")
        if column not in ("cpsc2018", "csn") or not folder:
            raise QueryError(f"--split is {one!r} (expected cpsc2018=FILE@FOLDER or csn=FILE@FOLDER)")
        sets.append(read_split(column, Path(file), Path(folder)))
    with console.progress("evaluate zero-shot") as bar:
        found = zero_shot_table(
            root,
            encoder or ALL,
            Scope(
                query_folds=common.numbers(query_folds, "--query-folds"),
                gallery_folds=common.numbers(gallery_folds, "--gallery-folds") if gallery_folds else (),
                limit=limit,
                gallery_limit=gallery_limit,
                resamples=resamples,
                cache_dir=cache,
                progress=lambda what, done, total: bar(done, total, what),
            ),
            splits=sets,
            prompts=read_prompts(prompts) if prompts is not None else None,
            device=settings.device,
        )
    if out is not None:
        _write(out, "zero_shot", found)
    console.emit_report(found, json)


def regen(
    ptbxl: Annotated[Path | None, typer.Option(help="PTB-XL folder. (setting: ptbxl)", show_default=False)] = None,
    encoder: common.Encoder = None,
    device: common.Device = None,
    model: Annotated[str, typer.Option(help="none, mini, mini:DIR, pulse:DIR, or http(s)://HOST/v1#NAME.")] = "none",
    ks: Annotated[str, typer.Option("--ks", help="How many reports a model sees, with commas.")] = "1,3,5,10",
    query_folds: Annotated[str, typer.Option(help="Folds that ask.")] = "9",
    gallery_folds: Annotated[str, typer.Option(help="Folds that are searched.")] = "1-8",
    limit: Annotated[int | None, typer.Option(help="At most this many queries.", show_default=False)] = None,
    gallery_limit: Annotated[int | None, typer.Option(help="At most this many cases.", show_default=False)] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for regen.md, regen.json and the answers so far.", show_default=False)
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder where embeddings are kept between runs.", show_default=False)
    ] = None,
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples over patients.", min=1)] = 1000,
    json: common.Json = False,
) -> None:
    """ECG-ReGen: reports and answers from the nearest reports, beside what they must beat."""
    settings = common.settings(ptbxl=ptbxl, encoder=encoder, device=device)
    root = common.ptbxl_root(settings)
    from ecgkin.generation.drafter import open_model
    from ecgkin.generation.research.drafts.regen import evaluate_regen
    from ecgkin.generation.research.scope import Scope
    from ecgkin.retrieval.encoders import load_encoder

    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    with console.progress("evaluate regen") as bar:
        found = evaluate_regen(
            root,
            load_encoder(settings.encoder, device=settings.device),
            Scope(
                query_folds=common.numbers(query_folds, "--query-folds"),
                gallery_folds=common.numbers(gallery_folds, "--gallery-folds"),
                limit=limit,
                gallery_limit=gallery_limit,
                resamples=resamples,
                cache_dir=cache,
                progress=lambda what, done, total: bar(done, total, what),
            ),
            backend=None if model == "none" else open_model(model, device=settings.device),
            ks=common.numbers(ks, "--ks"),
            answers=None if out is None else out / "answers.jsonl",
        )
    if out is not None:
        _write(out, "regen", found)
    console.emit_report(found, json)


def _write(folder: Path, name: str, found: console.Report) -> None:
    """The report as Markdown and as JSON."""
    import json

    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(found.as_markdown(), encoding="utf-8")
    (folder / f"{name}.json").write_text(json.dumps(console.plain(found.as_dict()), indent=1), encoding="utf-8")
