"""`ecgkin listen`: ingest what a DICOM receiver and a watched folder take in."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ecgkin.retrieval.errors import EcgkinError, QueryError
from ecgkin.ui import console
from ecgkin.ui.cli.commands import common

if TYPE_CHECKING:
    from ecgkin.ui.listen.folder import WatchedFolder
    from ecgkin.ui.listen.receiver import Port
    from ecgkin.ui.listen.worker import Change, Worker
    from ecgkin.ui.settings import Settings

MEGABYTE = 1_000_000


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(listen)


def listen(
    base: common.Base,
    watch: Annotated[
        Path | None, typer.Option(help="Also take the files that come into this folder.", show_default=False)
    ] = None,
    dicom: Annotated[bool, typer.Option("--dicom/--no-dicom", help="Receive DICOM (C-STORE, C-ECHO).")] = True,
    ae_title: Annotated[
        str | None, typer.Option(help="Own AE title. (setting: listen_ae_title, ECGKIN)", show_default=False)
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address. (setting: listen_host, 127.0.0.1)", show_default=False)
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port; 0 takes a free one. (setting: listen_port, 11112)", show_default=False)
    ] = None,
    caller: Annotated[
        list[str] | None,
        typer.Option(help="AE title that may send; may be given again. (setting: listen_callers)", show_default="all"),
    ] = None,
    max_mb: Annotated[
        float | None, typer.Option(help="Largest object or file, MB. (setting: listen_max_mb, 256)", show_default=False)
    ] = None,
    associations: Annotated[
        int | None, typer.Option(help="At the same time. (setting: listen_associations, 10)", show_default=False)
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="TLS: own certificate, PEM.", show_default=False)] = None,
    tls_key: Annotated[Path | None, typer.Option(help="TLS: its key, PEM.", show_default="in --tls-cert")] = None,
    tls_ca: Annotated[
        Path | None, typer.Option(help="TLS: who must have signed the callers' certificates.", show_default=False)
    ] = None,
    spool: Annotated[
        Path | None, typer.Option(help="Where ECGs wait that are not in the base yet.", show_default="BASE.spool")
    ] = None,
    source: Annotated[str, typer.Option(help="Source of the cases, first part of their ids.")] = "listen",
    settle: Annotated[float, typer.Option(min=0, help="Seconds for which a file must have been left alone.")] = 2.0,
    every: Annotated[float, typer.Option(min=0.05, help="Seconds between two looks into the folder.")] = 2.0,
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove files from the folder when the spool has them.")
    ] = False,
    once: Annotated[
        bool, typer.Option("--once", help="Take what is in spool and folder now, receive nothing, stop.")
    ] = False,
    fs: Annotated[
        float | None, typer.Option(min=1e-3, help="Samples a second of recordings that do not say.", show_default=False)
    ] = None,
    deidentify: common.Deidentify = False,
    key_file: common.KeyFile = None,
    encoder: common.Encoder = None,
    device: common.Device = None,
    json: common.Json = False,
) -> None:
    """Receive DICOM and watch a folder; what comes is kept on disk, acknowledged, and ingested. Ctrl-C ends it.

    What cannot be read is set aside in the spool with the reason beside it. What lies in the spool is taken in first.
    """
    from ecgkin.retrieval.encoders import load_encoder
    from ecgkin.retrieval.graphs import expect_many
    from ecgkin.ui.listen.spool import Spool
    from ecgkin.ui.listen.worker import Worker

    settings = common.settings(
        listen_ae_title=ae_title, listen_host=host, listen_port=port, listen_callers=caller and tuple(caller),
        listen_max_mb=max_mb, listen_associations=associations, encoder=encoder, device=device,
    )  # fmt: skip
    common.service_logging(settings)
    expect_many()
    place = spool or _beside(base)
    change = _deidentifying(settings, key_file) if deidentify else None
    if key_file is not None and not deidentify:
        raise QueryError("--key-file is given without --deidentify", hint="add --deidentify")
    loaded = load_encoder(settings.encoder, device=settings.device)
    with ExitStack() as stack:
        spooled = Spool(place)
        stack.callback(spooled.close)
        worker = Worker(spooled, base, loaded, source=source, fs_hz=fs, change=change)
        stack.callback(worker.close)
        folder = None
        if watch is not None:
            from ecgkin.ui.listen.folder import WatchedFolder

            folder = WatchedFolder(
                watch, spooled, max_bytes=int(settings.listen_max_mb * MEGABYTE), settle_s=settle, every_s=every,
                remove=remove, known=_known_to(worker) if change is None else lambda path: False,
            )  # fmt: skip
        if once:
            if folder is not None:
                folder.settle()
            worker.empty()
        else:
            over = stack.enter_context(_told_to_end())
            if dicom:
                from ecgkin.ui.listen.receiver import receiving

                address = stack.enter_context(receiving(_port(settings, tls_cert, tls_key, tls_ca), spooled))
                console.out().print(f"dicom://{settings.listen_ae_title}@{address}", markup=False, soft_wrap=True)
            elif folder is None:
                raise QueryError("there is no door", hint="leave --no-dicom out, or name a folder: --watch DIR")
            waiting = len(spooled.waiting())
            console.say(f"{len(worker.base)} cases, {waiting} waiting in {place}; Ctrl-C ends it")
            _serve(worker, folder, over)
        _report(worker, len(worker.base), json)


@contextmanager
def _told_to_end() -> Iterator[threading.Event]:
    """An event that is set when the process is told to end, by Ctrl-C or by a service manager."""
    over = threading.Event()
    before = {number: signal.signal(number, lambda *_: over.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield over
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _serve(worker: Worker, folder: WatchedFolder | None, over: threading.Event) -> None:
    """Work in threads until the process is told to end; then finish the batch in hand."""
    failed: list[BaseException] = []

    def guarded(run: Callable[[], None]) -> Callable[[], None]:
        def body() -> None:
            try:
                run()
            except BaseException as error:  # told from the main thread
                failed.append(error)
            finally:
                over.set()

        return body

    parts: list[Worker | WatchedFolder] = [worker, *([folder] if folder is not None else [])]
    threads = [threading.Thread(target=guarded(part.run), name=type(part).__name__, daemon=True) for part in parts]
    for thread in threads:
        thread.start()
    over.wait()
    for part in parts:
        part.stop()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def _report(worker: Worker, n_cases: int, json: bool) -> None:
    counts, waiting = worker.counts, len(worker.spool.waiting())
    if json:
        console.emit({**vars(counts), "waiting": waiting, "n_cases": n_cases})
        return
    what = f"{counts.added} added, {counts.updated} updated, {counts.known} known already"
    rest = f"{len(counts.set_aside)} set aside, {waiting} waiting; {n_cases} cases"
    console.out().print(f"{what}, {rest}", markup=False, soft_wrap=True)


def _beside(base: Path) -> Path:
    """The spool beside a base in a folder.

    Raises:
        QueryError: The base is on a server.
    """
    from ecgkin.index import is_milvus

    if is_milvus(base):
        raise QueryError(f"{base} has no place beside it", hint="name a folder for what waits: --spool DIR")
    return base.with_name(f"{base.name}.spool")


def _port(settings: Settings, certificate: Path | None, key: Path | None, authority: Path | None) -> Port:
    from ecgkin.ui.listen.receiver import Port, tls_context

    if certificate is None and (key is not None or authority is not None):
        raise QueryError("TLS needs a certificate", hint="name it with --tls-cert")
    return Port(
        host=settings.listen_host,
        port=settings.listen_port,
        ae_title=settings.listen_ae_title,
        callers=settings.listen_callers,
        max_bytes=int(settings.listen_max_mb * MEGABYTE),
        associations=settings.listen_associations,
        tls=None if certificate is None else tls_context(certificate, key, authority),
    )


def _deidentifying(settings: Settings, key_file: Path | None) -> Change:
    from ecgkin.index.ingest.deidentify import deidentified, read_key

    key = read_key(key_file or settings.home / "deidentify.key")
    return lambda items: deidentified(items, key)


def _known_to(worker: Worker) -> Callable[[Path], bool]:
    """Whether the base holds the content of a file already, under whatever id."""
    from ecgkin.index.sources.items import file_content

    def known(path: Path) -> bool:
        try:
            return any(worker.base.ids_by_content([file_content(path)]).values())
        except EcgkinError:  # the spool keeps it, and the ingest says what is wrong
            return False

    return known
