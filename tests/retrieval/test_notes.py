"""Notes: one table of wording, English as text, German by code; copies and other processes keep the code."""

from __future__ import annotations

import copy
import pickle
import string

import pytest

from ecgkin.retrieval.notes import WORDING, Note, NoteCode, without

VALUES = {"degrees": 3.2, "n_rows": 5, "n_pages": 4, "page": 2, "mv": 81.0, "total_s": 60.0, "page_s": 10.0,
          "start_s": 0.0, "end_s": 10.0, "best": 0.2, "threshold": 0.5, "sure": 93.0,
          "factor": 2.0}  # fmt: skip


def filled(code: NoteCode) -> Note:
    gaps = {name for _, name, _, _ in string.Formatter().parse(WORDING[code][0]) if name}
    return Note(code, **{name: VALUES.get(name, "x") for name in gaps})


@pytest.mark.parametrize("code", NoteCode)
def test_every_code_is_worded_in_both_languages_with_the_same_gaps(code: NoteCode) -> None:
    english, german = WORDING[code]
    gaps = [{name for _, name, _, _ in string.Formatter().parse(words) if name} for words in (english, german)]
    assert gaps[0] == gaps[1]
    note = filled(code)
    assert note == note.text("en") and "{" not in note.text("de")
    assert code is NoteCode.OTHER or note.text("de") != note


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda note: pickle.loads(pickle.dumps(note))])
def test_a_copy_keeps_code_and_values(again) -> None:  # type: ignore[no-untyped-def]
    note = again(Note(NoteCode.DRAFT_STATES_UNCARRIED, name=("atrial fibrillation", "Vorhofflimmern"), n=10))
    assert note.code is NoteCode.DRAFT_STATES_UNCARRIED and note.values["n"] == 10
    assert "Vorhofflimmern" in note.text("de") and "atrial fibrillation" in note


def test_notes_are_left_out_by_code() -> None:
    notes = (Note(NoteCode.PAGE_ROTATED, degrees=2.0), Note.of("page was rotated by hand"))
    assert without(notes, NoteCode.PAGE_ROTATED) == (notes[1],)
    assert Note.of(notes[0]) is notes[0]


def test_a_gap_that_nothing_fills_is_an_error() -> None:
    with pytest.raises(KeyError):
        Note(NoteCode.PAGE_ROTATED)
