"""Notes and warnings: a code, its values, and one table of their wording in English and German.

What a reader, a search or a drafter has to say beside its result is a `Note`. It is text (English) wherever text is
wanted; code that depends on what is said asks for `Note.code`, never for words. Remarks of the file readers that
nothing depends on may stay plain text: `NoteCode.OTHER`.

>>> note = Note(NoteCode.PAGE_ROTATED, degrees=3.21)
>>> note, note.code.value, note.text("de")
('page was rotated by 3.2 degrees', 'page_rotated', 'Blatt war um 3.2 Grad gedreht')
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Literal, TypeAlias

Language = Literal["en", "de"]
Value: TypeAlias = "str | int | float | tuple[str, str]"
"""What fills a gap of the wording; words that differ by language come as a pair, English first."""


class NoteCode(StrEnum):
    """What a note says. The values are part of the API: they are never renamed."""

    # Page reading.
    GRID_NOT_FOUND = "grid_not_found"
    PAPER_STRAIGHTENED = "paper_straightened"
    PAGE_ROTATED = "page_rotated"
    PAGE_UPSIDE_DOWN = "page_upside_down"
    PAGE_DARK = "page_dark"
    PAGE_ON_ITS_SIDE = "page_on_its_side"
    PAGE_ON_ITS_SIDE_UNSURE = "page_on_its_side_unsure"
    LAYOUT_UNKNOWN = "layout_unknown"
    ROWS_LEVELLED = "rows_levelled"
    TRACES_FAINT = "traces_faint"
    GAIN_ASSUMED = "gain_assumed"
    SPEED_ASSUMED = "speed_assumed"
    LIMB_LEADS_CONTRADICT = "limb_leads_contradict"
    NOT_DIGITISED = "not_digitised"
    TWO_ECGS = "two_ecgs"
    DIGITISED = "digitised"
    # Documents that hold pages.
    PAGE_OF_DOCUMENT = "page_of_document"
    LINES_NOT_READ = "lines_not_read"
    ECG_PAGES = "ecg_pages"
    # Records.
    LEADS_MISSING = "leads_missing"
    LEADS_FLAT = "leads_flat"
    LEADS_COMPUTED = "leads_computed"
    LEADS_UNLAWFUL = "leads_unlawful"
    SAMPLES_MISSING = "samples_missing"
    CHANNEL_LEFT_OUT = "channel_left_out"
    LEAD_EMPTY = "lead_empty"
    AMPLITUDE_IMPLAUSIBLE = "amplitude_implausible"
    AMPLITUDE_TINY = "amplitude_tiny"
    RECORD_WINDOWED = "record_windowed"
    RECORD_SHORT = "record_short"
    NO_BEATS = "no_beats"
    LEADS_ALIKE = "leads_alike"
    TIME_IMPLAUSIBLE = "time_implausible"
    # Search and vote.
    NO_CASE_PASSES = "no_case_passes"
    NO_CASE_HAS = "no_case_has"
    NO_SUCH_PATIENT = "no_such_patient"
    NOTHING_SIMILAR = "nothing_similar"
    PAGE_UNREADABLE = "page_unreadable"
    FEW_CASES_PASS = "few_cases_pass"
    FEW_CASES_THERE = "few_cases_there"
    MARKED_LEFT_OUT = "marked_left_out"
    VOTE_FILTERED = "vote_filtered"
    VOTE_NOT_CALIBRATED = "vote_not_calibrated"
    VOTE_TOO_SHALLOW = "vote_too_shallow"
    VOTE_OTHER_SIZE = "vote_other_size"
    READING_MISSING = "reading_missing"
    WITNESS_SILENT = "witness_silent"
    SIGNALS_OF_PAGE = "signals_of_page"
    # Words of a query.
    WORDS_READ_AS = "words_read_as"
    WORDS_UNKNOWN = "words_unknown"
    WORDS_UNUSED = "words_unused"
    WORDS_CONTRADICT = "words_contradict"
    WORDS_NOT_UNDERSTOOD = "words_not_understood"
    WORDS_NOT_CARRIED = "words_not_carried"
    WORDS_NONE_CARRIES_ALL = "words_none_carries_all"
    WORDS_NONE_WITHIN = "words_none_within"
    WORDS_FEW_CARRY = "words_few_carry"
    WORDS_IN_REPORTS = "words_in_reports"
    WORDS_NOT_MEASURED = "words_not_measured"
    WORDS_IMPLY = "words_imply"
    WORDS_IMPLY_NOT = "words_imply_not"
    WORDS_LEADS = "words_leads"
    WORDS_ONLY_NEAR = "words_only_near"
    WORDS_ONLY_FILTER = "words_only_filter"
    # Drafts.
    DRAFT_CUT = "draft_cut"
    DRAFT_EMPTY = "draft_empty"
    DRAFT_UNCITED = "draft_uncited"
    DRAFT_STATES_AND_DENIES = "draft_states_and_denies"
    DRAFT_STATES_UNCARRIED = "draft_states_uncarried"
    DRAFT_DENIES_CARRIED = "draft_denies_carried"
    CITED_CASES_LACK = "cited_cases_lack"
    CITED_CASES_CARRY = "cited_cases_carry"
    CITED_UNKNOWN = "cited_unknown"
    # Said in the words of a reader, and by nobody asked for.
    OTHER = "other"


WORDING: Mapping[NoteCode, tuple[str, str]] = {
    NoteCode.GRID_NOT_FOUND: ("grid not found: scale unknown", "kein Raster gefunden: Maßstab unbekannt"),
    NoteCode.PAPER_STRAIGHTENED: (
        "paper found on a background and straightened",
        "Papier auf einem Hintergrund gefunden und entzerrt",
    ),
    NoteCode.PAGE_ROTATED: ("page was rotated by {degrees:.1f} degrees", "Blatt war um {degrees:.1f} Grad gedreht"),
    NoteCode.PAGE_UPSIDE_DOWN: (
        "page was upside down: turned by 180 degrees",
        "Blatt stand auf dem Kopf: um 180 Grad gedreht",
    ),
    NoteCode.PAGE_DARK: (
        "light curves on a dark ground: colours were turned round",
        "helle Kurven auf dunklem Grund: Farben wurden umgekehrt",
    ),
    NoteCode.PAGE_ON_ITS_SIDE: (
        "page lay on its side: turned by 90 degrees",
        "Blatt lag auf der Seite: um 90 Grad gedreht",
    ),
    NoteCode.PAGE_ON_ITS_SIDE_UNSURE: (
        "page lay on its side: turned by 90 degrees, it may be upside down",
        "Blatt lag auf der Seite: um 90 Grad gedreht, es kann auf dem Kopf stehen",
    ),
    NoteCode.LAYOUT_UNKNOWN: (
        "{n_rows} rows of traces: layout unknown",
        "{n_rows} Zeilen mit Kurven: Anordnung nicht erkannt",
    ),
    NoteCode.ROWS_LEVELLED: (
        "rows were bent or sloped and were levelled",
        "Zeilen waren gebogen oder schräg und wurden begradigt",
    ),
    NoteCode.GAIN_ASSUMED: ("gain assumed: 10 mm/mV", "Verstärkung angenommen: 10 mm/mV"),
    NoteCode.SPEED_ASSUMED: ("paper speed assumed: 25 mm/s", "Papiervorschub angenommen: 25 mm/s"),
    NoteCode.LIMB_LEADS_CONTRADICT: (
        "the limb leads contradict Einthoven's law: rows may be swapped or misread",
        "die Extremitätenableitungen widersprechen dem Einthoven-Gesetz: Zeilen vertauscht oder falsch gelesen",
    ),
    NoteCode.NOT_DIGITISED: (
        "the curves could not be read as numbers: searched by the picture alone, nothing is measured",
        "die Kurven ließen sich nicht als Messwerte lesen: nur das Bild wurde gesucht, nichts ist gemessen",
    ),
    NoteCode.TWO_ECGS: (
        "the sheet seems to show more than one ECG: cut the others off, or outline one by its corners",
        "das Blatt zeigt wohl mehr als ein EKG: die anderen abschneiden oder eines mit seinen Ecken umreißen",
    ),
    NoteCode.DIGITISED: (
        "read off a picture ({layout}), not recorded: {sure:.0f} % of the curves are sure",
        "aus einem Bild gelesen ({layout}), nicht aufgezeichnet: {sure:.0f} % der Kurven sind sicher",
    ),
    NoteCode.TRACES_FAINT: (
        "traces are hard to tell from the paper",
        "Kurven heben sich kaum vom Papier ab",
    ),
    NoteCode.PAGE_OF_DOCUMENT: (
        "the document has {n_pages} pages: page {page} is read",
        "das Dokument hat {n_pages} Seiten: Seite {page} wurde gelesen",
    ),
    NoteCode.LINES_NOT_READ: (
        "read as a picture, its lines are not read as numbers: {reason}",
        "als Bild gelesen, die Linien wurden nicht als Messwerte gelesen: {reason}",
    ),
    NoteCode.ECG_PAGES: (
        "pages {pages} of the document show an ECG: the first of them is read unless a page is asked for",
        "die Seiten {pages} des Dokuments zeigen ein EKG: die erste davon wurde gelesen, wenn keine verlangt ist",
    ),
    NoteCode.LEADS_MISSING: ("missing leads: {leads}", "Ableitungen fehlen: {leads}"),
    NoteCode.LEADS_FLAT: ("flat leads: {leads}", "Ableitungen ohne Ausschlag: {leads}"),
    NoteCode.LEADS_COMPUTED: ("{leads} computed from {base}", "{leads} aus {base} berechnet"),
    NoteCode.SAMPLES_MISSING: (
        "{leads}: {n} of {total} samples are missing",
        "{leads}: {n} von {total} Abtastwerten fehlen",
    ),
    NoteCode.CHANNEL_LEFT_OUT: (
        "channel {name} is none of the twelve leads: left out",
        "Kanal {name} ist keine der zwölf Ableitungen: weggelassen",
    ),
    NoteCode.LEAD_EMPTY: ("lead {lead} holds no sample: missing", "Ableitung {lead} enthält keinen Abtastwert: fehlt"),
    NoteCode.AMPLITUDE_IMPLAUSIBLE: (
        "amplitudes reach {mv:.0f} mV: the unit or the gain is probably wrong",
        "Ausschläge bis {mv:.0f} mV: Einheit oder Verstärkung stimmen vermutlich nicht",
    ),
    NoteCode.AMPLITUDE_TINY: (
        "no lead spans more than {mv:.2g} mV: the unit or the gain is probably wrong",
        "keine Ableitung schlägt mehr als {mv:.2g} mV aus: Einheit oder Verstärkung stimmen vermutlich nicht",
    ),
    NoteCode.LEADS_UNLAWFUL: (
        "the leads {leads} contradict Einthoven's law by {percent} %: are they named rightly, of one gain, and "
        "recorded at the same time?",
        "die Ableitungen {leads} widersprechen dem Einthoven-Gesetz um {percent} %: sind sie richtig benannt, gleich "
        "verstärkt und gleichzeitig aufgezeichnet?",
    ),
    NoteCode.RECORD_WINDOWED: (
        "the record lasts {total_s:g} s, a page shows {page_s:g} s: seconds {start_s:g} to {end_s:g} are used",
        "die Aufzeichnung dauert {total_s:g} s, ein Blatt zeigt {page_s:g} s: Sekunde {start_s:g} bis {end_s:g} zählt",
    ),
    NoteCode.RECORD_SHORT: (
        "the record lasts {total_s:g} s, a page shows {page_s:g} s: all of it is used",
        "die Aufzeichnung dauert {total_s:g} s, ein Blatt zeigt {page_s:g} s: sie zählt ganz",
    ),
    NoteCode.NO_BEATS: (
        "no heartbeats are found: noise, no ECG, or a heart that does not beat (fibrillation, asystole)",
        "keine Herzschläge gefunden: Rauschen, kein EKG, oder ein Herz, das nicht schlägt (Flimmern, Asystolie)",
    ),
    NoteCode.LEADS_ALIKE: (
        "all leads show the same curve: one lead that was copied, or not an ECG of these leads",
        "alle Ableitungen zeigen dieselbe Kurve: eine kopierte Ableitung, oder kein EKG dieser Ableitungen",
    ),
    NoteCode.TIME_IMPLAUSIBLE: (
        "the intervals are those of a record at {factor:g} times this rate: is the sampling rate or paper speed right?",
        "die Intervalle passen zur {factor:g}fachen Rate: stimmt die Abtastrate oder der Papiervorschub?",
    ),
    NoteCode.NO_CASE_PASSES: ("no case passes the filter", "kein Fall passt zu den Filtern"),
    NoteCode.NO_CASE_HAS: (
        "no case of this case base has {what}{instead}",
        "kein Fall dieser Sammlung hat {what}{instead}",
    ),
    NoteCode.NO_SUCH_PATIENT: (
        "no case of patient {patient} is in this case base: nothing was left out",
        "kein Fall von Patient {patient} ist in dieser Sammlung: nichts wurde ausgelassen",
    ),
    NoteCode.NOTHING_SIMILAR: (
        "nothing similar: best score {best:.3f} is below {threshold:.3f}",
        "nichts Ähnliches: bester Wert {best:.3f} liegt unter {threshold:.3f}",
    ),
    NoteCode.PAGE_UNREADABLE: (
        "this page cannot be read well enough to compare it ({why}): photograph it flat, in focus and filling the "
        "picture, or put right what was misread",
        "diese Seite ist für einen Vergleich nicht gut genug lesbar ({why}): flach, scharf und formatfüllend "
        "aufnehmen, oder berichtigen, was falsch gelesen wurde",
    ),
    NoteCode.FEW_CASES_PASS: (
        "only {found} of the {asked} cases asked for pass the filter",
        "nur {found} von {asked} Fällen passen zu den Filtern",
    ),
    NoteCode.FEW_CASES_THERE: (
        "only {found} of the {asked} cases asked for are there",
        "nur {found} von {asked} gewünschten Fällen sind da",
    ),
    NoteCode.MARKED_LEFT_OUT: (
        "cases marked as not similar, left out: {n}",
        "als nicht ähnlich markierte Fälle, ausgelassen: {n}",
    ),
    NoteCode.VOTE_FILTERED: (
        "the vote counts only cases that pass the filter",
        "das Votum zählt nur Fälle, die zu den Filtern passen",
    ),
    NoteCode.VOTE_NOT_CALIBRATED: (
        "not calibrated: shares of the neighbours, not probabilities",
        "nicht kalibriert: Anteile der Nachbarn, keine Wahrscheinlichkeiten",
    ),
    NoteCode.VOTE_TOO_SHALLOW: (
        "not calibrated: {n} neighbours, the calibration needs {depth}",
        "nicht kalibriert: {n} Nachbarn, die Kalibrierung braucht {depth}",
    ),
    NoteCode.READING_MISSING: (
        "this encoder reads no statements off an ECG: the vote of the similar cases stands alone",
        "dieser Encoder liest keine Befunde aus einem EKG: das Votum der ähnlichen Fälle steht allein",
    ),
    NoteCode.SIGNALS_OF_PAGE: (
        "{name} knows no pages: it was given the signals that were read off the picture",
        "{name} kennt keine Seiten: verglichen wurden die Signale, die vom Bild abgelesen wurden",
    ),
    NoteCode.WITNESS_SILENT: (
        "{name} says nothing of this ECG: {why}",
        "{name} sagt nichts zu diesem EKG: {why}",
    ),
    NoteCode.VOTE_OTHER_SIZE: (
        "calibrated with {n_gallery} cases; this case base holds {n_cases}",
        "kalibriert mit {n_gallery} Fällen; diese Sammlung hat {n_cases}",
    ),
    NoteCode.WORDS_READ_AS: ('"{word}" was read as "{read_as}"', '„{word}“ wurde als „{read_as}“ gelesen'),
    NoteCode.WORDS_UNKNOWN: ("words that are not known: {words}", "unbekannte Wörter: {words}"),
    NoteCode.WORDS_UNUSED: (
        'this part of the words was not used: "{text}"',
        "dieser Teil der Wörter wurde nicht verwendet: „{text}“",
    ),
    NoteCode.WORDS_CONTRADICT: (
        "the words contradict themselves: {what} is asked for and denied",
        "die Wörter widersprechen sich: {what} wird verlangt und ausgeschlossen",
    ),
    NoteCode.WORDS_NOT_UNDERSTOOD: (
        "too little of these words is about ECGs: the cases below are not an answer to them",
        "zu wenige dieser Wörter handeln von EKGs: die Fälle darunter sind keine Antwort darauf",
    ),
    NoteCode.WORDS_NOT_CARRIED: (
        "no case carries {what}; nearest in words: {near}",
        "kein Fall trägt {what}; am nächsten kommt: {near}",
    ),
    NoteCode.WORDS_NONE_CARRIES_ALL: (
        "no case carries all of this: {what}; cases with part of it come first",
        "kein Fall trägt all dies: {what}; Fälle mit einem Teil davon stehen vorn",
    ),
    NoteCode.WORDS_NONE_WITHIN: (
        "no case that passes the filters carries {what}; without them there are some",
        "kein Fall, der zu den Filtern passt, trägt {what}; ohne sie gibt es welche",
    ),
    NoteCode.WORDS_FEW_CARRY: (
        "cases shown that carry {what}: {n}; those behind them are the nearest in words",
        "gezeigte Fälle mit {what}: {n}; dahinter stehen die dem Wortlaut nach nächsten",
    ),
    NoteCode.WORDS_IN_REPORTS: (
        "no statement says {what}; reports that name it: {n}; their cases come first",
        "keine Aussage heißt {what}; Befunde, die es nennen: {n}; ihre Fälle stehen vorn",
    ),
    NoteCode.WORDS_NOT_MEASURED: (
        'this case base holds no measured {what}: "{text}" was not used as a number',
        "diese Sammlung enthält keine gemessene {what}: „{text}“ wurde nicht als Zahl verwendet",
    ),
    NoteCode.WORDS_IMPLY: (
        'in the place of "{text}", cases with {what} come first',
        "anstelle von „{text}“ stehen Fälle mit {what} vorn",
    ),
    NoteCode.WORDS_IMPLY_NOT: (
        'in the place of "{text}", cases without {what} come first',
        "anstelle von „{text}“ stehen Fälle ohne {what} vorn",
    ),
    NoteCode.WORDS_LEADS: (
        "leads are not asked for: {leads} only counts in the order of the cases",
        "nach Ableitungen wird nicht gesucht: {leads} zählt nur in der Reihenfolge der Fälle",
    ),
    NoteCode.WORDS_ONLY_NEAR: (
        "no finding was recognised in these words: the cases are the nearest in wording",
        "in diesen Wörtern wurde kein Befund erkannt: die Fälle sind die dem Wortlaut nach nächsten",
    ),
    NoteCode.WORDS_ONLY_FILTER: (
        "the words only leave cases out: the order of the others says little",
        "die Wörter schließen nur Fälle aus: die Reihenfolge der übrigen sagt wenig",
    ),
    NoteCode.DRAFT_CUT: (
        "the answer was cut at the longest length allowed",
        "die Antwort wurde bei der größten erlaubten Länge abgeschnitten",
    ),
    NoteCode.DRAFT_EMPTY: ("the model answered nothing", "das Modell hat nichts geantwortet"),
    NoteCode.DRAFT_UNCITED: ("no sentence cites a case", "kein Satz zitiert einen Fall"),
    NoteCode.DRAFT_STATES_AND_DENIES: (
        "the draft both states and denies {name}",
        "der Entwurf nennt und verneint {name}",
    ),
    NoteCode.DRAFT_STATES_UNCARRIED: (
        "the draft states {name}, none of the {n} similar cases carry it",
        "der Entwurf nennt {name}, keiner der {n} ähnlichen Fälle trägt es",
    ),
    NoteCode.DRAFT_DENIES_CARRIED: (
        "the draft denies {name}, all of the {n} similar cases carry it",
        "der Entwurf verneint {name}, alle {n} ähnlichen Fälle tragen es",
    ),
    NoteCode.CITED_CASES_LACK: (
        "the cases cited for {name} do not carry it",
        "die für {name} zitierten Fälle tragen es nicht",
    ),
    NoteCode.CITED_CASES_CARRY: (
        "the cases cited for {name} all carry it",
        "die gegen {name} zitierten Fälle tragen es alle",
    ),
    NoteCode.CITED_UNKNOWN: ("cited but never given: {marks}", "zitiert, aber nie vorgelegt: {marks}"),
    NoteCode.OTHER: ("{text}", "{text}"),
}  # fmt: skip


class Note(str):
    """One note: English text that knows its code and values.

    Args:
        code: What is said.
        values: What fills the gaps of its wording (see `WORDING`).

    Attributes:
        code: The code.
        values: The values by name.

    Raises:
        KeyError: The wording has a gap that `values` do not fill.
    """

    code: NoteCode
    values: Mapping[str, Value]

    def __new__(cls, code: NoteCode, /, **values: Value) -> Note:
        """Words of the code, filled in."""
        note = super().__new__(cls, _worded(code, values, "en"))
        note.code, note.values = code, values
        return note

    def __reduce__(self) -> tuple[Any, ...]:
        """For copies and other processes: a note stays a note."""
        return (_note, (self.code, dict(self.values)))

    def text(self, language: Language) -> str:
        """The note in a language; a remark in a reader's own words stays as it is."""
        return _worded(self.code, self.values, language)

    @classmethod
    def of(cls, text: str) -> Note:
        """A note as it is; plain text as `NoteCode.OTHER`.

        >>> Note.of("checksum wrong").code.value
        'other'
        """
        return text if isinstance(text, Note) else cls(NoteCode.OTHER, text=text)


def _note(code: NoteCode, values: dict[str, Value]) -> Note:
    return Note(code, **values)


def _worded(code: NoteCode, values: Mapping[str, Value], language: Language) -> str:
    column = ("en", "de").index(language)
    said = {name: value[column] if isinstance(value, tuple) else value for name, value in values.items()}
    return WORDING[code][column].format(**said)


def without(notes: Iterable[Note], *codes: NoteCode) -> tuple[Note, ...]:
    """The notes that carry none of these codes, in their order."""
    return tuple(note for note in notes if note.code not in codes)
