"""Any mix of formats into a base: folder, ZIP, DICOMDIR, PDF pages, MIMIC's layout; without identity where asked."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import zipfile
from contextlib import closing
from pathlib import Path

import formats_made as made
import numpy as np
import pytest
from formats_made import lead_of
from PIL import Image

from ecgkin.index import open_base
from ecgkin.index.ingest.deidentify import deidentified, pseudonym, read_key, scrubbed
from ecgkin.index.ingest.pipeline import ingest_records, open_or_create
from ecgkin.index.sources import archives
from ecgkin.index.sources.folder import folder_items, items_of
from ecgkin.index.sources.items import IngestItem, IngestReport
from ecgkin.retrieval.ecg.drawing.raster import render
from ecgkin.retrieval.ecg.drawing.style import RenderStyle
from ecgkin.retrieval.ecg.formats.pdf.pages import page_count, page_picture
from ecgkin.retrieval.ecg.formats.pictures import is_picture, open_picture
from ecgkin.retrieval.ecg.header import SourceHeader
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.retrieval.errors import ImageError, QueryError, RecordError

KEY = b"k" * 32


def ingest(folder: Path, items: list[IngestItem]) -> IngestReport:
    encoder = HashingEncoder()
    with open_or_create(folder, encoder) as base:
        return ingest_records(base, items, encoder)


@pytest.fixture(scope="module")
def page(made_record: EcgRecord) -> Image.Image:
    """One drawn page."""
    return render(made_record, RenderStyle(px_per_mm=6.0))


@pytest.fixture
def clinic(tmp_path: Path) -> Path:
    """A folder named after nobody, with a patient in every header, in a folder name and in a table's column."""
    root = tmp_path / "clinic"
    (root / "Musterfrau Erika").mkdir(parents=True)
    made.write_muse(root / "Musterfrau Erika" / "muse.xml", made.steps(seed=1))
    made.write_ishne(root / "Musterfrau.ecg", made.steps(3000, leads=3, seed=2), (6, 11, 15))
    made.write_scp(root / "scp-1.scp", {1: (2000, bytes_of(3)), 2: (2000, bytes_of(4))}, tables=None)
    header = "\n".join(f"# {line}" for line in ("Sampling rate: 100",))
    rows = "\n".join(",".join(f"{v / 1000:.3f}" for v in row) for row in made.steps(1000, leads=12, seed=9).T)
    names = ",".join(
        f"{lead} (mV)" for lead in ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
    )
    (root / "table.csv").write_text(f"{header}\n{names}\n{rows}\n")
    return root


def bytes_of(seed: int) -> list[int]:
    return list(made.steps(2000, leads=1, seed=seed)[0].astype("<i2").tobytes())


def test_patient_and_report_come_from_the_header(clinic: Path, tmp_path: Path) -> None:
    report = ingest(tmp_path / "base", folder_items(clinic))
    assert report.added == 4 and not report.failed, report
    again = ingest(tmp_path / "base", folder_items(clinic))
    assert (again.skipped, again.updated) == (4, 0)  # what the headers said is not forgotten
    with open_base(tmp_path / "base") as base:
        case = base.get("clinic/Musterfrau Erika/muse.xml")
        assert (case.patient_id, case.age_years, case.sex) == ("987654", 62.0, "F")
        assert case.report == "Sinus rhythm\nLeft ventricular hypertrophy" and case.language == "en"
        assert case.recorded_at == "2017-09-22T14:05:09"
        assert case.meta["format"] == "GE MUSE XML" and case.meta["measurements"]["rate_bpm"] == 71.0
        assert base.get("clinic/Musterfrau.ecg").patient_id == "H-77"
        # A name is never a part of a case, only of the file's own path.
        assert "Musterfrau" not in str(case.as_dict()).replace("Musterfrau Erika/muse.xml", "")


def test_a_table_comes_before_the_header(clinic: Path, tmp_path: Path) -> None:
    (clinic / "cases.csv").write_text("file,patient_id,age,report,labels\nscp-1.scp,7,33,AV block,1AVB:80\n")
    ingest(tmp_path / "base", folder_items(clinic))
    with open_base(tmp_path / "base") as base:
        case = base.get("clinic/scp-1.scp")
    assert (case.patient_id, case.age_years, case.sex, case.report) == ("7", 33.0, "F", "AV block")
    assert case.labels == {"1AVB": 80.0} and case.recorded_at == "2020-02-29"


# ---------------------------------------------------------------- without identity

SECRETS = (
    "Musterfrau",
    "Erika",
    "987654",
    "H-77",
    "SCP-1",
    "Weiss",
    "1953-05-08",
    "4711-0815",
    "muse.xml",
    "2017-09-22",
)


def everything_in(folder: Path) -> bytes:
    """All bytes below a folder, and what SQLite holds in its tables as text."""
    import sqlite3

    found = b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())
    with closing(sqlite3.connect(folder / "cases.sqlite")) as db:
        found += "\n".join(db.iterdump()).encode()
    return found


def test_deidentified_base_holds_no_identity(clinic: Path, tmp_path: Path) -> None:
    """Every byte of the base is searched for what the headers, the file names and the table said."""
    (clinic / "cases.csv").write_text(
        "file,report,remark\n"
        "table.csv,Seen by Dr. Weiss for 4711-0815 on 12.03.2019. Atrial fibrillation,Erika is nice\n"
    )
    plain = ingest(tmp_path / "plain", folder_items(clinic))
    clean = ingest(tmp_path / "clean", deidentified(folder_items(clinic), KEY))
    assert plain.added == clean.added == 4 and not clean.failed
    told, kept = everything_in(tmp_path / "plain"), everything_in(tmp_path / "clean")
    for secret in SECRETS:
        assert secret.encode() not in kept, secret
    assert sum(secret.encode() in told for secret in SECRETS) >= 7  # the search finds what is there
    with open_base(tmp_path / "clean") as base:
        cases = base.cases()
        assert sorted(case.report for case in cases if case.report) == [
            "Seen by [...] for [...] on [...]. Atrial fibrillation",
            "Sinus rhythm\nLeft ventricular hypertrophy",
        ]
        assert {case.patient_id for case in cases} >= {pseudonym(KEY, "patient", "987654")}
        assert {case.recorded_at for case in cases if case.recorded_at} == {"2017", "2002", "2020"}
        record = base.record(next(case.case_id for case in cases if case.age_years == 62.0))
        assert record is not None and record.patient_id == pseudonym(KEY, "patient", "987654")
        assert np.allclose(record.standard()[6:], made.steps(seed=1)[2:] * 0.00488, atol=6e-4)


def test_deidentified_again_is_the_same(clinic: Path, tmp_path: Path) -> None:
    ingest(tmp_path / "base", deidentified(folder_items(clinic), KEY))
    again = ingest(tmp_path / "base", deidentified(folder_items(clinic), KEY))
    assert (again.added, again.updated, again.skipped) == (0, 0, 4)
    other = ingest(tmp_path / "other", deidentified(folder_items(clinic), b"j" * 32))
    with open_base(tmp_path / "base") as one, open_base(tmp_path / "other") as two:
        assert other.added == 4
        assert not {c.case_id for c in one.cases()} & {c.case_id for c in two.cases()}
        assert not {c.content_hash for c in one.cases()} & {c.content_hash for c in two.cases()}


def test_scrubbed_keeps_the_findings() -> None:
    """A technician called Block, a ward called Heart Station: the findings stay. The patient's own name goes anyway."""
    header = SourceHeader(
        "x",
        patient_name="Anna Ischemia",
        birth_date="1950-01-02",
        people=("Tom Block", "Heart Station"),
        identifiers=("A-55",),
    )
    text = "Right bundle branch block, heart rate 70. Ischemia? ANNA born 1950-01-02, A-55, called Tom Block, "
    text += "Herr Dr. med. Kurz"
    out = scrubbed(text, header, "P9x")
    assert out.startswith("Right bundle branch block, heart rate 70. [...]? [...] born [...], [...], called ")
    assert not any(word in out for word in ("Tom", "Kurz", "1950", "A-55", "ANNA"))


def test_key_file_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    key = read_key(tmp_path / "a" / "key")
    assert read_key(tmp_path / "a" / "key") == key and len(key) == 32
    assert (tmp_path / "a" / "key").stat().st_mode & 0o077 == 0
    (tmp_path / "short").write_text("abcd\n")
    with pytest.raises(QueryError, match="2 bytes"):
        read_key(tmp_path / "short")


@pytest.mark.slow
def test_command_line(clinic: Path, tmp_path: Path) -> None:
    """`ecgkin ingest folder --deidentify`, then `ecgkin export`: no secret in what is written anywhere."""
    env = {**os.environ, "ECGKIN_HOME": str(tmp_path / "home"), "ECGKIN_ENCODER": "hashing"}
    command = [sys.executable, "-m", "ecgkin"]
    words = ["ingest", "folder", str(clinic), "--base", str(tmp_path / "base"), "--deidentify"]
    done = subprocess.run([*command, *words], env=env, capture_output=True, text=True)
    assert done.returncode == 0 and "4 added" in done.stdout, done.stderr
    assert (tmp_path / "home" / "deidentify.key").is_file()
    words = ["export", str(tmp_path / "base"), "--out", str(tmp_path / "out"), "--format", "dicom"]
    done = subprocess.run([*command, *words], env=env, capture_output=True, text=True)
    assert done.returncode == 0 and "4 cases as dicom" in done.stdout, done.stderr
    written = b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir())
    assert not any(secret.encode() in written for secret in SECRETS)


# ---------------------------------------------------------------- ZIP, DICOMDIR, MIMIC


def test_zip_is_a_folder(clinic: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "sent.zip", "w") as archive:
        for path in clinic.rglob("*"):
            archive.write(path, path.relative_to(clinic))
        archive.writestr("__MACOSX/._x", b"x")
    shutil.copy(tmp_path / "sent.zip", clinic / "inner.zip")
    items = items_of(tmp_path / "sent.zip")
    assert {item.case.case_id for item in items} == {
        "sent/Musterfrau Erika/muse.xml", "sent/Musterfrau.ecg", "sent/scp-1.scp", "sent/table.csv",
    }  # fmt: skip
    report = ingest(tmp_path / "base", [*items, *folder_items(clinic)])
    # The folder and the archive in it hold the same once more.
    assert report.added == 4 and len(report.duplicates) == 8 and not report.failed


def test_unpacked_files_go_with_their_items(clinic: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(clinic / "scp-1.scp", "x.scp")
    unpacked = archives.Unpacked(tmp_path / "a.zip")
    assert (unpacked.folder / "x.scp").is_file()
    folder = unpacked.folder
    del unpacked
    assert not folder.exists()


def test_hostile_zips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(words: str) -> None:
        with pytest.raises(RecordError, match=words):
            archives.Unpacked(tmp_path / "a.zip")

    for name in ("../out.scp", "/etc/out.scp", "C:\\out.scp", "a/../../out.scp"):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr(zipfile.ZipInfo(name), b"x")
        refused("points outside")
    assert not (tmp_path.parent / "out.scp").exists() and not (tmp_path / "out.scp").exists()
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, b"/etc/passwd")
    refused("is a link")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x.scp", b"x")
    (tmp_path / "a.zip").write_bytes((tmp_path / "a.zip").read_bytes().replace(b"x.scp", b"\0.scp"))
    refused("no name")
    monkeypatch.setattr(archives, "_SLACK_BYTES", 1 << 20)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.scp", bytes(20 << 20))
    refused("more than an honest archive")
    monkeypatch.setattr(archives, "MAX_MEMBERS", 3)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for k in range(4):
            archive.writestr(f"{k}.txt", b"x")
    refused("holds 4 files")
    with zipfile.ZipFile(tmp_path / "three.zip", "w") as archive:
        for k in range(3):
            archive.writestr(f"{k}.txt", b"x")
    three = archives.Unpacked(tmp_path / "three.zip")
    assert len(list(three.folder.iterdir())) == 3
    (tmp_path / "a.zip").write_bytes((tmp_path / "a.zip").read_bytes()[:-30])
    refused("cannot be unpacked")


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
def test_dicomdir(tmp_path: Path, made_record: EcgRecord) -> None:
    """Files without suffix, found by the directory; what points outside of it is left alone."""
    from pydicom.dataset import Dataset
    from pydicom.fileset import FileSet

    from ecgkin.index.case import Case
    from ecgkin.index.transfer.export_dicom import write_dicom

    case = Case("x/1", patient_id="P-1", sex="F", report="Sinus rhythm", recorded_at="2020-01-02T03:04:05")
    path = write_dicom(tmp_path, case, made_record)
    disc = FileSet()
    disc.add(path)
    disc.write(tmp_path / "disc")
    disc._stage["t"].cleanup()  # left to the garbage collector it would warn in some later test
    items = items_of(tmp_path / "disc" / "DICOMDIR")
    assert len(items) == 1 and items[0].case.case_id.startswith("disc/")
    assert ingest(tmp_path / "base", items).added == 1
    # As a folder: the directory itself is no recording, and the same file comes once.
    report = ingest(tmp_path / "base", items_of(tmp_path / "disc"))
    assert (report.skipped, report.failed) == (1, [])
    with open_base(tmp_path / "base") as base:
        (found,) = base.cases()
        assert (found.patient_id, found.sex, found.report) == ("P-1", "F", "Sinus rhythm")
        assert found.recorded_at == "2020-01-02T03:04:05"
    import pydicom

    data = pydicom.dcmread(tmp_path / "disc" / "DICOMDIR")
    for record in data.DirectoryRecordSequence:
        if "ReferencedFileID" in record:
            record.ReferencedFileID = ["..", "..", "etc", "passwd"]
    assert isinstance(data, Dataset)
    data.save_as(tmp_path / "disc" / "DICOMDIR")
    with pytest.raises(RecordError, match="lists no file below"):
        archives.dicomdir_files(tmp_path / "disc" / "DICOMDIR")


def test_mimic_layout(tmp_path: Path) -> None:
    root = made.write_mimic(tmp_path / "mimic", made.steps(2500, leads=12))
    report = ingest(tmp_path / "base", items_of(root))
    assert report.added == 1 and not report.failed, report
    with open_base(tmp_path / "base") as base:
        case = base.get("mimic-iv-ecg/40689238")
        assert (case.patient_id, case.recorded_at) == ("10000032", "2180-07-23T08:44:00")
        assert case.report == "Sinus rhythm\nLeft atrial abnormality\nAbnormal ECG" and case.meta["rr_ms"] == 659.0
    table = (root / "record_list.csv").read_text().replace("files/p1000", "../../files/p1000")
    (root / "record_list.csv").write_text(table)
    with pytest.raises(RecordError, match="outside"):
        items_of(root)


# ---------------------------------------------------------------- documents


def pdf_of(*pages: Image.Image) -> bytes:
    """A scanned document: each page is one picture."""
    target = io.BytesIO()
    pages[0].save(target, "PDF", save_all=True, append_images=pages[1:], resolution=150)
    return target.getvalue()


def test_pdf_pages_become_cases(tmp_path: Path, page: Image.Image) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "one.pdf").write_bytes(pdf_of(page))
    (tmp_path / "docs" / "two.pdf").write_bytes(pdf_of(page, page.transpose(Image.Transpose.FLIP_TOP_BOTTOM)))
    items = folder_items(tmp_path / "docs")
    assert [item.case.case_id for item in items] == ["docs/one.pdf", "docs/two.pdf#1", "docs/two.pdf#2"]
    assert is_picture(tmp_path / "docs" / "one.pdf") and page_count(tmp_path / "docs" / "two.pdf") == 2
    assert ingest(tmp_path / "base", items).added == 3
    with pytest.raises(ImageError, match="page is 3"):
        page_picture(tmp_path / "docs" / "two.pdf", 3)


def test_vector_page_is_read_like_the_picture(made_record: EcgRecord, tmp_path: Path) -> None:
    """Traces as lines of a PDF document, by fpdf2: the page reader finds the rows that the drawing has."""
    from fpdf import FPDF

    from ecgkin.retrieval.ecg.page.reading import read_page

    sheet = FPDF(orientation="landscape", format="A4")
    sheet.add_page()
    sheet.set_line_width(0.1)
    sheet.set_draw_color(240, 170, 170)
    for x in range(15, 281, 5):
        sheet.line(x, 20, x, 200)
    for y in range(20, 201, 5):
        sheet.line(15, y, 280, y)
    sheet.set_draw_color(0, 0, 0)
    sheet.set_line_width(0.3)
    rows = (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"))
    for r, names in enumerate(rows):
        for c, name in enumerate(names):
            part = lead_of(made_record, name)[c * 1250 : (c + 1) * 1250 : 4]
            points = [(18 + 62.5 * c + 0.2 * k, 50 + 45 * r - 10 * float(v)) for k, v in enumerate(part)]
            sheet.polyline(points)
    picture = page_picture(bytes(sheet.output()))
    reading = read_page(picture)
    assert reading.n_rows == 3 and reading.quality > 0.3
    assert reading.px_per_mm == pytest.approx(200 / 25.4, rel=0.03)


def test_pdf_wrapped_into_dicom(tmp_path: Path, page: Image.Image) -> None:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

    from ecgkin.retrieval.ecg.formats.read import read_ecg

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.104.1")
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("x", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.MIMETypeOfEncapsulatedDocument, document = "application/pdf", pdf_of(page)
    data.EncapsulatedDocument = document + b"\0" * (len(document) % 2)
    data.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert is_picture(tmp_path / "a.dcm") and open_picture(tmp_path / "a.dcm").mode == "RGB"
    assert ingest(tmp_path / "base", folder_items(tmp_path)).added == 1
    with pytest.raises(RecordError, match="wraps a PDF document"):
        read_ecg(tmp_path / "a.dcm")


def test_hostile_pdf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: Image.Image) -> None:
    for content in (b"%PDF-1.7\n", b"%PDF-1.4 garbage" * 50, pdf_of(page)[:2000]):
        (tmp_path / "a.pdf").write_bytes(content)
        with pytest.raises(ImageError, match="PDF document"):
            open_picture(tmp_path / "a.pdf")
    monkeypatch.setattr("ecgkin.retrieval.ecg.formats.pdf.pages._LARGEST_MPX", 0.1)
    with pytest.raises(ImageError, match="holds a picture of"):
        page_picture(pdf_of(page))


@pytest.mark.parametrize(
    "table",
    [
        "file,age,sex,date,report\nr1.csv,71,F,2020-01-02,SR\n".encode("utf-16-le"),
        b"file|age|sex|date|report\nr1.csv|71|F|2020-01-02|SR\n",
        b"sep=;\r\nfile;age;sex;date;report\r\nr1.csv;71;F;2020-01-02;SR\r\n",
        "Datei;Alter;Geschlecht;Datum;Befund\nr1.csv;71;weiblich;02.01.2020;SR\n".encode("cp1252"),
        "fichier;âge;sexe;date;report\nr1.csv;71;femme;2 janvier 2020;SR\n".encode(),
        b"\r\n\nfilename,age_years,gender,recorded_at,finding\nR1.CSV,71,Female,2020/1/2,SR\n",
        b"file\tage\tsex\tdate\treport\n.\\R1.csv\t71\tF\t20200102\tSR\n",
    ],
)
def test_tables_as_they_are_exported(tmp_path: Path, table: bytes) -> None:
    """Encodings, separators, Excel's first line, other names of columns, names of files in other letters."""
    (tmp_path / "r1.csv").write_text("I,II\n" + "0.1,0.2\n" * 300)
    (tmp_path / "cases.csv").write_bytes(table)
    (item,) = folder_items(tmp_path)
    case = item.case
    assert (case.age_years, case.sex, case.recorded_at, case.report) == (71, "F", "2020-01-02", "SR")


def test_a_columns_own_name_goes_before_others(tmp_path: Path) -> None:
    """What else is called so is kept as it is; two files that differ in letters are two."""
    for name in ("r1.csv", "R1.csv"):
        (tmp_path / name).write_text("I,II\n" + "0.1,0.2\n" * 300)
    if len({path.name for path in tmp_path.iterdir()}) < 2:
        pytest.skip("capital and small letters are one here")
    (tmp_path / "cases.csv").write_text("file,age,alter,finding\nr1.csv,71,72,SR\nR1.CSV,5,6,AF\n")
    items = {item.case.case_id.rpartition("/")[2]: item.case for item in folder_items(tmp_path)}
    assert (items["r1.csv"].age_years, items["r1.csv"].meta["alter"], items["r1.csv"].report) == (71, "72", "SR")
    assert items["R1.csv"].age_years is None and items["R1.CSV"].case_id.endswith("R1.CSV")
