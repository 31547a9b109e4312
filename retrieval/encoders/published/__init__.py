"""Doors to published encoders: MERL, D-BETA, ECGFounder and MoRE, with the user's own copy of their weights.

The architectures are written anew from facts about them; no code and no weights of theirs are here. Each system is one
file: its network (the arithmetic), then signals, texts and loading; every name that comes from outside is in its file
in `names`. `load_encoder("merl:DIR")` comes here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ecgkin.retrieval.errors import ModelError, QueryError

if TYPE_CHECKING:
    from ecgkin.retrieval.encoders.published.door import PublishedEncoder
    from ecgkin.retrieval.encoders.witness import StatementWitness

__all__ = ["SYSTEMS", "System", "is_published", "load_published", "load_witness", "parse_name"]


@dataclass(frozen=True)
class System:
    """A published encoder, for `ecgkin encoder list`.

    Attributes:
        key: What stands before the colon.
        title: Its name.
        takes: "DIR" or "FILE".
        dim: Length of its vectors as published.
        text: Whether it can place words.
        needs: Files.
        published_at: Where its weights are.
        licence: Of code and weights, as far as they say.
        trained_on: Data.
        input: Signals it reads.
        options: Setting -> its values, the default first.
        images: What it makes of pictures.
    """

    key: str
    title: str
    takes: str
    dim: int
    text: bool
    needs: str
    published_at: str
    licence: str
    trained_on: str
    input: str
    options: Mapping[str, tuple[str, ...]]
    images: str = "pages are digitised first; one that shows under 75 % of the ten seconds of all leads is refused"


SYSTEMS: dict[str, System] = {
    one.key: one
    for one in (
        System(
            key="merl",
            title="MERL",
            takes="DIR",
            dim=256,
            text=True,
            needs="res18_best_ckpt.pth or vit_tiny_best_ckpt.pth; config and tokenizer of ncbi/MedCPT-Query-Encoder",
            published_at="github.com/cheliu-computation/MERL-ICML2024 (Google Drive 13wb4DppUciMn-Y_qC2JRWTbZdz3xX0w2)",
            licence="code MIT; weights without a statement",
            trained_on="MIMIC-IV-ECG with reports",
            input="12 leads, aVF before aVL, 500 Hz, 10 s, scaled to 0..1 over the record",
            options={"leads": ("mimic", "standard")},
        ),
        System(
            key="d-beta",
            title="D-BETA (C-MELT)",
            takes="DIR",
            dim=768,
            text=True,
            needs="sample.pt; the authors' config.json; config and tokenizer of google/flan-t5-base",
            published_at="github.com/manhph2211/D-BETA (huggingface.co/Manhph2211/D-BETA, gated)",
            licence="CC BY-NC 4.0, code and weights",
            trained_on="MIMIC-IV-ECG with reports",
            input="12 leads, order not published (default as in its example), 500 Hz, 10 s or less, mV as they are",
            options={"leads": ("standard", "mimic")},
        ),
        System(
            key="ecgfounder",
            title="ECGFounder",
            takes="FILE",
            dim=1024,
            text=False,
            needs="12_lead_ECGFounder.pth or 1_lead_ECGFounder.pth; tasks.txt beside it for the names of its classes",
            published_at="github.com/PKUDigitalHealth/ECGFounder (huggingface.co/PKUDigitalHealth/ECGFounder)",
            licence="code MIT; weights without a statement",
            trained_on="HEEDB, 10.8 million ECGs with statements",
            input="12 leads (or lead I), 500 Hz, 10 s, filtered, z-score over the record",
            options={"filter": ("on", "off")},
        ),
        System(
            key="more",
            title="MoRE",
            takes="DIR",
            dim=128,
            text=True,
            needs="best_*.pth; config of RoBERTa-base-PM-M3 (BioLM) with the tokenizer of roberta-base",
            published_at="github.com/svthapa/MoRE (Google Drive 1BB9dT6iYihqJarD5qX0bdnfYhiwhBgmH)",
            licence="none stated, code or weights",
            trained_on="MIMIC-CXR and MIMIC-IV-ECG of the same people, with reports",
            input="12 leads, 100 Hz, 10 s, baseline removed, each lead scaled to -1..1",
            options={"leads": ("standard", "mimic"), "tokens": ("128", "512"), "heads": ()},
        ),
    )
}


def is_published(name: str) -> bool:
    """Whether a name means one of these encoders.

    >>> is_published("merl:/weights/merl"), is_published("default")
    (True, False)
    """
    return name.partition(":")[0] in SYSTEMS and ":" in name


def parse_name(name: str) -> tuple[System, Path, dict[str, str]]:
    """System, place and settings of a name such as "d-beta:DIR?leads=mimic".

    Raises:
        QueryError: No such system or setting, or no place.

    >>> system, place, settings = parse_name("d-beta:/weights/d-beta?leads=mimic")
    >>> system.title, str(place), settings
    ('D-BETA (C-MELT)', '/weights/d-beta', {'leads': 'mimic'})
    """
    key, _, rest = name.partition(":")
    if key not in SYSTEMS:
        raise QueryError(
            f"no published encoder {key!r} (known: {', '.join(SYSTEMS)})", hint="see `ecgkin encoder list`"
        )
    system = SYSTEMS[key]
    place, mark, query = rest.partition("?")
    if not place:
        raise QueryError(f"{name!r} names no {system.takes.lower()}", hint=f"write {key}:{system.takes}")
    settings: dict[str, str] = {}
    for part in query.split("&") if mark else ():
        option, equals, value = part.partition("=")
        values = system.options.get(option)
        known = "; ".join(f"{o}={'|'.join(v) or 'N'}" for o, v in system.options.items())
        if not equals or values is None or (value not in values if values else not value.isdigit()):
            raise QueryError(f"setting {part!r} of {key} is not known", hint=f"known: {known}")
        settings[option] = value
    return system, Path(place).expanduser(), settings


def load_published(name: str, device: str = "cpu") -> PublishedEncoder:
    """Load a published encoder by its name, for example "merl:DIR" or "ecgfounder:FILE?filter=off".

    The encoder's own name has the absolute path, so that a case base built with it finds it again from any folder.

    Args:
        name: "SYSTEM:PLACE", with settings as "?option=value&...".
        device: "cpu", "cuda" or "cuda:N".

    Returns:
        The encoder.

    Raises:
        QueryError: No such system or setting.
        WeightsMissingError, ModelError: A file is missing, or does not fit.
    """
    system, place, settings = parse_name(name)
    query = "&".join(f"{option}={settings[option]}" for option in sorted(settings))
    full = f"{system.key}:{place.resolve()}" + (f"?{query}" if query else "")
    try:
        return _loader(system.key)(place.resolve(), full, device, settings)
    except PermissionError as error:
        raise ModelError(
            f"{error.filename or place} may not be read by this user", hint="give this user the right to read it"
        ) from error


def load_witness(name: str, device: str = "cpu") -> StatementWitness:
    """Load a published classifier that reads statements off an ECG, to be heard beside the vote of the similar cases.

    Args:
        name: "ecgfounder:FILE", with settings as `load_published` takes them: the one system with classes.
        device: "cpu", "cuda" or "cuda:N".

    Returns:
        The witness.

    Raises:
        QueryError: The name means no system, or one without classes.
        WeightsMissingError, ModelError: A file is missing, or does not fit.
    """
    if parse_name(name)[0].key != "ecgfounder":
        raise QueryError(f"{name!r} reads no statements off an ECG", hint="a witness is ecgfounder:FILE")
    from ecgkin.retrieval.encoders.published.ecgfounder.door import EcgFounderEncoder
    from ecgkin.retrieval.encoders.published.ecgfounder.witness import EcgFounderWitness

    encoder = load_published(name, device)
    assert isinstance(encoder, EcgFounderEncoder)
    witness = EcgFounderWitness(encoder)
    witness.check()
    return witness


def _loader(key: str) -> Callable[[Path, str, str, Mapping[str, str]], PublishedEncoder]:
    if key == "merl":
        from ecgkin.retrieval.encoders.published.merl import load_merl

        return load_merl
    if key == "d-beta":
        from ecgkin.retrieval.encoders.published.d_beta import load_d_beta

        return load_d_beta
    if key == "ecgfounder":
        from ecgkin.retrieval.encoders.published.ecgfounder.door import load_ecgfounder

        return load_ecgfounder
    from ecgkin.retrieval.encoders.published.more import load_more

    return load_more
