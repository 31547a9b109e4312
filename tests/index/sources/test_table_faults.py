"""Tables beside recordings as hospitals write them: other systems' names, encodings, ages, sexes and dates."""

from __future__ import annotations

import shutil
import unicodedata
from pathlib import Path

import pytest

from ecgkin.index.case import Case
from ecgkin.index.sources.case_table import case_of, read_table
from ecgkin.index.sources.folder import folder_items
from ecgkin.index.sources.ptbxl import ptbxl_items
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import RecordError


@pytest.fixture
def faults(project_root: Path) -> Path:
    """Folder of small recordings."""
    return project_root / "tests" / "fixtures" / "faults"


def place(faults: Path, folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = (faults / "age_days.hea").read_text().replace("age_days", name).replace("#Age: 8 days", "")
    (folder / f"{name}.hea").write_text(text)
    shutil.copy(faults / "upper" / "R1.DAT", folder / f"{name}.dat")


def only(folder: Path) -> Case:
    (item,) = folder_items(folder)
    assert isinstance(item.load(), EcgRecord)
    return item.case


def test_paths_of_windows(faults: Path, tmp_path: Path) -> None:
    place(faults, tmp_path / "b" / "sub", "r1")
    (tmp_path / "b" / "cases.csv").write_text("file,age,sex,report\nsub\\r1.hea,71,F,Sinus rhythm\n")
    case = only(tmp_path / "b")
    assert (case.age_years, case.sex, case.report) == (71, "F", "Sinus rhythm")


@pytest.mark.parametrize(("on_disk", "in_table"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_decomposed_umlauts(faults: Path, tmp_path: Path, on_disk: str, in_table: str) -> None:
    """A Mac decomposes names, Windows and tables compose them."""
    folder = tmp_path / "n"
    folder.mkdir()
    text = "# sampling rate 250 Hz\n" + (faults / "truth_mv.csv").read_text()
    (folder / unicodedata.normalize(on_disk, "Müller.csv")).write_text(text)  # type: ignore[arg-type]
    table = "file,age,sex\n" + unicodedata.normalize(in_table, "Müller.csv") + ",71,F\n"  # type: ignore[arg-type]
    (folder / "cases.csv").write_text(table)
    case = only(folder)
    assert (case.age_years, case.sex) == (71, "F")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
def test_encodings_of_excel(faults: Path, tmp_path: Path, encoding: str) -> None:
    place(faults, tmp_path / "e", "r1")
    table = "file;age;sex;report\nr1;71;männlich;Vorhofflimmern, früher Übergang\n"
    (tmp_path / "e" / "cases.csv").write_bytes(table.encode(encoding))
    case = only(tmp_path / "e")
    assert case.sex == "M" and case.report == "Vorhofflimmern, früher Übergang"


def cells(**said: str) -> Case:
    return case_of("s/1", "s", Path("r1.hea"), said)


@pytest.mark.parametrize(
    ("text", "years"),
    [
        ("71", 71), ("71,5", 71.5), (">89", 90), ("300", 90), ("999", None), ("3 months", 0.25), ("unknown", None),
        ("", None),
    ],
)  # fmt: skip
def test_ages_of_tables(text: str, years: float | None) -> None:
    assert cells(age=text).age_years == years


@pytest.mark.parametrize(
    ("text", "sex"),
    [("W", "F"), ("m", "M"), ("männlich", "M"), *((none, None) for none in ("O", "unknown", "divers", "U", ""))],
)  # fmt: skip
def test_sexes_of_tables(text: str, sex: str | None) -> None:
    assert cells(sex=text).sex == sex


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("02.01.2020", "2020-01-02"), ("2020-01-02", "2020-01-02"), ("2020-01-02 10:30", "2020-01-02T10:30:00"),
        ("02-Jan-2020", "2020-01-02"), ("25/04/2020", "2020-04-25"), ("03/04/2020", "2020"), ("2020", "2020"),
        ("2020-05", "2020-05"), ("unbekannt", None), ("", None),
    ],
)  # fmt: skip
def test_dates_of_tables(text: str, iso: str | None) -> None:
    assert cells(date=text).recorded_at == iso


@pytest.mark.parametrize("said", [{"age": "old"}, {"age": "-5"}, {"sex": "banana"}, {"date": "yesterday"}])
def test_what_cannot_be_understood_is_said(said: dict[str, str]) -> None:
    with pytest.raises(RecordError, match="of s/1 is"):
        cells(**said)


def test_records_with_names_in_capitals_are_one_case(faults: Path, tmp_path: Path) -> None:
    """Header and samples are no two files, and the same samples under small letters have the same content."""
    shutil.copytree(faults / "upper", tmp_path / "u")
    (item,) = folder_items(tmp_path / "u")
    assert isinstance(item.load(), EcgRecord) and item.case.case_id == "u/R1"
    assert item.content is not None
    before = item.content()
    raw = bytearray((tmp_path / "u" / "R1.DAT").read_bytes())
    raw[500] ^= 1
    (tmp_path / "u" / "R1.DAT").write_bytes(raw)
    assert item.content() != before


def test_ptbxl_patients_above_89_are_90(faults: Path, tmp_path: Path) -> None:
    folder = tmp_path / "records100" / "00000"
    for k in (1, 2):
        place(faults, folder, f"0000{k}_lr")
    (tmp_path / "scp_statements.csv").write_text(",description,diagnostic,form,rhythm\nNORM,normal ECG,1.0,,\n")
    row = (
        "{k},{k},{age},1,made,1990-01-01 10:00:00,sinus rhythm.,\"{{'NORM': 100.0}}\",9,records100/00000/0000{k}_lr,x\n"
    )
    (tmp_path / "ptbxl_database.csv").write_text(
        "ecg_id,patient_id,age,sex,device,recording_date,report,scp_codes,strat_fold,filename_lr,filename_hr\n"
        + row.format(k=1, age="300.0")
        + row.format(k=2, age="70.0")
    )
    assert [item.case.age_years for item in ptbxl_items(tmp_path)] == [90, 70]


def test_table_is_read_with_any_line_end(tmp_path: Path) -> None:
    (tmp_path / "cases.csv").write_bytes(b'file,report\r\na.hea,"one\r\ntwo"\r\n')
    assert read_table(tmp_path / "cases.csv")["a"]["report"] == "one\r\ntwo"


@pytest.mark.parametrize("labels", ["AMI:101", "AMI:-5", "SR; AMI:1e300", "AMI:nan"])
def test_likelihoods_are_percent(labels: str) -> None:
    with pytest.raises(RecordError, match=r"expected 0 to 100 percent"):
        case_of("x/1", "x", Path("r1.hea"), {"labels": labels})
    assert case_of("x/1", "x", Path("r1.hea"), {"labels": "AMI:0; SR"}).labels == {"AMI": 0.0, "SR": 100.0}
