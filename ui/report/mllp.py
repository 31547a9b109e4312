"""HL7 v2 messages sent over MLLP (Minimal Lower Layer Protocol): one message, one acknowledgement."""

from __future__ import annotations

import asyncio
import ssl
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ecgkin.retrieval.ecg.header import plain_text
from ecgkin.retrieval.errors import QueryError, why, why_unreachable
from ecgkin.ui.hosts import is_loopback
from ecgkin.ui.report.fhir import TRIES, DeliveryError

if TYPE_CHECKING:
    import hl7

_LONGEST_ANSWER = 64 * 1024
# MSA-1 (table 0008): taken, by the application or by the receiver of messages.
_TAKEN = ("AA", "CA")


def send(
    url: str,
    message: str,
    *,
    clear_text: bool = False,
    ca_file: Path | None = None,
    timeout_s: float = 30.0,
    pause_s: float = 1.0,
) -> str:
    """Send a message and wait until it is acknowledged.

    A message that is sent again has the same control id (MSH-10), by which a receiver knows it again.

    Args:
        url: mllps://host:port, or mllp://host:port without encryption.
        message: Of `hl7v2.oru`.
        clear_text: Whether mllp:// may lead to another machine.
        ca_file: Certificates that may sign for the server; None for those of the system.
        timeout_s: For connection and acknowledgement of each try; one that fails is made `TRIES` times.
        pause_s: Before the second try; doubled after each.

    Returns:
        Control id of the message that was acknowledged.

    Raises:
        QueryError: The address cannot be used.
        DeliveryError: The receiver cannot be reached, says nothing, or refuses the message.
        ModuleNotFoundError: hl7 is not installed (extra "hospital").
    """
    import hl7

    host, port, context = _place(url, clear_text, ca_file)
    control_id = str(hl7.parse(message).segment("MSH")(10))
    problem = ""
    for number in range(TRIES):
        if number:
            time.sleep(pause_s * 2 ** (number - 1))
        try:
            answer = asyncio.run(asyncio.wait_for(_asked(host, port, context, message), timeout_s))
        except TimeoutError:
            problem = f"no acknowledgement within {timeout_s:g} s"
            continue
        except asyncio.IncompleteReadError:
            problem = "the connection was closed before an acknowledgement came"
            continue
        except ssl.SSLCertVerificationError as error:
            raise DeliveryError(f"{host} is not who its certificate says: {error.verify_message}") from None
        except OSError as error:
            problem = why_unreachable(error)
            continue
        except Exception as error:  # hl7 raises its own of blocks and of messages
            raise DeliveryError(
                f"{host} answered something else than an acknowledgement ({type(error).__name__})"
            ) from None
        _check(answer, control_id, host)
        return control_id
    hint = "the report may have arrived: send it again, its control id tells the receiver that it is the same"
    raise DeliveryError(f"{host} did not acknowledge the report in {TRIES} tries: {problem}", hint=hint)


def _place(url: str, clear_text: bool, ca_file: Path | None) -> tuple[str, int, ssl.SSLContext | None]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("mllp", "mllps") or not parts.hostname or not port or parts.path not in ("", "/"):
        raise QueryError(f"{url[:200]!r} is no address of an HL7 v2 receiver", hint="mllps://host:port")
    if parts.scheme == "mllp":
        if not clear_text and not is_loopback(parts.hostname):
            raise QueryError(
                "a report would be sent in clear text to another machine",
                hint="use mllps://; where the network itself is protected, --clear-text",
            )
        return parts.hostname, port, None
    try:
        return parts.hostname, port, ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise QueryError(f"certificates cannot be read from {ca_file}: {why(error)}") from None


async def _asked(host: str, port: int, context: ssl.SSLContext | None, message: str) -> hl7.Message:
    from hl7.mllp import open_hl7_connection

    reader, writer = await open_hl7_connection(host, port, limit=_LONGEST_ANSWER, encoding="utf-8", ssl=context)
    try:
        writer.writeblock(message.encode())
        await writer.drain()
        return await reader.readmessage()
    finally:
        writer.close()


def _check(answer: Any, control_id: str, host: str) -> None:
    """Whether the message of this control id was taken."""
    try:
        segment = answer.segment("MSA")
        code, about = str(segment(1)), str(segment(2))
        words = [str(segment(3))] if len(segment) > 3 else []
    except (KeyError, IndexError):
        raise DeliveryError(f"{host} answered something else than an acknowledgement (no MSA segment)") from None
    with suppress(KeyError, IndexError):
        words.append(str(answer.segment("ERR")(8)))
    if about != control_id:
        raise DeliveryError(f"{host} acknowledged another message ({plain_text(about, 40)!r})")
    if code not in _TAKEN:
        said = plain_text("; ".join(word for word in words if word), 300)
        raise DeliveryError(f"{host} refused the report: {plain_text(code, 10)}{f', {said}' if said else ''}")
