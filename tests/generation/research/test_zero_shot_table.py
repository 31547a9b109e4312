"""Zero-shot tables: every encoder keeps its row, split files, prompts of the user's copy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from published_made import folders, names_of

from ecgkin.generation.research.retrieval.zero_shot_table import (
    ALL,
    COLUMNS,
    NO_DATA,
    NOT_AT_HAND,
    NOT_USABLE,
    read_prompts,
    read_split,
    zero_shot_table,
)
from ecgkin.generation.research.scope import Scope
from ecgkin.index.case import Case
from ecgkin.index.transfer.export import write_wfdb
from ecgkin.retrieval.errors import ModelError, QueryError

FOLDS = (7, 8, 9)
ALONE = Scope(FOLDS, gallery_folds=(), resamples=20)


def test_rows_without_weights(made_ptbxl: Path, tmp_path: Path) -> None:
    names = ["hashing", "merl", "d-beta", f"ecgfounder:{tmp_path / 'no'}", "more"]
    found = zero_shot_table(made_ptbxl, names, Scope(FOLDS, range(1, 7), resamples=20))
    assert list(found.rows) == ["hashing", "MERL", "D-BETA (C-MELT)", names[3], "MoRE"]
    for title, cells in found.rows.items():
        assert tuple(cells) == COLUMNS
        if title != "hashing":
            assert {cell.why for cell in cells.values()} == {NOT_AT_HAND}
            assert found.retrieval[title] == NOT_AT_HAND
    mine = found.rows["hashing"]
    assert mine["superclass"].auc is not None
    assert 0 <= mine["superclass"].auc.value <= 1
    assert mine["superclass"].of == 5
    assert mine["cpsc2018"].why == NO_DATA
    text = found.as_markdown()
    assert "MERL (ResNet), as published" in text
    assert "500 Hz (records500) are missing" in text
    assert "published figures are of fold 10" in text
    json.dumps(found.as_dict())
    assert set(ALL) == {"default", "merl", "d-beta", "ecgfounder", "more"}


def test_rows_with_weights(made_ptbxl: Path, tmp_path: Path) -> None:
    names = names_of(folders(tmp_path))
    chosen = [names["d-beta"], names["ecgfounder"]]
    found = zero_shot_table(made_ptbxl, chosen, ALONE)
    words, classes = (found.rows[name] for name in chosen)
    assert words["rhythm"].auc is not None
    assert classes["rhythm"].auc is not None
    assert classes["form"].of > 0
    assert classes["superclass"].of == 5
    assert any("published weights (other sizes)" in note for note in found.notes)
    assert not found.retrieval


def test_weights_that_do_not_fit_keep_their_row(made_ptbxl: Path, tmp_path: Path) -> None:
    (tmp_path / "x_ckpt.pth").write_bytes(b"nonsense")
    name, nowhere = f"merl:{tmp_path}", f"more:{tmp_path / 'no'}"
    found = zero_shot_table(made_ptbxl, [name, nowhere, "hashing"], ALONE)
    assert {cell.why for cell in found.rows[name].values()} == {NOT_USABLE}
    assert {cell.why for cell in found.rows[nowhere].values()} == {NOT_AT_HAND}
    assert found.rows["hashing"]["superclass"].auc is not None
    assert any("damaged or cut off" in note for note in found.notes)
    assert any("is not there" in note for note in found.notes)
    for only in (name, nowhere):
        with pytest.raises(ModelError):
            zero_shot_table(made_ptbxl, [only], ALONE)


def test_split_files(made_ptbxl: Path, tmp_path: Path) -> None:
    from ecgkin.retrieval.encoders.published.check import simulated_records

    (tmp_path / "records").mkdir()
    for number, record in enumerate(simulated_records(8)):
        write_wfdb(tmp_path / "records", Case(case_id=f"A{number}"), record)
    stems = sorted(path.stem for path in (tmp_path / "records").rglob("*.hea"))
    lines = ["patient_id,ecg_id,filename,validation,age,sex,scp_codes,AFIB,NORM,STD"]
    lines += [f"{n},{n},{stem},False,60.0,{n % 2},{{}},{n % 2},{int(n < 3)},0" for n, stem in enumerate(stems)]
    lines.append("99,99,not_there,False,60.0,0,{},1,0,0")
    file = tmp_path / "icbeb_test.csv"
    file.write_text("\n".join(lines) + "\n")
    one = read_split("cpsc2018", file, tmp_path / "records")
    assert one.classes == ("AFIB", "NORM", "STD")
    assert one.truth.shape == (9, 3)
    np.testing.assert_array_equal(one.truth[:8, 0], [n % 2 == 1 for n in range(8)])
    found = zero_shot_table(made_ptbxl, ["hashing"], ALONE, splits=[one])
    cell = found.rows["hashing"]["cpsc2018"]
    assert cell.auc is not None
    assert (cell.n, cell.n_classes, cell.of) == (8, 2, 3)  # STD has no positive among them
    assert any("8 of 9 ECGs of cpsc2018 were read" in note for note in found.notes)
    with pytest.raises(QueryError, match="is not there"):
        read_split("csn", tmp_path / "no.csv", tmp_path)
    file.write_text("a,b\n1,x\n")
    with pytest.raises(QueryError, match="a path column and classes"):
        read_split("csn", file, tmp_path)


def test_prompts_of_the_users_copy(made_ptbxl: Path, tmp_path: Path) -> None:
    file = tmp_path / "CKEPE_prompt.json"
    file.write_text(json.dumps({"NORM": "all is well", "STD": "the segment lies low"}))
    prompts = read_prompts(file)
    own = zero_shot_table(made_ptbxl, ["hashing"], ALONE)
    given = zero_shot_table(made_ptbxl, ["hashing"], ALONE, prompts=prompts)
    assert own.rows["hashing"]["superclass"].auc != given.rows["hashing"]["superclass"].auc
    assert own.rows["hashing"]["rhythm"].auc == given.rows["hashing"]["rhythm"].auc
    assert any(
        "the user's copy, by class; it lacks" in note and "this project's wording" in note for note in given.notes
    )
    file.write_text("[1]")
    with pytest.raises(QueryError, match="no table of texts"):
        read_prompts(file)
    file.write_text("{")
    with pytest.raises(QueryError, match="cannot be read as JSON"):
        read_prompts(file)
