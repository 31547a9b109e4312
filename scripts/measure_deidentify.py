"""How many planted identifiers survive a de-identified ingest: 300 of them, in every place where they come.

    python scripts/measure_deidentify.py [--seed 0] [--show]

Recordings of invented patients (EDF, MUSE XML, WFDB, ISHNE, CSV) are written into folders, a ZIP archive and a table;
names, numbers, dates, addresses are planted in headers, file names, columns, labels and reports; in reports names
stand behind a word that announces them, and some bare, which nothing can tell ("a bare name in a report": the stated
limit). Then the bytes of the base are searched for each. Printed: planted and surviving, by place.
"""

from __future__ import annotations

import argparse
import base64
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ecgkin.index.ingest.deidentify import deidentified
from ecgkin.index.ingest.pipeline import ingest_records, open_or_create
from ecgkin.index.sources.folder import folder_items
from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.simulation.simulate import simulate
from ecgkin.retrieval.encoders.hashing import HashingEncoder

SYLLABLES = "bra kel mon dru zan vel tor quin fas lem rog hul wex jor pim nad sol ked".split()
KEY = b"k" * 32


class Planter:
    """Invented identifiers, each once, remembered with the place where it was put."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.planted: dict[str, str] = {}

    def _put(self, place: str, text: str) -> str:
        self.planted[text] = place
        return text

    def name(self, place: str) -> str:
        while True:
            text = "".join(self.rng.choices(SYLLABLES, k=3)).capitalize()
            if text not in self.planted:
                return self._put(place, text)

    def number(self, place: str) -> str:
        return self._put(place, f"{self.rng.randrange(10**6, 10**7)}")

    def accession(self, place: str) -> str:
        letters = "".join(self.rng.choices("ABCDEFGHKLMN", k=3))
        return self._put(place, f"{letters}-{self.rng.randrange(2000, 2026)}-{self.rng.randrange(1000, 9999)}")

    def day(self, place: str, form: str) -> str:
        months_de = "Januar Februar März April Mai Juni Juli August September Oktober November Dezember".split()
        months_en = "January February March April May June July August September October November December".split()
        day, month, year = self.rng.randrange(13, 28), self.rng.randrange(1, 13), self.rng.randrange(1930, 2020)
        spelled = {
            "dots": f"{day:02d}.{month:02d}.{year}",
            "german": f"{day}. {months_de[month - 1]} {year}",
            "english": f"{months_en[month - 1]} {day}, {year}",
            "iso": f"{year}-{month:02d}-{day:02d}",
            "slashes": f"{day}/{month}/{year}",
            "short": f"{day}-{months_en[month - 1][:3]}-{year}",
        }
        return self._put(place, spelled[form])

    def mail(self, place: str) -> str:
        user = "".join(self.rng.choices(SYLLABLES, k=3))
        return self._put(place, f"{user}@{self.rng.choice(SYLLABLES)}mail.example")

    def street(self, place: str) -> str:
        street = "".join(self.rng.choices(SYLLABLES, k=3)).capitalize()
        return self._put(place, f"{street}straße {self.rng.randrange(1, 99)}")

    def phone(self, place: str) -> str:
        return self._put(place, f"0{self.rng.randrange(100, 999)} {self.rng.randrange(100000, 999999)}")


def announced(plant: Planter, place: str, k: int) -> str:
    """A report with identifiers behind a title, a cue, or in a form of their own."""
    forms = ("dots", "german", "english", "iso", "slashes", "short")
    sentences: list[Callable[[], str]] = [
        lambda: f"Vorhofflimmern. Befundet von Dr. {plant.name(place)}.",
        lambda: f"Bei Herrn {plant.name(place)} Sinusrhythmus.",
        lambda: f"Patientin {plant.name(place)}, geboren {plant.day(place, forms[k % 6])}, Linksschenkelblock.",
        lambda: (
            f"Sinus rhythm. Electronically signed by {plant.name(place)} on {plant.day(place, forms[(k + 3) % 6])}."
        ),
        lambda: f"Fall-Nr. {plant.number(place)}, Akte {plant.accession(place)}.",
        lambda: f"Kontakt {plant.mail(place)}, Tel. {plant.phone(place)}.",
        lambda: f"Wohnhaft {plant.street(place)}.",
    ]
    plant.rng.shuffle(sentences)
    bare = f"{plant.name('a bare name in a report')} war dabei." if k % 2 else ""
    return " ".join([*(sentence() for sentence in sentences[:4]), bare])


def write_wfdb(folder: Path, name: str, values: np.ndarray, comment: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    steps = np.rint(values * 1000).astype("<i2")
    lines = [f"{name} 12 250 {values.shape[1]}", *(f"{name}.dat 16 1000/mV 16 0 0 0 0 {lead}" for lead in LEADS)]
    (folder / f"{name}.hea").write_text("\n".join([*lines, comment]) + "\n", encoding="utf-8")
    (folder / f"{name}.dat").write_bytes(steps.T.tobytes())


def write_muse(path: Path, values: np.ndarray, plant: Planter, k: int) -> None:
    def wave(name: str, row: np.ndarray) -> str:
        data = base64.b64encode(np.rint(row / 0.00488).astype("<i2").tobytes()).decode()
        return (
            "<LeadData><LeadAmplitudeUnitsPerBit>4.88</LeadAmplitudeUnitsPerBit><LeadAmplitudeUnits>MICROVOLTS"
            f"</LeadAmplitudeUnits><LeadID>{name}</LeadID><WaveFormData>{data}</WaveFormData></LeadData>"
        )

    own, doctor = plant.name("header, patient"), plant.name("header, physician")
    leads = "".join(wave(n, values[LEADS.index(n)]) for n in ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6"))
    path.write_text(
        f"<RestingECG><PatientDemographics><PatientID>{plant.number('header, id')}</PatientID><PatientLastName>{own}"
        f"</PatientLastName><DateofBirth>0{1 + k % 9}-1{k % 9}-19{40 + k}</DateofBirth></PatientDemographics>"
        f"<TestDemographics><AcquisitionDevice>{plant.name('header, device')} recorder</AcquisitionDevice>"
        f"<OverreaderLastName>{doctor}</OverreaderLastName><SiteName>{plant.name('header, site')}</SiteName>"
        f"</TestDemographics><Diagnosis><DiagnosisStatement><StmtFlag>ENDSLINE</StmtFlag><StmtText>Sinus rhythm, {own} "
        f"seen with {doctor}. {announced(plant, 'header, report', k)}</StmtText></DiagnosisStatement></Diagnosis>"
        "<Waveform><WaveformType>Rhythm</WaveformType><SampleBase>250</SampleBase><SampleExponent>0</SampleExponent>"
        f"{leads}</Waveform></RestingECG>",
        encoding="utf-8",
    )


def build(root: Path, plant: Planter) -> Path:
    """The folder of everything."""
    ward = root / plant.name("folder")
    values = [
        simulate(["NORM"], np.random.default_rng(k), fs_hz=250, duration_s=4).record.standard() for k in range(36)
    ]
    rows = ["file;patient_id;name;device;filters;codes;labels;report;remark"]
    for k in range(14):
        folder = ward / plant.name("folder")
        stem = f"{plant.name('file name')}_{plant.number('file name')}"
        write_wfdb(folder, stem, values[k], f"#Subject_id: {plant.number('header, id')}")
        own = plant.name("column name")
        cells = [
            f"{folder.name}/{stem}.hea", plant.number("patient_id"), own, plant.name("column device"),
            plant.name("column filters"), plant.name("column codes"), f"NORM:100,{plant.name('label')}:50",
            f"{own} kommt wieder. {announced(plant, 'table, report', k)}", f"Angehörige {plant.name('column remark')}",
        ]  # fmt: skip
        rows.append(";".join(cells))
    (ward / "cases.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    for k in range(14, 22):
        write_muse(ward / f"{plant.name('file name')}.xml", values[k], plant, k)
    packed = root / "packed"
    inner = packed / plant.name("folder in ZIP")
    for k in range(22, 26):
        write_wfdb(inner, plant.name("file name"), values[k], "")
    shutil.make_archive(str(ward / plant.name("ZIP name")), "zip", packed)
    return ward


def everything_in(folder: Path) -> bytes:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return b"\n".join(path.name.encode() + b"\n" + path.read_bytes() for path in files)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", action="store_true", help="name the survivors")
    options = parser.parse_args()
    plant = Planter(options.seed)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        ward = build(root, plant)
        counts = {}
        for kind in ("plain", "de-identified"):
            items = folder_items(ward)
            encoder = HashingEncoder()
            with open_or_create(root / kind, encoder) as base:
                report = ingest_records(base, deidentified(items, KEY) if kind != "plain" else items, encoder)
            kept = everything_in(root / kind)
            counts[kind] = [text for text in plant.planted if text.encode() in kept]
            found = f"{len(counts[kind])} of {len(plant.planted)} found"
            print(f"{kind}: {report.added} cases, {len(report.failed)} failed, {found}")
        by_place, left = Counter(plant.planted.values()), Counter(plant.planted[t] for t in counts["de-identified"])
        before = Counter(plant.planted[t] for t in counts["plain"])
        for place, n in sorted(by_place.items()):
            print(f"  {place:20} planted {n:4}  in a plain base {before[place]:4}  surviving {left[place]:4}")
        if options.show:
            print(", ".join(f"{text} ({plant.planted[text]})" for text in counts["de-identified"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
