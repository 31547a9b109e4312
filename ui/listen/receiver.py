"""A DICOM storage receiver (C-STORE, C-ECHO) by pynetdicom: what it acknowledges lies in the spool, on the disk.

It takes the objects that ecgkin reads: ECG waveforms and wrapped PDF documents, uncompressed. Titles of application
entities are no passwords: whoever can reach the port can claim one. Other machines therefore belong behind TLS
(certificates of both sides), a firewall or both.
"""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecgkin.retrieval.ecg.formats.dicom import PDF_CLASS, WAVEFORMS
from ecgkin.retrieval.errors import QueryError, why
from ecgkin.ui.hosts import is_loopback
from ecgkin.ui.listen.first_look import TAGS, no_ecg
from ecgkin.ui.listen.spool import Spool

if TYPE_CHECKING:
    from pydicom import Dataset
    from pynetdicom.events import Event

_LOG = logging.getLogger(__name__)

# Status of a C-STORE response, DICOM PS3.4 table B.2-1.
SUCCESS, NO_RESOURCES, OTHER_CLASS, NOT_UNDERSTOOD = 0x0000, 0xA700, 0xA900, 0xC000
NO_ECG = 0xB007
"""A warning, "data set does not match SOP class": the object is kept, and holds no ECG."""
SYNTAXES = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2")
"""Explicit little endian, implicit little endian, explicit big endian."""
LONGEST_PDU = 262_144
"""Bytes of one protocol data unit; more is not read off the line, whatever its head announces."""
_ACSE_S, _DIMSE_S, _IDLE_S = 30.0, 60.0, 120.0


@dataclass(frozen=True)
class Port:
    """Where and for whom the receiver is open.

    Attributes:
        host, port: Address; port 0 takes a free one.
        ae_title: Its own title; a caller must name it.
        callers: Titles that may call; empty: all.
        max_bytes: Of one object.
        associations: At the same time.
        tls: Context of the server side; None: plain.
    """

    host: str = "127.0.0.1"
    port: int = 11112
    ae_title: str = "ECGKIN"
    callers: Sequence[str] = ()
    max_bytes: int = 256_000_000
    associations: int = 10
    tls: ssl.SSLContext | None = None


def checked_title(title: str) -> str:
    """An application entity's title: 1 to 16 characters of ASCII that can be printed, no backslash (DICOM PS3.5, AE).

    Raises:
        QueryError: It is none.
    """
    plain = title.strip()
    if not 1 <= len(plain) <= 16 or not plain.isascii() or not plain.isprintable() or "\\" in plain:
        raise QueryError(f"AE title is {title[:40]!r} (expected 1 to 16 ASCII characters, no backslash)")
    return plain


def tls_context(certificate: Path, key: Path | None, authority: Path | None) -> ssl.SSLContext:
    """TLS for the receiver.

    Args:
        certificate, key: Its own, in PEM; None: the key stands in the certificate's file.
        authority: Who must have signed the callers' certificates; None: callers need none.

    Returns:
        The context of the server, TLS 1.2 and later.

    Raises:
        QueryError: One of the files cannot be used.
    """
    context = _Context(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
        if authority is not None:
            context.load_verify_locations(authority)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise QueryError(f"TLS cannot be set up: {why(error)}", hint="certificate and key are files in PEM") from error
    return context


class _Context(ssl.SSLContext):
    """Shakes hands when an association reads, in its own thread: who connects and says nothing keeps nobody waiting."""

    def wrap_socket(self, sock: socket.socket, *args: Any, **options: Any) -> ssl.SSLSocket:
        """As the standard library, without the handshake."""
        return super().wrap_socket(sock, *args, **{**options, "do_handshake_on_connect": False})


@contextmanager
def receiving(port: Port, spool: Spool) -> Iterator[str]:
    """Receive while this lasts; the value is the address, host:port.

    Args:
        port: Where, for whom, how much.
        spool: Where objects go.

    Raises:
        QueryError: The address cannot be had, or is open to other machines and nothing says who may call.
    """
    if not is_loopback(port.host) and not port.callers:
        raise QueryError(
            f"{port.host} can be reached by other machines, and no callers are named (expected a loopback address)",
            hint="name who may call with --caller TITLE, or leave --host out",
        )
    from pynetdicom import AE, evt
    from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

    entity = AE(ae_title=checked_title(port.ae_title))
    entity.require_called_aet = True
    entity.require_calling_aet = [checked_title(title) for title in port.callers]
    entity.maximum_associations = port.associations
    entity.acse_timeout, entity.dimse_timeout, entity.network_timeout = _ACSE_S, _DIMSE_S, _IDLE_S
    entity.add_supported_context(Verification, list(SYNTAXES))
    for kind in (*WAVEFORMS, PDF_CLASS):
        entity.add_supported_context(kind, list(SYNTAXES))
    limits = _Limits(port.max_bytes)
    handlers: list[Any] = [
        (evt.EVT_CONN_OPEN, limits.bound),
        (evt.EVT_PDU_RECV, limits.count),
        (evt.EVT_DIMSE_RECV, limits.whole),
        (evt.EVT_CONN_CLOSE, limits.gone),
        (evt.EVT_C_STORE, lambda event: store(event, spool)),
    ]
    try:
        server = entity.start_server((port.host, port.port), block=False, evt_handlers=handlers, ssl_context=port.tls)
    except OSError as error:
        raise QueryError(
            f"{port.host}:{port.port} cannot be listened on: {why(error)}", hint="choose another --port; 0: any"
        ) from None
    if server is None:
        raise QueryError("the receiver did not start")
    try:
        found = server.server_address
        yield f"[{found[0]}]:{found[1]}" if ":" in found[0] else f"{found[0]}:{found[1]}"
    finally:
        entity.shutdown()


def store(event: Event, spool: Spool) -> int | Dataset:
    """Answer a C-STORE: success once the object is on the disk, a warning where it is kept and will be set aside.

    Args:
        event: Of pynetdicom.
        spool: Where it goes.

    Returns:
        The status; a warning with its comment.
    """
    import io

    from pydicom.filereader import dcmread
    from pydicom.uid import UID

    request: Any = event.request
    kind, instance = UID(str(request.AffectedSOPClassUID)), UID(str(request.AffectedSOPInstanceUID))
    content = part_10(event.encoded_dataset(include_meta=False), kind, instance, UID(event.context.transfer_syntax))
    try:
        data = dcmread(io.BytesIO(content), stop_before_pixels=True, specific_tags=list(TAGS))
        said = UID(str(data.get("SOPClassUID", ""))), UID(str(data.get("SOPInstanceUID", "")))
        lacks = no_ecg(data)
    except Exception:  # whatever pydicom raises on what is no data set
        _LOG.warning("an object that is no DICOM data set was refused")
        return NOT_UNDERSTOOD
    if said != (kind, instance) or not instance.is_valid:
        _LOG.warning("an object that is not what its request says was refused")
        return OTHER_CLASS
    try:
        key, is_new = spool.put(
            {"object.dcm": content},
            door="dicom",
            shown=str(instance),
            sop_instance=str(instance),
            sender=str(event.assoc.requestor.ae_title)[:16],
        )
    except OSError as error:
        _LOG.error("an object was refused, the spool cannot be written: %s", why(error))
        return NO_RESOURCES
    _LOG.info("an object of %d bytes is kept%s", len(content), "" if is_new else " already")
    lacks = lacks or ("sent before, and set aside: it could not be read as an ECG" if spool.was_set_aside(key) else "")
    return warned(lacks) if lacks else SUCCESS


def warned(comment: str) -> Dataset:
    """The warning that an object is kept and is no ECG.

    Args:
        comment: At most 64 characters (the element Error Comment); goes to the log as well.
    """
    from pydicom.dataset import Dataset

    _LOG.warning("its sender was warned: %s", comment)
    told = Dataset()
    told.Status, told.ErrorComment = NO_ECG, comment
    return told


def part_10(data: bytes, kind: Any, instance: Any, syntax: Any) -> bytes:
    """A data set as it was sent, as a DICOM file (PS3.10); the same for the same data, whoever sends it and when."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_file_meta_info
    from pydicom.uid import PYDICOM_IMPLEMENTATION_UID

    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\0\1"
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = kind, instance
    meta.TransferSyntaxUID, meta.ImplementationClassUID = syntax, PYDICOM_IMPLEMENTATION_UID
    head = DicomBytesIO()
    write_file_meta_info(head, meta, enforce_standard=True)
    return b"\0" * 128 + b"DICM" + head.getvalue() + data


class _Limits:
    """Bytes of a message and of a unit, for each connection; too many end the association."""

    def __init__(self, max_bytes: int) -> None:
        self._most = max_bytes
        self._counts: dict[int, int] = {}
        self._turn = threading.Lock()

    def bound(self, event: Event) -> None:
        """A connection was opened: bound what is read at once, and how long one waits for it."""
        line: Any = event.assoc.dul.socket
        if line is None or line.socket is None:
            return
        line.socket.settimeout(_IDLE_S)
        line.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        receive = line.recv

        def bounded(n_bytes: int) -> Any:
            if n_bytes > LONGEST_PDU:
                raise OSError(f"a unit of {n_bytes} bytes was announced (at most {LONGEST_PDU})")
            return receive(n_bytes)

        line.recv = bounded

    def count(self, event: Event) -> None:
        """A unit has come."""
        from pynetdicom.pdu import P_DATA_TF

        pdu: Any = event.pdu
        if not isinstance(pdu, P_DATA_TF):
            return
        with self._turn:
            n_bytes = self._counts[id(event.assoc)] = self._counts.get(id(event.assoc), 0) + pdu.pdu_length
        if n_bytes > self._most:
            _LOG.warning("an object of more than %d MB was refused, its association ended", self._most // 10**6)
            event.assoc.abort()

    def whole(self, event: Event) -> None:
        """A message is complete."""
        with self._turn:
            self._counts.pop(id(event.assoc), None)

    gone = whole
