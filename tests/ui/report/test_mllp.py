"""HL7 v2 over MLLP, sent to a receiver made with hl7's own server classes, which behaves well and badly."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from ecgkin.retrieval.errors import QueryError
from ecgkin.ui.cli.main import main
from ecgkin.ui.report.accepted import AcceptedReport, Line, Patient, Study
from ecgkin.ui.report.fhir import DeliveryError
from ecgkin.ui.report.hl7v2 import oru
from ecgkin.ui.report.mllp import send

hl7 = pytest.importorskip("hl7")
# What becomes of one message: the answer's bytes, None for a connection that is closed without one.
Behaviour = Callable[[Any], bytes | None]


@pytest.fixture
def report() -> AcceptedReport:
    return AcceptedReport(
        title="ECG", language="en", lines=[Line(text="Sinus rhythm.")], values={"rate_bpm": 71.6},
        signed_by="Curie^Marie", organization="Hôpital", signed_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        drafted_by="consensus", rejected=0, study=Study(accession_number="ACC1"),
        patient=Patient(patient_id="P|17", name="Müller^Anna", birth_date=date(1960, 1, 2), sex="F"),
    )  # fmt: skip


@contextmanager
def receiver(*behaviours: Behaviour, context: ssl.SSLContext | None = None) -> Iterator[tuple[int, list[Any]]]:
    """Its port, and the messages that came; connection number n meets behaviour number n, later ones the last."""
    from hl7.mllp import start_hl7_server

    came: list[Any] = []
    ready = threading.Event()
    known: dict[str, Any] = {}

    async def met(reader: Any, writer: Any) -> None:
        try:
            message = await reader.readmessage()
            came.append(message)
            answer = behaviours[min(len(came), len(behaviours)) - 1](message)
            if answer is not None:
                writer.write(answer)
                await writer.drain()
                await reader.read()
        finally:
            writer.close()

    async def serve() -> None:
        known.update(loop=asyncio.get_running_loop(), stop=asyncio.Event())
        server = await start_hl7_server(met, "127.0.0.1", 0, encoding="utf-8", ssl=context)
        known["port"] = server.sockets[0].getsockname()[1]
        ready.set()
        await known["stop"].wait()
        server.close()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(30)
    try:
        yield known["port"], came
    finally:
        known["loop"].call_soon_threadsafe(known["stop"].set)
        thread.join()


def framed(message: Any) -> bytes:
    return b"\x0b" + str(message).encode() + b"\x1c\r"


def taken(message: Any) -> bytes:
    return framed(message.create_ack("AA"))


def test_a_report_arrives_and_is_acknowledged(report: AcceptedReport) -> None:
    """Every character of it, once; what is acknowledged is its control id."""
    message = oru(report, to="KIS", facility="Ward 3")
    with receiver(taken) as (port, came):
        control = send(f"mllp://127.0.0.1:{port}", message)
    assert [str(one) for one in came] == [message]
    assert control == str(came[0].segment("MSH")(10)) == report.key[:20]
    assert str(came[0].segment("PID")(5)) == "Müller^Anna" and str(came[0].segment("MSH")(5)) == "KIS"


def test_a_connection_that_breaks_is_tried_again(report: AcceptedReport) -> None:
    """The same message with the same control id, so that the receiver can tell."""
    with receiver(lambda _: None, taken) as (port, came):
        control = send(f"mllp://127.0.0.1:{port}", oru(report), pause_s=0.01)
    assert len(came) == 2 and {str(one.segment("MSH")(10)) for one in came} == {control}
    with receiver(lambda _: None) as (port, came):
        with pytest.raises(DeliveryError, match="3 tries: the connection was closed") as lost:
            send(f"mllp://127.0.0.1:{port}", oru(report), pause_s=0.01)
        assert len(came) == 3 and "may have arrived" in lost.value.hint
    with pytest.raises(DeliveryError, match="did not acknowledge"):  # nobody listens there any more
        send(f"mllp://127.0.0.1:{port}", oru(report), pause_s=0.01)


def test_a_receiver_that_says_nothing_is_not_waited_for_without_end(report: AcceptedReport) -> None:
    with receiver(lambda _: b"") as (port, came):
        with pytest.raises(DeliveryError, match=r"no acknowledgement within 0\.3 s"):
            send(f"mllp://127.0.0.1:{port}", oru(report), timeout_s=0.3, pause_s=0.01)
        assert len(came) == 3


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda m: framed(m.create_ack("AE")), "refused the report: AE"),
        (lambda m: framed(m.create_ack("AR")), "refused the report: AR"),
        (lambda m: framed(f"{m.create_ack('AE')}ERR||||E|||| unknown\x1b[2J patient\r"), "AE, unknown.*patient"),
        (lambda m: framed(str(m.create_ack("AA")).replace(str(m.segment("MSH")(10)), "other")), "acknowledged another"),
        (lambda m: framed("MSH|^~\\&|a|b|c|d|20260101||ACK|1|P|2.5.1\r"), "no MSA segment"),
        (lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n\x1c\r", "something else than an acknowledgement"),
        (lambda _: framed("hello"), "something else than an acknowledgement"),
        (lambda _: b"\x0b" + b"x" * 200_000 + b"\x1c\r", "something else than an acknowledgement"),
    ],
)  # fmt: skip
def test_a_refusal_is_told_and_not_repeated(report: AcceptedReport, answer: Behaviour, said: str) -> None:
    with receiver(answer) as (port, came):
        with pytest.raises(DeliveryError, match=said) as told:
            send(f"mllp://127.0.0.1:{port}", oru(report), pause_s=0.01)
        assert len(came) == 1 and "\x1b" not in str(told.value)


@pytest.mark.parametrize(
    "url", ["127.0.0.1:2575", "https://h:1", "mllp://127.0.0.1", "mllp://h:99999", "mllp://h:1/x", "mllp://", ""]
)
def test_addresses_that_are_none(report: AcceptedReport, url: str) -> None:
    with pytest.raises(QueryError, match="no address of an HL7 v2 receiver"):
        send(url, oru(report), clear_text=True)


def test_no_clear_text_to_other_machines(report: AcceptedReport) -> None:
    with pytest.raises(QueryError, match="clear text") as refused:
        send("mllp://192.0.2.1:2575", oru(report))
    assert "--clear-text" in refused.value.hint


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates of this test")
def test_encrypted(report: AcceptedReport, tmp_path: Path) -> None:
    """The receiver's certificate is checked; one that nobody known has signed gets nothing."""
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
             "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
             "-keyout", str(key), "-out", str(cert)]  # fmt: skip
    subprocess.run(words, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    with receiver(taken, context=context) as (port, came):
        assert send(f"mllps://localhost:{port}", oru(report), ca_file=cert) == report.key[:20]
        with pytest.raises(DeliveryError, match="not who its certificate says"):
            send(f"mllps://localhost:{port}", oru(report), pause_s=0.01)
        assert len(came) == 1
    with pytest.raises(QueryError, match="certificates cannot be read"):
        send(f"mllps://localhost:{port}", oru(report), ca_file=tmp_path / "absent.pem")


def test_the_command(report: AcceptedReport, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "r.json"
    file.write_text(report.model_dump_json(), encoding="utf-8")
    with receiver(taken, lambda m: framed(m.create_ack("AR"))) as (port, came):
        for status in (0, 5):
            with pytest.raises(SystemExit) as stopped:
                main(["report", "send", str(file), f"mllp://127.0.0.1:{port}", "--to", "KIS"])
            assert (stopped.value.code or 0) == status
        assert [str(one) for one in came] == [oru(report, to="KIS")] * 2
    told = capsys.readouterr()
    assert told.out == f"acknowledged: {report.key[:20]}\n" and "refused the report: AR" in told.err
