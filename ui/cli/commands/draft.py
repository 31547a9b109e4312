"""`ecgkin draft` and `ecgkin evaluate drafts`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ecgkin.retrieval.errors import QueryError
from ecgkin.ui import console
from ecgkin.ui.cli.commands import common, query_options

if TYPE_CHECKING:
    from ecgkin.generation.backends.pulse.counter import PulseCounter
    from ecgkin.generation.prompt.context import Context
    from ecgkin.generation.types.draft import Draft


def register(app: typer.Typer) -> None:
    """Add `draft`, and `drafts` to the group `evaluate` (which must be there already)."""
    app.command()(draft)
    for group in app.registered_groups:
        if group.name == "evaluate" and group.typer_instance is not None:
            group.typer_instance.command("drafts")(drafts)


def draft(
    base: common.Base,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Recording or picture of an ECG.", show_default=False)],
    model: common.Model = "consensus",
    k: Annotated[int, typer.Option("-k", help="Cases that are shown to a model and listed, 0 to 20.")] = 3,
    question: Annotated[
        str | None, typer.Option("--question", "-q", help='"is there atrial fibrillation?"; without: the report.')
    ] = None,
    lang: Annotated[Literal["en", "de"], typer.Option(help="Language of the draft.")] = "en",
    where: Annotated[str | None, typer.Option("--where", "-w", help="Filter on the cases.", show_default=False)] = None,
    exclude_patient: Annotated[str | None, typer.Option(help="Leave out the cases of this patient.")] = None,
    previous: common.Previous = None,
    kind: query_options.As = "auto",
    start: query_options.Start = None,
    page: query_options.Page = None,
    fs: query_options.Fs = None,
    units: query_options.InUnits = None,
    max_new_tokens: Annotated[int, typer.Option(help="Longest answer of a model.", min=1)] = 512,
    show_prompt: Annotated[
        bool,
        typer.Option("--show-prompt", help="Print what PULSE would be asked, tokens counted, and ask nobody."),
    ] = False,
    stream: Annotated[bool, typer.Option("--stream", help="Print a model's words as they come.")] = False,
    encoder: common.Encoder = None,
    witness: common.Witness = None,
    device: common.Device = None,
    api_key: common.Key = None,
    json: common.Json = False,
) -> None:
    """Draft an interpretation in which every statement says what carries it. Preliminary; for a clinician to check."""
    from ecgkin.generation.drafter import Drafter
    from ecgkin.ui.cli.commands.search import open_search, show_testimony

    settings = common.settings(encoder=encoder, witness=witness, device=device)
    query = query_options.query_of(file, kind, fs, units, start, page)
    with open_search(base, settings, encoder) as engine:
        if show_prompt:
            with Drafter(engine, max_new_tokens=max_new_tokens) as drafter:
                counter = prompt_counter(model)
                context, drawn = drafter.prompt(
                    query, question, k, lang, where=where, exclude_patient=exclude_patient, counter=counter
                )
            show_context(context, counter, drawn.size, max_new_tokens, json=json)
            return
        with Drafter(engine, model, api_key=api_key, max_new_tokens=max_new_tokens) as drafter:
            if stream and not json:
                pieces = drafter.stream(
                    query, question, k, lang, where=where, exclude_patient=exclude_patient, previous=previous
                )
                for piece in pieces:
                    typer.echo(console.safe(piece), nl=False)
                typer.echo("")
                if pieces.result is None:
                    raise QueryError("the draft ended before it was complete")
                drafted = pieces.result
            else:
                drafted = drafter.draft(
                    query, question, k, lang, where=where, exclude_patient=exclude_patient, previous=previous
                )
        done = drafted.draft
        if json:
            from ecgkin.ui.api.answers import DraftOut

            console.emit(DraftOut.of(done).model_dump(mode="json"))
        else:
            show_draft(done, text=not stream)
            show_testimony(drafted.search)


def show_draft(done: Draft, *, text: bool = True) -> None:
    """Print a draft and its evidence; warnings go to stderr."""
    if text:
        console.out().print(console.safe(done.text), markup=False, soft_wrap=True)
    said = done.text.casefold()
    for flag in done.flags:  # a model's text does not name them
        if flag.severity != "note" and flag.title.casefold() not in said:
            console.out().print(console.safe(flag.text), markup=False, soft_wrap=True)
    if done.evidence:
        rows = [(e.number, f"{e.score:.3f}", e.case_id, " ".join(e.statements)) for e in done.evidence]
        console.table("", ("#", "score", "case", "statements"), rows, right=("#", "score"))
    console.out().print(done.disclaimer, markup=False, soft_wrap=True)
    for warning in done.warnings:
        console.say(f"note: {warning}")


def prompt_counter(model: str) -> PulseCounter:
    """Who counts the tokens of a prompt: the checkpoint that `model` names, PULSE-7B as published otherwise."""
    from ecgkin.generation.backends.pulse.counter import PulseCounter

    kind, _, rest = model.partition(":")
    folder, served, _ = rest.partition("@http")
    if kind != "pulse" or not folder:
        return PulseCounter.published()
    return PulseCounter.of_converted(folder)[0] if served else PulseCounter.of_folder(folder)


def show_context(context: Context, counter: PulseCounter, page: tuple[int, int], room: int, *, json: bool) -> None:
    """Print a prompt and what it takes in the model's context."""
    from ecgkin.generation.backends.pulse.images import image_tokens

    picture = image_tokens(*page, counter.rule)
    counts = {
        "counted_by": counter.name,
        "exact": counter.exact,
        "page_px": list(page),
        "text_tokens": context.n_tokens - picture,
        "image_tokens": picture,
        "prompt_tokens": context.n_tokens,
        "max_new_tokens": room,
        "context_length": counter.context_length,
        "left": counter.context_length - room - context.n_tokens,
        "cases": [item.case_id for item in context.evidence],
        "cases_dropped": context.dropped,
    }
    if json:
        console.emit({"prompt_name": context.prompt_name, "prompt": context.prompt, **counts})
        return
    console.out().print(console.safe(context.prompt), markup=False, soft_wrap=True)
    how = "" if counter.exact else " at most (two bytes a token)"
    left = counts["left"]
    for line in (
        f"prompt {context.prompt_name}, counted by the rules of {counter.name}",
        f"text {counts['text_tokens']} tokens{how}; page {page[0]}x{page[1]} px: {picture} visual tokens",
        f"together {context.n_tokens} of {counter.context_length}; {room} for the answer leave {left}",
    ):
        console.out().print(console.safe(line), markup=False, soft_wrap=True)


def drafts(
    ptbxl: Annotated[Path | None, typer.Option(help="PTB-XL folder. (setting: ptbxl)", show_default=False)] = None,
    encoder: common.Encoder = None,
    device: common.Device = None,
    model: common.Model = "consensus",
    arms: Annotated[
        str | None,
        typer.Option(
            help="With commas: vote, head, vote+head, consensus of cases, consensus, consensus+signal, recording, "
            "random, nearest, model, model k=3, model random k=3.",
            show_default="all without a model, and with --model those of a model",
        ),
    ] = None,
    query_folds: Annotated[str, typer.Option(help="Folds that ask.")] = "9",
    gallery_folds: Annotated[str, typer.Option(help="Folds that are searched.")] = "1-8",
    limit: Annotated[int | None, typer.Option(help="At most this many queries.", show_default=False)] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for report.md, report.json and run files.", show_default=False)
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder where embeddings are kept.", show_default=False)] = None,
    fit: Annotated[
        Path | None,
        typer.Option(
            help="First fit head, weights and thresholds on the gallery folds, and write them into this folder.",
            show_default=False,
        ),
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(help="Longest answer of a model.", min=1)] = 256,
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples over patients.", min=1)] = 1000,
    bert: Annotated[
        Path | None, typer.Option(help="Folder of a BERT model: BERTScore is measured too.", show_default=False)
    ] = None,
    api_key: common.Key = None,
    json: common.Json = False,
) -> None:
    """Measure drafts on PTB-XL: vote, consensus, random neighbours, nearest report, a model with and without cases."""
    settings = common.settings(ptbxl=ptbxl, encoder=encoder, device=device)
    root = common.ptbxl_root(settings)
    from ecgkin.generation.consensus.consensus import MODEL as CONSENSUS
    from ecgkin.generation.drafter import open_model
    from ecgkin.generation.research.drafts.arms import BUILT_IN, model_arms
    from ecgkin.generation.research.drafts.evaluate import evaluate_drafts
    from ecgkin.retrieval.encoders import load_encoder
    from ecgkin.retrieval.search.search import shipped_calibration

    chosen = load_encoder(settings.encoder, device=settings.device)
    calibration = shipped_calibration(chosen)
    backend = None if model == CONSENSUS else open_model(model, api_key=api_key)
    wanted = [name.strip() for name in arms.split(",")] if arms else [*BUILT_IN, *(model_arms() if backend else ())]
    thresholds = head = None
    if fit is not None:
        from ecgkin.generation.research.fit.thresholds import fit_from_ptbxl

        with console.progress("fit drafts") as bar:
            fitted = fit_from_ptbxl(
                root, chosen, folds=common.numbers(gallery_folds, "--gallery-folds"), calibration=calibration,
                cache_dir=cache, progress=lambda what, done, total: bar(done, total, what),
            )  # fmt: skip
        fitted.save(fit)
        thresholds, head, calibration = fitted.thresholds, fitted.head, fitted.calibration or calibration
        console.say(f"written to {fit}; cross-validated macro-F1: {dict(thresholds.f1)}")
    with console.progress("evaluate drafts") as bar:
        report = evaluate_drafts(
            root,
            chosen,
            query_folds=common.numbers(query_folds, "--query-folds"),
            gallery_folds=common.numbers(gallery_folds, "--gallery-folds"),
            arms=wanted,
            backend=backend,
            calibration=calibration,
            thresholds=thresholds,
            head=head,
            limit=limit,
            out_dir=out,
            cache_dir=cache,
            max_new_tokens=max_new_tokens,
            resamples=resamples,
            bert=bert,
            progress=lambda what, done, total: bar(done, total, what),
        )
    console.emit_report(report, json)
