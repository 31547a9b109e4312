"""ECGs out of an archive that speaks DICOMweb: QIDO-RS finds series of the modality ECG, WADO-RS fetches their objects.

Objects land as files in a folder, which `ecgkin ingest folder` or `ecgkin listen --watch` takes from there. What is
there already is not fetched again.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ecgkin.retrieval.errors import EcgkinError, QueryError, why, why_unreachable
from ecgkin.ui.hosts import is_loopback

if TYPE_CHECKING:
    from ecgkin.ui.console import Moved

_LOG = logging.getLogger(__name__)
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_STUDY, _SERIES, _INSTANCE = "0020000D", "0020000E", "00080018"
_MODALITIES = ("ECG",)
_PAGE = 100


class ArchiveError(EcgkinError):
    """An archive cannot be reached, or refuses."""

    exit_code = 5
    http_status = 502


@dataclass
class Pulled:
    """What a pull did.

    Attributes:
        fetched: Objects that were written.
        skipped: Objects that were there.
        failed: Id of an object, and why it was not fetched.
    """

    fetched: int = 0
    skipped: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)


def pull(
    url: str,
    folder: Path,
    *,
    since: date | None = None,
    until: date | None = None,
    study: str | None = None,
    token: str | None = None,
    timeout_s: float = 30.0,
    moved: Moved,
) -> Pulled:
    """Fetch the ECG objects of an archive.

    Args:
        url: Of the service, https, or http on this machine.
        folder: Files go here as <SOP Instance UID>.dcm; made where it is missing.
        since, until: Study dates, both included.
        study: This study alone.
        token: Sent as a bearer token.
        timeout_s: For each request.
        moved: Told how many objects are done.

    Returns:
        Counts; objects that failed are named, the others are there.

    Raises:
        QueryError: The address or an id cannot be used, or the folder not written.
        ArchiveError: The archive cannot be asked.
    """
    from dicomweb_client.api import DICOMwebClient
    from dicomweb_client.session_utils import create_session

    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
        raise QueryError(f"{url[:200]!r} is no address of a DICOMweb service", hint="https://host/dicom-web")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise QueryError("ECGs of patients would come in clear text from another machine", hint="use https")
    if study is not None and not _UID.fullmatch(study):
        raise QueryError(f"{study[:80]!r} is no study instance UID")
    session = create_session()
    session.trust_env = False
    session.max_redirects = 0  # a token goes to this address alone
    headers = {"Authorization": f"Bearer {token}"} if token else None
    client = DICOMwebClient(url.rstrip("/"), session=session, headers=headers, timeout=timeout_s)
    done = Pulled()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = list(_instances(client, since, until, study))
        for number, ids in enumerate(found, 1):
            _fetch(client, folder, ids, done)
            moved(number, len(found), "fetch ECGs")
    except OSError as error:
        if _of_network(error):
            raise ArchiveError(
                f"the archive does not answer: {_said(error)}", hint="see its address and token"
            ) from None
        raise QueryError(f"{folder} cannot be written: {why(error)}") from None
    return done


def _instances(client: Any, since: date | None, until: date | None, study: str | None) -> Iterator[tuple[str, ...]]:
    """(study, series, instance) of every ECG object, as far as the archive names them by proper ids."""
    days = f"{since:%Y%m%d}" if since else ""
    span = {"StudyDate": f"{days}-{f'{until:%Y%m%d}' if until else ''}"} if since or until else {}
    for modality in _MODALITIES:
        filters = {"Modality": modality, **span} if study is None else {"Modality": modality}
        offset = 0
        while True:
            page = client.search_for_series(study, limit=_PAGE, offset=offset, search_filters=filters, fields=[_STUDY])
            for series in page:
                where = (study or _value(series, _STUDY), _value(series, _SERIES))
                for one in client.search_for_instances(*where) if all(map(_UID.fullmatch, where)) else ():
                    ids = (*where, _value(one, _INSTANCE))
                    if _UID.fullmatch(ids[2]):
                        yield ids
            offset += len(page)
            if len(page) < _PAGE:
                break


def _fetch(client: Any, folder: Path, ids: tuple[str, ...], done: Pulled) -> None:
    target = folder / f"{ids[2]}.dcm"
    if target.exists():
        done.skipped += 1
        return
    try:
        dataset = client.retrieve_instance(*ids)
    except (OSError, ValueError, RuntimeError, AttributeError) as error:
        done.failed.append((ids[2], _said(error)))
        return
    if str(dataset.get("SOPInstanceUID", "")) != ids[2]:
        done.failed.append((ids[2], "the archive sent another object"))
        return
    partial = target.with_suffix(".part")
    dataset.save_as(partial, enforce_file_format=True)
    os.replace(partial, target)
    done.fetched += 1


def _value(found: dict[str, Any], tag: str) -> str:
    """The first value of an attribute in DICOM JSON; "" where there is none."""
    values = found.get(tag, {}).get("Value", [])
    return str(values[0]) if values else ""


def _of_network(error: OSError) -> bool:
    import requests

    return isinstance(error, requests.RequestException)


def _said(error: Exception) -> str:
    """Kind and status of an error; what a server says may name patients."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return f"status {status}" if status else why_unreachable(error)
