"""`ecgkin listen`: DICOM and files come in, whatever breaks on the way."""

from __future__ import annotations

import gc
import io
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ecgkin.index import open_base
from ecgkin.index.case import Case
from ecgkin.index.ingest.pipeline import open_or_create
from ecgkin.index.transfer.export import write_wfdb
from ecgkin.index.transfer.export_dicom import write_dicom
from ecgkin.retrieval.ecg.drawing.raster import render
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.ecg.simulation.simulate import simulate
from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.retrieval.errors import CaseBaseError, QueryError
from ecgkin.ui.cli.main import main
from ecgkin.ui.listen import receiver
from ecgkin.ui.listen import spool as spools
from ecgkin.ui.listen.folder import WatchedFolder
from ecgkin.ui.listen.receiver import Port, receiving
from ecgkin.ui.listen.spool import Spool
from ecgkin.ui.listen.worker import MOST_ATTEMPTS, Worker

SECRET = "Mustermann"


def made(code: str = "NORM", seed: int = 3) -> EcgRecord:
    return simulate([code], np.random.default_rng(seed), fs_hz=250.0).record


def dicom(folder: Path, number: int, code: str = "NORM") -> Path:
    """A 12-lead ECG object of its own, with a patient's name in it."""
    import pydicom

    folder.mkdir(exist_ok=True)
    path = write_dicom(folder, Case(f"made/{number}", f"P{number}", report="Sinus rhythm."), made(code, number))
    data = pydicom.dcmread(path)
    data.PatientName = f"{SECRET}^{number}"
    data.save_as(path)
    return path


def instance_of(path: Path) -> str:
    import pydicom

    return str(pydicom.dcmread(path).SOPInstanceUID)


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    opened = Spool(tmp_path / "spool")
    yield opened
    opened.close()


@pytest.fixture
def worker(spool: Spool, tmp_path: Path) -> Iterator[Worker]:
    worked = Worker(spool, tmp_path / "base", HashingEncoder(), source="ward")
    yield worked
    worked.close()


def sent(
    address: str, *files: Path, called: str = "ECGKIN", calling: str = "CART", syntax: str = ""
) -> list[int | str]:
    """Statuses of C-STORE by pynetdicom, or what became of the association."""
    import pydicom
    from pydicom.uid import ImplicitVRLittleEndian
    from pynetdicom import AE

    host, _, port = address.rpartition(":")
    entity = AE(ae_title=calling)
    data = [pydicom.dcmread(file) for file in files]
    for kind in {one.SOPClassUID for one in data}:
        entity.add_requested_context(kind, syntax or [data[0].file_meta.TransferSyntaxUID, ImplicitVRLittleEndian])
    association = entity.associate(host, int(port), ae_title=called)
    line = association.dul.socket and association.dul.socket.socket  # left open where the other side dies
    try:
        if not association.is_established:
            return ["rejected" if association.is_rejected else "aborted"]
        out: list[int | str] = []
        for one in data:
            status = association.send_c_store(one)
            out.append(status.Status if status else "aborted")
        return out
    finally:
        if association.is_established:
            association.release()
        if line is not None:
            line.close()


# --- the spool


def test_spool_keeps_once_and_survives(tmp_path: Path) -> None:
    place = tmp_path / "s"
    first = Spool(place)
    key, is_new = first.put({"a.xml": b"one"}, door="folder", shown="x/a.xml")
    assert is_new and first.arrived.is_set()
    assert first.put({"b.xml": b"one"}, door="folder", shown="b.xml") == (key, False)
    assert first.put({"a.xml": b"two"}, door="folder", shown="x/a.xml")[1]
    assert (place.stat().st_mode & 0o777) == 0o700
    assert all((f.stat().st_mode & 0o077) == 0 for f in place.rglob("*") if f.is_file() and f.name != "lock")
    with pytest.raises(CaseBaseError, match="somebody else"):
        Spool(place)
    first.close()
    (place / "arriving" / "half").mkdir()
    (place / "arriving" / "half" / "a.xml").write_bytes(b"on")
    again = Spool(place)
    entries = again.waiting()
    assert [again.path(e).read_bytes() for e in entries] == [b"one", b"two"]
    assert not list((place / "arriving").iterdir())
    aside = again.set_aside(entries[0], "because")
    assert (aside / "reason.txt").read_text() == "because\n" and (aside / "ecg" / "a.xml").read_bytes() == b"one"
    assert again.put({"a.xml": b"one"}, door="folder", shown="a.xml") == (key, False)
    (place / "waiting" / "broken").mkdir()
    assert len(again.waiting()) == 1 and (place / "set_aside" / "broken" / "reason.txt").is_file()
    again.close()


def test_what_is_done_leaves_in_one_step(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is killed while it removes an entry leaves nothing that looks like a broken one."""
    spool.put({"a.xml": b"one"}, door="folder", shown="a.xml")
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    spool.done(spool.waiting()[0])
    assert not list(spool.waiting_folder.iterdir()) and not list(spool.aside_folder.iterdir())


def test_spool_refuses_when_the_disk_is_nearly_full(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spools, "LEAST_FREE", 1 << 62)
    with pytest.raises(OSError, match="No space left"):
        spool.put({"a": b"x"}, door="folder", shown="a")
    assert spool.waiting() == [] and not list((spool.folder / "arriving").iterdir())


def test_put_forces_to_the_disk_before_it_returns(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    forced: list[str] = []
    real = os.fsync

    def counted(handle: int) -> None:
        forced.append(os.readlink(f"/proc/self/fd/{handle}"))
        real(handle)

    monkeypatch.setattr(os, "fsync", counted)
    key, _ = spool.put({"a.dcm": b"x", "b.dat": b"y"}, door="dicom", shown="1")
    names = [Path(name).name for name in forced]
    assert {"a.dcm", "b.dat", "entry.json", "ecg", "waiting"} <= set(names)
    assert names[-1] == "waiting" and (spool.waiting_folder / key).is_dir()


# --- the worker


def test_worker_takes_in_and_sets_aside(worker: Worker, spool: Spool, tmp_path: Path) -> None:
    good = dicom(tmp_path / "d", 1)
    spool.put({"object.dcm": good.read_bytes()}, door="dicom", shown="u", sop_instance=instance_of(good))
    bad, _ = spool.put({"x.xml": b"<nothing/>"}, door="folder", shown="ward 3/x.xml")
    worker.empty()
    assert spool.waiting() == [] and worker.counts.added == 1 and worker.counts.set_aside == [bad]
    assert [case.case_id for case in worker.base.cases()] == [f"ward/{instance_of(good)}"]
    assert worker.base.record(f"ward/{instance_of(good)}") is not None
    assert (spool.aside_folder / bad / "reason.txt").read_text().strip()


def test_same_instance_changed_is_one_case_with_the_last_state(worker: Worker, spool: Spool, tmp_path: Path) -> None:
    import pydicom

    path = dicom(tmp_path / "d", 1)
    instance = instance_of(path)
    spool.put({"object.dcm": path.read_bytes()}, door="dicom", shown="u", sop_instance=instance)
    data = pydicom.dcmread(path)
    data.PatientID = "corrected"
    data.save_as(path)
    spool.put({"object.dcm": path.read_bytes()}, door="dicom", shown="u", sop_instance=instance)
    assert len(spool.waiting()) == 2
    worker.empty()
    assert [case.patient_id for case in worker.base.cases()] == ["corrected"]
    assert (worker.counts.added, worker.counts.updated, worker.counts.set_aside) == (1, 1, [])


def test_worker_waits_for_a_base_in_use(worker: Worker, spool: Spool, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("ecgkin.index.folder.base.LOCK_WAIT_S", 0.05)
    monkeypatch.setattr("ecgkin.ui.listen.worker._FIRST_PAUSE_S", 0.05)
    path = dicom(tmp_path / "d", 1)
    spool.put({"object.dcm": path.read_bytes()}, door="dicom", shown="u", sop_instance=instance_of(path))
    with (
        open_base(tmp_path / "base", HashingEncoder()) as other,
        other.exclusive(),
        pytest.raises(CaseBaseError, match="somebody else"),
    ):
        worker.empty()
    assert len(spool.waiting()) == 1 and spool.attempts(spool.waiting()[0]) == 0
    thread = threading.Thread(target=worker.run)
    thread.start()
    until(lambda: not spool.waiting())
    worker.stop()
    thread.join()
    assert len(worker.base) == 1


def test_what_ends_the_process_goes_alone_and_not_for_ever(worker: Worker, spool: Spool, tmp_path: Path) -> None:
    keys = []
    for number in (1, 2, 3):
        path = dicom(tmp_path / "d", number)
        keys.append(spool.put({"o.dcm": path.read_bytes()}, door="dicom", shown="u", sop_instance=instance_of(path))[0])
    entries = spool.waiting()
    spool.begin(entries[:2])
    assert worker._next(entries) == entries[:1]
    spool.begin(entries[:1])
    spool.begin(entries[:1])
    assert spool.attempts(entries[0]) == MOST_ATTEMPTS
    worker.empty()
    assert worker.counts.set_aside == keys[:1] and worker.counts.added == 2
    assert f"ended {MOST_ATTEMPTS} times" in (spool.aside_folder / keys[0] / "reason.txt").read_text()


def test_worker_follows_a_switched_base(spool: Spool, tmp_path: Path) -> None:
    from ecgkin.index.transfer.switching import switch

    for name in ("blue", "green"):
        open_or_create(tmp_path / name, HashingEncoder()).close()
    switch(tmp_path / "now", tmp_path / "blue")
    worker = Worker(spool, tmp_path / "now", HashingEncoder(), source="ward")
    for number, name in enumerate(("blue", "green")):
        switch(tmp_path / "now", tmp_path / name)
        path = dicom(tmp_path / "d", number)
        spool.put({"o.dcm": path.read_bytes()}, door="dicom", shown="u", sop_instance=instance_of(path))
        worker.empty()
    worker.close()
    for name in ("blue", "green"):
        with open_base(tmp_path / name, HashingEncoder()) as opened:
            assert len(opened) == 1


# --- the folder


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def watched(inbox: Path, spool: Spool, clock: Clock, **more: Any) -> WatchedFolder:
    return WatchedFolder(inbox, spool, max_bytes=10_000_000, settle_s=2.0, clock=clock, **more)


def test_folder_takes_what_has_come_to_rest(inbox: Path, spool: Spool) -> None:
    clock = Clock()
    watcher = watched(inbox, spool, clock)
    file = inbox / "deep" / "e.xml"
    file.parent.mkdir()
    file.write_bytes(b"<ecg")
    for name in (".hidden.xml", "e.xml.part", "e.tmp"):
        (inbox / name).write_bytes(b"x")
    assert watcher.look() == 1
    clock.now += 1.5
    file.write_bytes(b"<ecg>")  # still being written
    assert watcher.look() == 1
    clock.now += 1.5
    assert watcher.look() == 1 and spool.waiting() == []
    clock.now += 1.0
    assert watcher.look() == 0
    (entry,) = spool.waiting()
    assert entry.shown == "deep/e.xml" and spool.path(entry).read_bytes() == b"<ecg>" and file.exists()
    clock.now += 100
    assert watcher.look() == 0 and len(spool.waiting()) == 1
    # The next patient's ECG under the same name is another case, not a new state of the first.
    file.write_bytes(b"<ecg>2")
    assert watcher.look() == 1
    clock.now += 3
    assert watcher.look() == 0 and len(spool.waiting()) == 2


def test_folder_keeps_wfdb_together(inbox: Path, spool: Spool, tmp_path: Path, worker: Worker) -> None:
    clock = Clock()
    watcher = watched(inbox, spool, clock, remove=True)
    (tmp_path / "w").mkdir()
    header = write_wfdb(tmp_path / "w", Case("a/1", report="x"), made())
    samples = header.with_suffix(".dat")
    shutil.copy(header, inbox)
    clock.now += 10
    assert watcher.look() == 1
    clock.now += 10
    assert watcher.look() == 1, "a header without its samples waits"
    shutil.copy(samples, inbox)
    assert watcher.look() == 1
    clock.now += 3
    assert watcher.look() == 0
    (entry,) = spool.waiting()
    assert sorted(p.name for p in spool.path(entry).parent.iterdir()) == sorted([header.name, samples.name])
    assert list(inbox.iterdir()) == []
    worker.empty()
    assert worker.counts.added == 1 and worker.counts.set_aside == []


def test_folder_leaves_large_files_and_refuses_nested_places(inbox: Path, spool: Spool, caplog: Any) -> None:
    clock = Clock()
    watcher = WatchedFolder(inbox, spool, max_bytes=10, settle_s=0, clock=clock, remove=True)
    (inbox / f"{SECRET}.xml").write_bytes(b"x" * 11)
    with caplog.at_level(logging.DEBUG, "ecgkin"):
        assert watcher.look() == 0
    assert spool.waiting() == [] and (inbox / f"{SECRET}.xml").exists()
    assert "left where it is" in caplog.text and SECRET not in caplog.text
    with pytest.raises(QueryError, match="lie in each other"):
        watched(spool.folder.parent, spool, clock)
    with pytest.raises(QueryError, match="no folder"):
        watched(inbox / "none", spool, clock)


# --- DICOM


def test_store_echo_and_the_same_twice(spool: Spool, worker: Worker, tmp_path: Path) -> None:
    from pynetdicom import AE
    from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

    one, two = dicom(tmp_path / "d", 1), dicom(tmp_path / "d", 2, "CLBBB")
    with receiving(Port(port=0), spool) as address:
        entity = AE()
        entity.add_requested_context(Verification)
        host, _, port = address.rpartition(":")
        association = entity.associate(host, int(port), ae_title="ECGKIN")
        assert association.send_c_echo().Status == 0
        association.release()
        assert sent(address, one, two) == [0, 0]
        assert sent(address, one) == [0]
        assert len(spool.waiting()) == 2
        worker.empty()
        assert sent(address, one) == [0]  # again after it was taken in
        assert sent(address, one, syntax="1.2.840.10008.1.2") == [0]  # and in another encoding
        worker.empty()
    assert {case.case_id for case in worker.base.cases()} == {f"ward/{instance_of(p)}" for p in (one, two)}
    assert worker.counts.added == 2 and worker.counts.set_aside == []


def test_both_doors_make_one_case(spool: Spool, worker: Worker, inbox: Path, tmp_path: Path) -> None:
    path = dicom(tmp_path / "d", 1)
    with receiving(Port(port=0), spool) as address:
        assert sent(address, path) == [0]
    worker.empty()
    shutil.copy(path, inbox)
    clock = Clock()
    watcher = WatchedFolder(inbox, spool, max_bytes=10_000_000, settle_s=0, clock=clock)
    watcher.look()
    worker.empty()
    assert len(worker.base) == 1 and worker.counts.set_aside == []


def test_who_may_call(spool: Spool, tmp_path: Path) -> None:
    path = dicom(tmp_path / "d", 1)
    with receiving(Port(port=0, callers=["CART"]), spool) as address:
        # On a busy machine a caller may see the end of the connection before the refusal that was sent.
        assert sent(address, path, calling="OTHER") in (["rejected"], ["aborted"])
        assert sent(address, path, called="ELSE") in (["rejected"], ["aborted"])
        assert not spool.waiting()
        assert sent(address, path) == [0]
    with pytest.raises(QueryError, match="no callers are named"), receiving(Port(host="0.0.0.0", port=0), spool):
        pass
    with pytest.raises(QueryError, match="AE title"), receiving(Port(port=0, ae_title="x" * 17), spool):
        pass


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key."""
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    files = folder / f"{name}.pem", folder / f"{name}.key"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_tls_with_certificates_of_both_sides(spool: Spool, tmp_path: Path) -> None:
    import ssl

    from pynetdicom import AE
    from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

    own, cart = certificate(tmp_path, "own"), certificate(tmp_path, "cart")
    port = Port(port=0, tls=receiver.tls_context(own[0], own[1], cart[0]))
    with receiving(port, spool) as address:
        host, _, number = address.rpartition(":")

        def echoes(with_certificate: bool, tls: bool = True) -> bool:
            context = ssl.create_default_context(cafile=own[0]) if tls else None
            if context is not None and with_certificate:
                context.load_cert_chain(*cart)
            entity = AE()
            entity.acse_timeout = entity.connection_timeout = 5
            entity.add_requested_context(Verification)
            words: dict[str, Any] = {"tls_args": (context, host)} if context is not None else {}
            association = entity.associate(host, int(number), ae_title="ECGKIN", **words)
            try:
                return bool(association.is_established and association.send_c_echo().Status == 0)
            except AttributeError:  # no status: the line was cut
                return False
            finally:
                if association.is_established:
                    association.release()
                line = association.dul.socket
                if line is not None and line.socket is not None:
                    line.socket.close()

        with socket.create_connection((host, int(number))):  # says nothing
            assert echoes(True)
        assert not echoes(False), "a caller without a certificate"
        assert not echoes(False, tls=False), "a caller in clear text"
        assert echoes(True), "and the receiver lives on"
    gc.collect()


def test_too_large_ends_the_association(spool: Spool, tmp_path: Path) -> None:
    path = dicom(tmp_path / "d", 1)
    with receiving(Port(port=0, max_bytes=20_000), spool) as address:
        assert path.stat().st_size > 40_000
        assert sent(address, path) == ["aborted"]
        assert spool.waiting() == []


def test_too_many_associations(spool: Spool, tmp_path: Path) -> None:
    from pynetdicom import AE
    from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

    with receiving(Port(port=0, associations=1), spool) as address:
        host, _, port = address.rpartition(":")
        entity = AE()
        entity.add_requested_context(Verification)
        first = entity.associate(host, int(port), ae_title="ECGKIN")
        second = entity.associate(host, int(port), ae_title="ECGKIN")
        assert first.is_established and second.is_rejected
        first.release()


def test_a_long_unit_is_not_read(spool: Spool) -> None:
    with receiving(Port(port=0), spool) as address:
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=10) as line:
            line.sendall(b"\x01\x00\xff\xff\xff\xff" + b"x" * 1000)
            line.settimeout(10)
            answer = b""
            try:
                while part := line.recv(1000):
                    answer += part
            except ConnectionResetError:
                pass
        assert answer == b"" or answer[0] in (3, 7)  # closed, rejected or aborted


class Request:
    AffectedSOPClassUID = "1.2.840.10008.5.1.4.1.1.9.1.1"
    AffectedSOPInstanceUID = "1.2.3"


class Event:
    """What `receiver.store` needs of an event."""

    request = Request()

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.context = type("Context", (), {"transfer_syntax": "1.2.840.10008.1.2.1"})
        self.assoc = type("A", (), {"requestor": type("R", (), {"ae_title": "CART"})})

    def encoded_dataset(self, include_meta: bool) -> bytes:
        return self.data


def _event(data: bytes) -> Any:
    return Event(data)


def dataset(instance: str) -> bytes:
    from pydicom import Dataset
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_dataset

    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID = Request.AffectedSOPClassUID, instance
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, False
    write_dataset(stream, data)
    return stream.getvalue()


def _stored(data: bytes) -> Any:
    return Event(data)


def test_status_of_what_is_not_kept(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert receiver.store(_event(b"\xff" * 50), spool) in (receiver.NOT_UNDERSTOOD, receiver.OTHER_CLASS)
    assert receiver.store(_event(dataset("1.2.4")), spool) == receiver.OTHER_CLASS
    monkeypatch.setattr(spools, "LEAST_FREE", 1 << 62)
    assert receiver.store(_event(dataset("1.2.3")), spool) == receiver.NO_RESOURCES
    monkeypatch.setattr(spools, "LEAST_FREE", 0)
    assert spool.waiting() == []
    told = receiver.store(_event(dataset("1.2.3")), spool)
    assert (told.Status, told.ErrorComment) == (receiver.NO_ECG, "no waveform data: set aside")  # type: ignore[union-attr]
    assert [entry.sender for entry in spool.waiting()] == ["CART"]


def wrapped(document: bytes, mime: str = "application/pdf") -> Any:
    """An Encapsulated PDF object, as a report leaves this house."""
    from ecgkin.ui.report.accepted import AcceptedReport, Line
    from ecgkin.ui.report.dicom import wrapped_pdf

    signed = AcceptedReport(
        title="ECG report", language="en", lines=[Line(text=f"{len(document)} bytes.")], signed_by="A^B",
        drafted_by="x", rejected=0, signed_at=datetime(2026, 1, 2, tzinfo=UTC),
    )  # fmt: skip
    made = wrapped_pdf(signed, document)
    made.MIMETypeOfEncapsulatedDocument = mime
    return made


def a_report() -> bytes:
    from ecgkin.ui.web.panels.report import report_pdf

    return report_pdf(
        "ECG report\nSinus rhythm.\n" + "A long line of words that says nothing of traces. " * 40, "t", "n"
    )


def a_page(tmp_path: Path) -> bytes:
    path = tmp_path / "page.pdf"
    render(made()).save(path)
    return path.read_bytes()


def test_a_sender_is_told_that_an_object_holds_no_ecg(spool: Spool, worker: Worker, tmp_path: Path) -> None:
    """A report as text, what is no PDF, and what could not be read before: kept, with a warning, and set aside."""
    from pydicom import dcmread

    text, page, none = (tmp_path / f"{name}.dcm" for name in ("text", "page", "none"))
    for path, made_of in ((text, wrapped(a_report())), (page, wrapped(a_page(tmp_path)))):
        made_of.save_as(path, enforce_file_format=True)
    empty = dcmread(dicom(tmp_path / "d", 3))
    empty.WaveformSequence[0].NumberOfWaveformSamples = 0
    empty.save_as(none, enforce_file_format=True)
    flat = dcmread(dicom(tmp_path / "d", 4))
    flat.WaveformSequence[0].WaveformData = flat.WaveformSequence[0].WaveformData[:100]
    flat.save_as(tmp_path / "flat.dcm", enforce_file_format=True)
    with receiving(Port(port=0), spool) as address:
        assert sent(address, text, page, none) == [receiver.NO_ECG, 0, receiver.NO_ECG]
        assert sent(address, tmp_path / "flat.dcm") == [0]
        assert len(spool.waiting()) == 4, "all of it is kept"
        worker.empty()
        assert sent(address, tmp_path / "flat.dcm") == [receiver.NO_ECG], "now it is known"
        assert sent(address, text) == [receiver.NO_ECG]
    assert len(worker.counts.set_aside) == 3 and worker.counts.added <= 1


def test_what_can_be_told_of_a_document(tmp_path: Path) -> None:
    from ecgkin.ui.listen.first_look import may_show_traces, no_ecg

    assert no_ecg(wrapped(a_page(tmp_path))) == ""
    assert no_ecg(wrapped(a_report())) == "the document shows no traces: set aside"
    assert no_ecg(wrapped(a_report(), "text/xml")) == no_ecg(wrapped(b"<html>")) == "no PDF document: set aside"
    for reason in (no_ecg(wrapped(b"")), no_ecg(wrapped(a_report()))):
        assert 0 < len(reason) <= 64
    scan = tmp_path / "scan.pdf"
    Image.new("RGB", (40, 30), "white").save(scan)
    assert may_show_traces(scan.read_bytes())
    # What cannot be told is given the benefit of the doubt.
    assert may_show_traces(b"%PDF-1.4 1 0 obj <</Filter /LZWDecode>> stream\nxx\nendstream")
    assert may_show_traces(b"%PDF-1.4 1 0 obj <</Filter /FlateDecode>> stream\nbroken\nendstream")
    assert may_show_traces(a_report() + b"trailer << /Encrypt 9 0 R >>")
    bomb = zlib.compress(b"0 " * 20_000_000)
    assert may_show_traces(b"%PDF-1.4 1 0 obj <</Filter /FlateDecode>> stream\n" + bomb + b"\nendstream")


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=400), st.lists(st.sampled_from([b"<<", b">>", b"stream\n", b"endstream", b"/Filter", b"BI "]))
)
def test_any_bytes_can_be_looked_at(some: bytes, words: list[bytes]) -> None:
    from ecgkin.ui.listen.first_look import may_show_traces

    assert may_show_traces(some.join(words)) in (True, False)


# --- the command, killed


def until(holds: Any, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


class Listener:
    """`ecgkin listen` in a process of its own."""

    def __init__(self, base: Path, *words: str, python: str = "") -> None:
        code = f"{python}\nfrom ecgkin.ui.cli.main import main\nmain()"
        self.log = io.StringIO()
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, "listen", str(base), "--port", "0", "--encoder", "hashing", *words],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        self._reader = threading.Thread(target=self._drain, daemon=True)
        self._reader.start()
        assert self.process.stdout is not None
        first = self.process.stdout.readline()
        assert first.startswith("dicom://"), first + self.log.getvalue()
        self.address = first.strip().rpartition("@")[2]

    def _drain(self) -> None:
        for line in self.process.stderr or ():
            self.log.write(line)

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        status = self.process.wait(60)
        self._reader.join()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        return status


@pytest.mark.slow
def test_killed_between_acknowledgement_and_ingest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = tmp_path / "base"
    files = [dicom(tmp_path / "d", number) for number in range(6)]
    hang = "import time, ecgkin.ui.listen.worker as w\nw.Worker._take_in = lambda *a: time.sleep(1000)"
    stuck = Listener(base, python=hang)
    assert sent(stuck.address, *files[:3]) == [0, 0, 0]
    assert stuck.end(signal.SIGKILL) == -signal.SIGKILL
    assert len(list((tmp_path / "base.spool" / "waiting").iterdir())) == 3
    alive = Listener(base)
    assert sent(alive.address, *files[2:]) == [0] * 4
    until(lambda: not list((tmp_path / "base.spool" / "waiting").iterdir()))
    assert alive.end(signal.SIGTERM) == 0, alive.log.getvalue()
    with open_base(base, HashingEncoder()) as opened:
        assert {case.case_id for case in opened.cases()} == {f"listen/{instance_of(file)}" for file in files}
    lines = [json.loads(line) for line in alive.log.getvalue().splitlines() if line.startswith("{")]
    assert any("added" in line["message"] for line in lines)
    assert SECRET not in alive.log.getvalue() + stuck.log.getvalue()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_killed_in_mid_transfer(tmp_path: Path) -> None:
    """The process is killed while objects stream in; whatever was acknowledged is there, nothing half is."""
    base = tmp_path / "base"
    files = [dicom(tmp_path / "d", number) for number in range(40)]
    acknowledged: list[str] = []
    listener = Listener(base)

    def send() -> None:
        for file in files:
            try:
                if sent(listener.address, file) != [0]:
                    return
            except Exception:  # the other side is gone
                return
            acknowledged.append(instance_of(file))

    thread = threading.Thread(target=send)
    thread.start()
    until(lambda: len(acknowledged) >= 5)
    listener.end(signal.SIGKILL)
    thread.join()
    assert 5 <= len(acknowledged) < len(files)
    again = Listener(base)
    until(lambda: not list((tmp_path / "base.spool" / "waiting").iterdir()))
    assert again.end(signal.SIGINT) == 0
    with open_base(base, HashingEncoder()) as opened:
        held = {case.case_id.partition("/")[2] for case in opened.cases()}
    assert set(acknowledged) <= held and len(held) <= len(acknowledged) + 1
    assert not list((tmp_path / "base.spool" / "set_aside").iterdir())
    gc.collect()  # pynetdicom leaves the socket of a caller open whose other side has died


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("storescu") is None, reason="dcmtk's storescu is not installed")
def test_storescu_of_dcmtk(tmp_path: Path) -> None:
    files = [dicom(tmp_path / "d", number) for number in range(2)]
    listener = Listener(tmp_path / "base", "--caller", "DCMTK")
    host, _, port = listener.address.rpartition(":")
    for tool, more in (("echoscu", []), ("storescu", [str(file) for file in files])):
        if shutil.which(tool):
            call = [tool, "-aet", "DCMTK", "-aec", "ECGKIN", host, port, *more]
            done = subprocess.run(call, capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, done.stderr
    refused = subprocess.run(
        ["storescu", "-aet", "X", "-aec", "ECGKIN", host, port, str(files[0])], capture_output=True
    )
    assert refused.returncode != 0
    until(lambda: not list((tmp_path / "base.spool" / "waiting").iterdir()))
    assert listener.end(signal.SIGTERM) == 0
    with open_base(tmp_path / "base", HashingEncoder()) as opened:
        assert len(opened) == 2


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    return int(stopped.value.code or 0)


def test_once_takes_folder_and_spool(tmp_path: Path, inbox: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = tmp_path / "base"
    path = dicom(tmp_path / "d", 1)
    shutil.copy(path, inbox / "a.dcm")
    (inbox / "b.txt").write_text("no ECG")
    left = Spool(tmp_path / "base.spool")
    other = dicom(tmp_path / "d", 2)
    left.put({"o.dcm": other.read_bytes()}, door="dicom", shown="u", sop_instance=instance_of(other))
    left.close()
    words = ("listen", base, "--watch", inbox, "--once", "--settle", 0, "--encoder", "hashing", "--json")
    assert run(*words) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["added"], len(told["set_aside"]), told["waiting"], told["n_cases"]) == (2, 1, 0, 2)
    assert run(*words) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["added"], told["set_aside"], told["n_cases"]) == (0, [], 2)


def test_once_without_identity(tmp_path: Path, inbox: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(dicom(tmp_path / "d", 1), inbox / f"{SECRET}.dcm")
    words = ("listen", tmp_path / "base", "--watch", inbox, "--once", "--settle", 0, "--encoder", "hashing",
             "--deidentify", "--key-file", tmp_path / "key")  # fmt: skip
    assert run(*words) == 0 and run(*words) == 0
    with open_base(tmp_path / "base", HashingEncoder()) as opened:
        (case,) = opened.cases()
    assert case.patient_id not in (None, "P1") and SECRET not in json.dumps(case.as_dict())
    assert "1 cases" in capsys.readouterr().out


def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = tmp_path / "base"
    for words, said in (
        (("--no-dicom",), "there is no door"),
        (("--host", "0.0.0.0"), "no callers are named"),
        (("--tls-key", "x"), "TLS needs a certificate"),
        (("--tls-cert", "none.pem"), "TLS cannot be set up"),
        (("--key-file", "x"), "--key-file is given without"),
        (("--watch", tmp_path / "none"), "no folder to watch"),
        (("--ae-title", "a" * 17), "listen_ae_title"),
    ):
        assert run("listen", base, "--encoder", "hashing", "--port", 0, *words) == 2, words
        assert said in capsys.readouterr().err


def test_a_missing_library_names_its_extra(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynetdicom", None)
    assert run("listen", tmp_path / "base", "--encoder", "hashing", "--port", 0) == 1
    told = capsys.readouterr().err
    assert "pynetdicom, which is not installed" in told and "ecgkin[hospital]" in told
