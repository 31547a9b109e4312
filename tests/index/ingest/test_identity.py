"""What leaves a text, and what stays: every place and form of an identifier, and the words of the field."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from measure_deidentify import KEY, Planter, build, everything_in

from ecgkin.index.case import Case
from ecgkin.index.ingest.deidentify import GONE, _device, _filters, deidentified, name_words, without
from ecgkin.index.ingest.pipeline import ingest_records, open_or_create
from ecgkin.index.sources.folder import folder_items
from ecgkin.index.sources.items import IngestItem
from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.encoders.hashing import HashingEncoder


def test_planted_identifiers_leave_the_base(tmp_path: Path) -> None:
    """Of some 350 planted ones all go but bare names in free text, which is the stated limit."""
    plant = Planter(1)
    ward = build(tmp_path, plant)
    encoder = HashingEncoder()
    kept = {}
    for kind in ("plain", "clean"):
        items = folder_items(ward)
        with open_or_create(tmp_path / kind, encoder) as base:
            report = ingest_records(base, deidentified(items, KEY) if kind == "clean" else items, encoder)
        assert report.added == 26 and not report.failed
        kept[kind] = everything_in(tmp_path / kind)
    left = Counter(place for text, place in plant.planted.items() if text.encode() in kept["clean"])
    assert set(left) <= {"a bare name in a report"}
    found = sum(text.encode() in kept["plain"] for text in plant.planted)
    assert found >= 300  # the search finds what is there


@pytest.mark.parametrize(
    "text",
    [
        "Herrn Brakelmon", "Patientin Brakelmon", "Dr. med. Brakelmon", "signed by Brakelmon", "gez. Brakelmon",
        "12.03.2019", "12. März 2019", "March 12, 2019", "12/03/19", "2019-03-12 10:30", "Mar 2019", "12-Mar-2019",
        "anna.muster@klinik.example", "https://ris.example/4711", "ACC-2019-0042", "Fall-Nr. 4711", "MRN: A4711",
        "+49 731 123456", "Brakelstraße 12", "12 Main Street", "89081 Ulm", "Klinikum Brakelmon", "4711-0815",
        "i.A. Brakelmon", "i. V. Brakelmon", "Befunder: Brakelmon", "Patient name: Brakelmon", "pt Brakelmon",
        "PATIENT: BRAKELMON", "Unterschrift Brakelmon", "signerat av Brakelmon", "Läkare: Brakelmon",
        "Referring physician Brakelmon", "Zuweiserin Brakelmon", "Hausarzt Brakelmon", "Anna Brakelmon, M.D.",
        "Ehefrau Brakelmon", "Sohn Brakelmon anwesend", "Herr van der Brakelmon", "Frau de la Brakelmon",
        "12 mars 2019", "3 maj 2019", "12 augusti 2019", "Brakelgatan 4", "wohnhaft in Brakelmon",
        "anna.muster (at) klinik.example",
    ],
)  # fmt: skip
def test_forms_of_identifiers(text: str) -> None:
    said = without(f"Sinusrhythmus, {text}, Linksschenkelblock", [], [])
    assert said.startswith("Sinusrhythmus, ") and said.endswith(", Linksschenkelblock") and GONE in said
    assert not any(part in said for part in ("Brakel", "BRAKEL", "2019", "4711", "muster", "731", "Main", "Ulm"))


@pytest.mark.parametrize(
    "text",
    [
        "Sinus rhythm. Normal ECG. QT 450 ms, QTc450, HR120, V1 to V6, RV5+SV1 3.2 mV",
        "Patient hat Vorhofflimmern, Frequenz 120/min, PQ 200 ms, QRS 100 ms",
        "v4,5,6 may indicate ischemia; seen by the machine, by comparison no change",
        "Anterior infarct, age undetermined. Left Axis Deviation. T wave inversion in I, aVL",
        "Befund von Linksschenkelblock. Zeichen für Infarkt.",
        "Extrasystolen von Vorhof und Kammer, kein Hinweis für Infarkt. FOR LVH. BY VOLTAGE CRITERIA",
        "Zeichen av vänsterkammarhypertrofi. Sinusrytm. LVH by Cornell and Sokolow-Lyon criteria",
    ],
)
def test_findings_stay(text: str) -> None:
    assert without(text, [], name_words([text]) & set()) == text


def test_what_a_device_and_filters_keep() -> None:
    assert _device("GE MAC55 of Brakelmon 4711") == "GE MAC55" and _device("Brakelmon recorder") == ""
    assert _filters("0.05 to 150 Hz, notch 50 Hz, Brakelmon") == "0.05 to 150 Hz, notch 50 Hz,"


@pytest.mark.parametrize(("age", "kept"), [(89.0, 89.0), (90.0, 90.0), (97.5, 90.0), (None, None)])
def test_ages_above_89_are_one_and_dates_are_years(age: float | None, kept: float | None) -> None:
    """Whoever says the age, the table or the file's own header."""
    case = Case("ward/1", patient_id="p-1", age_years=age, recorded_at="2021-03-04T10:00")
    record = EcgRecord(np.zeros((12, 500), np.float32), 500.0, LEADS, patient_id="p-1", age_years=age)
    (item,) = deidentified([IngestItem(case, lambda: record)], KEY)
    loaded = item.load()
    assert isinstance(loaded, EcgRecord)
    assert (item.case.age_years, loaded.age_years, item.case.recorded_at) == (kept, kept, "2021")
    assert item.case.patient_id == loaded.patient_id not in (None, "p-1")
