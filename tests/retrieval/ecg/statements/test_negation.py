"""Negation and doubt in reports and answers: what is denied, or of earlier times, is never read as there.

The sentences were written for this test.
"""

from __future__ import annotations

import pytest

from ecgkin.retrieval.ecg.statements.find import abroad, find_statements

NO, YES, MAYBE = "absent", "present", "possible"

SENTENCES: list[tuple[str, dict[str, str]]] = [
    ("Neither LBBB nor RBBB [1].", {"CLBBB": NO, "CRBBB": NO}),
    ("Neither atrial fibrillation nor atrial flutter is seen.", {"AFIB": NO, "AFLT": NO}),
    ("There is neither left ventricular hypertrophy nor a left bundle branch block.", {"LVH": NO, "CLBBB": NO}),
    ("AF: negative", {"AFIB": NO}),
    ("Atrial fibrillation: no. Left bundle branch block: yes.", {"AFIB": NO, "CLBBB": YES}),
    ("LVH: absent; RVH: none; LBBB: present.", {"LVH": NO, "RVH": NO, "CLBBB": YES}),
    ("Left bundle branch block - not present", {"CLBBB": NO}),
    ("The patient denies atrial fibrillation.", {"AFIB": NO}),
    ("Atrial fibrillation is no longer present.", {"AFIB": NO}),
    ("The atrial fibrillation has resolved.", {"AFIB": NO}),
    ("No longer in atrial flutter; now in sinus rhythm.", {"AFLT": NO, "SR": YES}),
    ("The ECG does not show a left bundle branch block.", {"CLBBB": NO}),
    ("There isn't any left bundle branch block.", {"CLBBB": NO}),
    ("This doesn't look like atrial fibrillation.", {"AFIB": NO}),
    ("A left bundle branch block could not be identified.", {"CLBBB": NO}),
    ("Left ventricular hypertrophy was not observed in this tracing.", {"LVH": NO}),
    ("Left bundle branch block cannot be seen.", {"CLBBB": NO}),
    ("Voltage criteria for left ventricular hypertrophy are not met.", {"VCLVH": NO}),
    ("Does not meet criteria for left ventricular hypertrophy.", {"LVH": NO}),
    ("Left ventricular hypertrophy criteria not fulfilled.", {"LVH": NO}),
    ("Sinus rhythm rather than atrial fibrillation.", {"SR": YES, "AFIB": NO}),
    ("Sinus rhythm instead of atrial flutter.", {"SR": YES, "AFLT": NO}),
    ("Lack of left ventricular hypertrophy.", {"LVH": NO}),
    ("No AFIB, AFLT, CLBBB or WPW.", {"AFIB": NO, "AFLT": NO, "CLBBB": NO, "WPW": NO}),
    ("No signs whatsoever at any point of the whole recording of atrial fibrillation.", {"AFIB": NO}),
    ("Anterior myocardial infarction can be ruled out.", {"AMI": NO}),
    ("Inferior myocardial infarction is very unlikely.", {"IMI": NO}),
    ("Free from atrial fibrillation.", {"AFIB": NO}),
    ("Nothing to suggest atrial fibrillation.", {"AFIB": NO}),
    ("Atrial fibrillation is not what this tracing shows.", {"AFIB": NO}),
    ("Atrial fibrillation cannot be excluded.", {"AFIB": MAYBE}),
    ("Not only atrial fibrillation but also left bundle branch block.", {"AFIB": YES, "CLBBB": YES}),
    ("Atrial fibrillation without left bundle branch block.", {"AFIB": YES, "CLBBB": NO}),
    ("No P waves: atrial fibrillation.", {"AFIB": YES}),
    ("Left bundle branch block, not seen before.", {"CLBBB": YES}),
    ("No change: left bundle branch block persists.", {"CLBBB": YES}),
    ("No change in the left bundle branch block.", {"CLBBB": YES}),
    ("Not sinus rhythm but atrial fibrillation.", {"SR": NO, "AFIB": YES}),
    ("Vorhofflimmern liegt nicht vor. Neither LBBB nor RBBB [1].", {"AFIB": NO, "CLBBB": NO, "CRBBB": NO}),
    ("Ein Linksschenkelblock besteht nicht.", {"CLBBB": NO}),
    ("Vorhofflimmern ist nicht mehr nachweisbar.", {"AFIB": NO}),
    ("Vorhofflimmern nicht mehr nachweisbar, jetzt Sinusrhythmus.", {"AFIB": NO, "SR": YES}),
    ("Weder Linksschenkelblock noch Rechtsschenkelblock.", {"CLBBB": NO, "CRBBB": NO}),
    ("Es liegen weder Vorhofflimmern noch ein Linksschenkelblock vor.", {"AFIB": NO, "CLBBB": NO}),
    ("Der Patient ist frei von Vorhofflimmern.", {"AFIB": NO}),
    ("Vorhofflimmern: negativ", {"AFIB": NO}),
    ("Vorhofflimmern: nein; Linksschenkelblock: ja.", {"AFIB": NO, "CLBBB": YES}),
    ("Ein Linksschenkelblock lässt sich nicht nachweisen.", {"CLBBB": NO}),
    ("Ein Linksschenkelblock ist nicht zu erkennen.", {"CLBBB": NO}),
    ("Vorhofflimmern findet sich nicht.", {"AFIB": NO}),
    ("Ein Linksschenkelblock zeigt sich im gesamten EKG nicht.", {"CLBBB": NO}),
    ("Vorhofflimmern wird verneint.", {"AFIB": NO}),
    ("Vorhofflimmern konnte ausgeschlossen werden.", {"AFIB": NO}),
    ("Die Kriterien für eine Linksherzhypertrophie sind nicht erfüllt.", {"LVH": NO}),
    ("Sinusrhythmus statt Vorhofflimmern.", {"SR": YES, "AFIB": NO}),
    ("Keinerlei Hinweis auf Vorhofflimmern oder Vorhofflattern.", {"AFIB": NO, "AFLT": NO}),
    ("Zeichen einer Linksherzhypertrophie fehlen.", {"LVH": NO}),
    ("Kein Vorhofflimmern mehr, sondern Sinusrhythmus.", {"AFIB": NO, "SR": YES}),
    ("Vorhofflimmern ist unwahrscheinlich.", {"AFIB": NO}),
    ("Vorhofflimmern ist nicht auszuschließen.", {"AFIB": MAYBE}),
    ("Vorhofflimmern kann nicht sicher ausgeschlossen werden.", {"AFIB": MAYBE}),
    ("Nicht nur Vorhofflimmern, auch ein Linksschenkelblock liegt vor.", {"AFIB": YES, "CLBBB": YES}),
    ("Vorhofflimmern ohne Linksschenkelblock.", {"AFIB": YES, "CLBBB": NO}),
    ("Linksschenkelblock, nicht vorbekannt.", {"CLBBB": YES}),
    ("Vorhofflimmern liegt vor, ein Linksschenkelblock nicht.", {"AFIB": YES, "CLBBB": NO}),
    ("Keine Änderung: weiterhin Vorhofflimmern.", {"AFIB": YES}),
    ("Kein Sinusrhythmus, sondern Vorhofflimmern.", {"SR": NO, "AFIB": YES}),
    ("LBBB and RBBB are not seen.", {"CLBBB": NO, "CRBBB": NO}),
    ("Linksschenkelblock und Rechtsschenkelblock sind nicht nachweisbar.", {"CLBBB": NO, "CRBBB": NO}),
    ("Left bundle branch block or atrial fibrillation is not seen.", {"CLBBB": NO, "AFIB": NO}),
    ("Sinus rhythm and left bundle branch block.", {"SR": YES, "CLBBB": YES}),
    ("Sinusrhythmus: kein Vorhofflimmern.", {"SR": YES, "AFIB": NO}),
    ("No evidence of ischemia in the presence of left bundle branch block.", {"ISC_": NO, "CLBBB": YES}),
    ("Atrial fibrillation without rapid ventricular response", {"AFIB": YES}),
    ("Vorhofflimmern mit nicht tachykarder Überleitung.", {"AFIB": YES}),
    ("Linksschenkelblock, QRS-Dauer nicht verlängert gegenüber Vor-EKG.", {"CLBBB": YES}),
    ("Left bundle branch block is not new.", {"CLBBB": YES}),
    ("Linksschenkelblock ist nicht neu.", {"CLBBB": YES}),
    ("Vorhofflimmern kann weder bestätigt noch ausgeschlossen werden.", {"AFIB": MAYBE}),
    ("Atrial fibrillation can neither be confirmed nor excluded.", {"AFIB": MAYBE}),
    ("I do not see atrial fibrillation.", {"AFIB": NO}),
    ("I see no left bundle branch block and no hypertrophy.", {"CLBBB": NO}),
    ("Ich sehe hier kein Vorhofflimmern und auch keinen Linksschenkelblock.", {"AFIB": NO, "CLBBB": NO}),
    ("Ein Vorhofflimmern sehe ich nicht.", {"AFIB": NO}),
    (
        "Ein Vorhofflimmern ist in diesem EKG nicht zu sehen, es besteht ein Linksschenkelblock.",
        {"AFIB": NO, "CLBBB": YES},
    ),
    ("There is no atrial fibrillation, but there is left bundle branch block.", {"AFIB": NO, "CLBBB": YES}),
    ("The ECG excludes atrial fibrillation.", {"AFIB": NO}),
    ("not atrial fibrillation", {"AFIB": NO}),
    ("Atrial fibrillation (absent), left bundle branch block (present)", {"AFIB": NO, "CLBBB": YES}),
    ("Absent: atrial fibrillation. Present: left bundle branch block.", {"AFIB": NO, "CLBBB": YES}),
    ("Ausgeschlossen: Vorhofflimmern.", {"AFIB": NO}),
    ("Nicht vorhanden: Vorhofflimmern, Linksschenkelblock.", {"AFIB": NO, "CLBBB": NO}),
    ("Atrial fibrillation ruled out.", {"AFIB": NO}),
    ("Hinweise auf Vorhofflimmern ergeben sich nicht.", {"AFIB": NO}),
    ("Hinweise auf Vorhofflimmern bestehen nicht.", {"AFIB": NO}),
    ("For atrial fibrillation there is no evidence.", {"AFIB": NO}),
    ("Für Vorhofflimmern gibt es keinen Anhalt.", {"AFIB": NO}),
    ("Atrial fibrillation: not detected", {"AFIB": NO}),
    ("Atrial fibrillation - no evidence", {"AFIB": NO}),
    ("Vorhofflimmern besteht keines.", {"AFIB": NO}),
    ("Inga tecken på förmaksflimmer.", {"AFIB": NO}),
    ("Förmaksflimmer föreligger ej.", {"AFIB": NO}),
    ("Left bundle branch block is unlikely.", {"CLBBB": NO}),
    ("Left bundle branch block is improbable.", {"CLBBB": NO}),
    ("Kein sicherer Hinweis auf Vorhofflimmern", {"AFIB": NO}),
    ("The absence of atrial fibrillation is noted", {"AFIB": NO}),
    ("Patient hat kein VHF, LSB oder WPW", {"AFIB": NO, "CLBBB": NO, "WPW": NO}),
    ("Atrial fibrillation has not been seen in this tracing.", {"AFIB": NO}),
    ("Left bundle branch block has not changed.", {"CLBBB": YES}),
    ("Nil LBBB, nil LVH.", {"CLBBB": NO, "LVH": NO}),
    ("AF (-), LBBB (+)", {"AFIB": NO, "CLBBB": YES}),
    ("r/o AF", {"AFIB": MAYBE}),
    ("QRS is wide, but this is not a left bundle branch block.", {"CLBBB": NO}),
    ("LBBB not seen in women.", {"CLBBB": NO}),
    ("Utesluten förmaksflimmer.", {"AFIB": NO}),
    ("Uteslutet vänstergrenblock, sinusrytm.", {"CLBBB": NO, "SR": YES}),
    ("Avsaknad av förmaksflimmer, LBBB.", {"AFIB": NO, "CLBBB": YES}),
    ("Vänstergrenblock ej påvisat.", {"CLBBB": NO}),
    ("Kan inte utesluta förmaksflimmer.", {"AFIB": MAYBE}),
    ("Osannolikt förmaksflimmer.", {"AFIB": NO}),
    ("Sannolikt förmaksflimmer.", {"AFIB": MAYBE}),
    ("Ausgeschlossenes Vorhofflimmern.", {"AFIB": NO}),
    ("Nicht ausgeschlossenes Vorhofflimmern.", {"AFIB": MAYBE}),
    ("Unlikely atrial fibrillation.", {"AFIB": NO}),
    ("Previously AF, now sinus rhythm.", {"AFIB": NO, "SR": YES}),
    ("In AF previously, today SR", {"AFIB": NO, "SR": YES}),
    ("AF in the past.", {"AFIB": NO}),
    ("Known paroxysmal AF, now sinus rhythm.", {"AFIB": NO, "SR": YES}),
    ("Previous ECG showed atrial fibrillation.", {"AFIB": NO}),
    ("Last ECG: atrial fibrillation. Today: sinus rhythm.", {"AFIB": NO, "SR": YES}),
    ("Atrial fibrillation has been replaced by sinus rhythm.", {"AFIB": NO, "SR": YES}),
    ("LBBB was seen on the previous ECG.", {"CLBBB": NO}),
    ("Family history of WPW.", {"WPW": NO}),
    ("H/o atrial fibrillation, currently sinus rhythm.", {"AFIB": NO, "SR": YES}),
    ("History of atrial fibrillation.", {"AFIB": MAYBE}),
    ("Anamnestisch Vorhofflimmern.", {"AFIB": MAYBE}),
    ("Z.n. Vorhofflimmern, aktuell Sinusrhythmus.", {"AFIB": NO, "SR": YES}),
    ("Bekanntes paroxysmales Vorhofflimmern, aktuell Sinusrhythmus.", {"AFIB": NO, "SR": YES}),
    ("Früher Vorhofflimmern, jetzt Sinusrhythmus.", {"AFIB": NO, "SR": YES}),
    ("Vorhofflimmern in der Vorgeschichte.", {"AFIB": NO}),
    ("Tidigare förmaksflimmer, nu sinusrytm.", {"AFIB": NO, "SR": YES}),
    ("Compared with the previous ECG left bundle branch block is new.", {"CLBBB": YES}),
    ("Previously noted left bundle branch block persists.", {"CLBBB": YES}),
    ("Left bundle branch block as on the previous ECG.", {"CLBBB": YES}),
    ("Vorbekannter Linksschenkelblock.", {"CLBBB": YES}),
    ("Known atrial fibrillation with rapid ventricular response.", {"AFIB": YES}),
    ("Previously sinus rhythm, now atrial fibrillation.", {"SR": NO, "AFIB": YES}),
    ("History of inferior infarction.", {"IMI": YES}),
    ("Anamnestisch Hinterwandinfarkt, normales EKG.", {"IMI": YES, "NORM": YES}),
    ("No AF, LBBB.", {"AFIB": NO, "CLBBB": YES}),
    ("No AF, LBBB or RBBB.", {"AFIB": NO, "CLBBB": NO, "CRBBB": NO}),
    ("No AF, there is LBBB or RBBB.", {"AFIB": NO, "CLBBB": YES, "CRBBB": YES}),
    (
        "Kein Vorhofflimmern, es besteht ein Linksschenkelblock oder Rechtsschenkelblock.",
        {"AFIB": NO, "CLBBB": YES, "CRBBB": YES},
    ),
    ("Pas de LBBB, pas d'AFIB.", {"CLBBB": NO, "AFIB": NO}),
    ("Absence de WPW. LBBB absent, AFIB exclue.", {"WPW": NO, "CLBBB": NO, "AFIB": NO}),
    ("Senza LBBB. Assenza di WPW. Nessuna AFIB. LVH assente.", {"CLBBB": NO, "WPW": NO, "AFIB": NO, "LVH": NO}),
    ("Sin LBBB. No se observa AFIB. LVH no presente. WPW ausente.", {"CLBBB": NO, "AFIB": NO, "LVH": NO, "WPW": NO}),
    ("Sem LBBB. Geen AFIB, zonder WPW. LVH niet aanwezig.", {"CLBBB": NO, "AFIB": NO, "WPW": NO, "LVH": NO}),
    ("LBBB is unlikely and atrial fibrillation is present.", {"CLBBB": NO, "AFIB": YES}),
]


@pytest.mark.parametrize(("text", "expected"), SENTENCES, ids=[text[:60] for text, _ in SENTENCES])
def test_polarity(text: str, expected: dict[str, str]) -> None:
    found: dict[str, set[str]] = {}
    for hit in find_statements(text):
        found.setdefault(hit.code, set()).add(hit.polarity)
    assert found == {code: {polarity} for code, polarity in expected.items()}


@pytest.mark.parametrize("text", [text for text, expected in SENTENCES if set(expected.values()) == {NO}])
def test_capitals_and_neighbours_change_nothing(text: str) -> None:
    """The same sentence in capitals, or between two others, denies the same."""
    codes = {hit.code for hit in find_statements(text)}
    capitals = text.upper() if " es " not in text else text  # "ES" is an abbreviation of extrasystoles
    for other in (capitals, f"ECG of poor quality. {text}\nHeart rate 72/min.", f"Report:\n{text}\nSinus rhythm."):
        assert not {hit.code for hit in find_statements(other) if hit.polarity != NO} & (codes - {"SR"}), other


def test_a_mark_after_a_short_word_ends_the_sentence() -> None:
    hits = find_statements("Kein AF. LBBB. Artefakte in II. Wide QRS no. 5")
    assert [(hit.code, hit.polarity) for hit in hits[:2]] == [("AFIB", NO), ("CLBBB", YES)]
    hits = find_statements("Z. n. Hinterwandinfarkt, V. a. Linksschenkelblock, kein AV-Block 1. Grades")
    assert [(hit.code, hit.polarity) for hit in hits] == [("IMI", YES), ("CLBBB", MAYBE), ("1AVB", NO)]


def test_lists_and_single_words() -> None:
    hits = find_statements("No LBBB, RBBB, WPW, AFIB or LVH. LVH. Kein Vorhofflimmern. LBBB? No.")
    assert [(hit.code, hit.polarity) for hit in hits] == [
        ("CLBBB", NO), ("CRBBB", NO), ("WPW", NO), ("AFIB", NO), ("LVH", NO), ("LVH", YES), ("AFIB", NO),
        ("CLBBB", NO),
    ]  # fmt: skip
    assert [hit.polarity for hit in find_statements("LBBB? No P waves.")] == [MAYBE]


ABROAD: list[tuple[str, dict[str, str]]] = [
    ("Rythme sinusal. Bloc de branche gauche complet. Pas de signe d'infarctus inférieur.",
     {"SR": YES, "CLBBB": YES, "IMI": NO}),
    ("Fibrillation auriculaire, extrasystoles ventriculaires. Pas d'hypertrophie ventriculaire gauche.",
     {"AFIB": YES, "PVC": YES, "LVH": NO}),
    ("Bloc auriculo-ventriculaire du premier degré, hémibloc antérieur gauche, sus-décalage du segment ST.",
     {"1AVB": YES, "LAFB": YES, "STE_": YES}),
    ("Bloc de branche droit incomplet, absence d'onde T négative, QT allongé",
     {"IRBBB": YES, "INVT": NO, "LNGQT": YES}),
    ("ECG normal, sans fibrillation auriculaire.", {"NORM": YES, "AFIB": NO}),
    ("Ritmo sinusale, blocco di branca destra completo. Non segni di ipertrofia ventricolare sinistra.",
     {"SR": YES, "CRBBB": YES, "LVH": NO}),
    ("Fibrillazione atriale, emiblocco anteriore sinistro, sottoslivellamento del tratto ST, onde T negative",
     {"AFIB": YES, "LAFB": YES, "STD_": YES, "INVT": YES}),
    ("Tachicardia sinusale; assenza di blocco di branca sinistra. Probabile infarto miocardico inferiore",
     {"STACH": YES, "CLBBB": NO, "IMI": MAYBE}),
    ("Ritmo sinusal. Bloqueo de rama izquierda. Sin signos de infarto inferior. QT prolongado.",
     {"SR": YES, "CLBBB": YES, "IMI": NO, "LNGQT": YES}),
    ("Bloqueo AV de primer grado, hipertrofia del ventrículo izquierdo, extrasístoles auriculares.",
     {"1AVB": YES, "LVH": YES, "PAC": YES}),
    ("No se observa fibrilación auricular. Flutter auricular descartado. Probable infarto anterior.",
     {"AFIB": NO, "AFLT": NO, "AMI": MAYBE}),
    ("Ritmo sinusal, bloqueio de ramo direito, sobrecarga ventricular esquerda. Ausência de fibrilação atrial.",
     {"SR": YES, "CRBBB": YES, "LVH": YES, "AFIB": NO}),
    ("Bloqueio divisional anterossuperior esquerdo. Extrassístoles ventriculares. Sem supradesnivelamento do ST.",
     {"LAFB": YES, "PVC": YES, "STE_": NO}),
    ("Sinusritme, linkerbundeltakblok, geen tekenen van onderwandinfarct. Mogelijk linkerventrikelhypertrofie.",
     {"SR": YES, "CLBBB": YES, "IMI": NO, "LVH": MAYBE}),
    ("Atriumfibrilleren, negatieve T-toppen, ST-depressie. Eerstegraads AV-blok afwezig.",
     {"AFIB": YES, "INVT": YES, "STD_": YES, "1AVB": NO}),
    ("Normaal ECG. Incompleet rechterbundeltakblok; LBTB niet aanwezig.", {"NORM": YES, "IRBBB": YES, "CLBBB": NO}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), ABROAD)
def test_names_in_five_more_languages(text: str, expected: dict[str, str]) -> None:
    assert {hit.code: hit.polarity for hit in find_statements(text)} == expected


def test_names_abroad_take_no_other_statements_name() -> None:
    """Each means in the whole tree what its table says, and each language has the commonest thirty."""
    for text, code in abroad():
        found = [(hit.code, hit.matched) for hit in find_statements(text.upper())]
        assert [code] == [got for got, _ in found], (text, code, found)
    assert len({code for _, code in abroad()}) >= 30


MORE: list[tuple[str, dict[str, str]]] = [
    ("No evidence for acute inferior infarction is noted.", {"IMI": NO}),
    ("Atrial fibrillation: none detected", {"AFIB": NO}),
    ("AF ruled out by clear P waves.", {"AFIB": NO}),
    ("LBBB - no; RBBB - yes", {"CLBBB": NO, "CRBBB": YES}),
    ("Absence of left ventricular hypertrophy or right bundle branch block.", {"LVH": NO, "CRBBB": NO}),
    ("No left bundle branch block, however atrial fibrillation persists.", {"CLBBB": NO, "AFIB": YES}),
    ("There was no atrial fibrillation, but left bundle branch block was present.", {"AFIB": NO, "CLBBB": YES}),
    ("I see no sinus rhythm.", {"SR": NO}),
    ("Sinus rhythm, not atrial fibrillation", {"SR": YES, "AFIB": NO}),
    ("Without atrial fibrillation or flutter, LVH present", {"AFIB": NO, "LVH": YES}),
    ("The tracing is negative for left bundle branch block", {"CLBBB": NO}),
    ("Never had atrial fibrillation", {"AFIB": NO}),
    ("LVH not suggested", {"LVH": NO}),
    ("LVH is doubtful", {"LVH": MAYBE}),
    ("Doubtful left ventricular hypertrophy", {"LVH": MAYBE}),
    ("Rule out inferior infarction", {"IMI": MAYBE}),
    ("Cannot rule out anterior infarct", {"AMI": MAYBE}),
    ("?LVH", {"LVH": MAYBE}),
    ("LVH?", {"LVH": MAYBE}),
    ("Query atrial fibrillation", {"AFIB": MAYBE}),
    ("Atrial fibrillation is excluded but LBBB isn't.", {"AFIB": NO, "CLBBB": YES}),
    ("Neither inferior infarction, LVH, nor LBBB", {"IMI": NO, "LVH": NO, "CLBBB": NO}),
    (
        "Kein Vorhofflimmern, kein Linksschenkelblock, aber Rechtsschenkelblock.",
        {"AFIB": NO, "CLBBB": NO, "CRBBB": YES},
    ),
    ("Vorhofflimmern kann ausgeschlossen werden", {"AFIB": NO}),
    ("Ein Vorhofflimmern zeigt sich nicht.", {"AFIB": NO}),
    ("Hinweise auf Linksschenkelblock ergeben sich nicht.", {"CLBBB": NO}),
    ("Vorhofflimmern: keines", {"AFIB": NO}),
    ("Linksschenkelblock: nein, Rechtsschenkelblock: ja", {"CLBBB": NO, "CRBBB": YES}),
    ("Statt Vorhofflimmern jetzt Sinusrhythmus", {"AFIB": NO, "SR": YES}),
    ("Vorhofflimmern nicht sicher auszuschließen", {"AFIB": MAYBE}),
    ("Vorhofflimmern eher unwahrscheinlich", {"AFIB": NO}),
    ("Fragliches Vorhofflimmern", {"AFIB": MAYBE}),
    ("Vorhofflimmern? Sinusrhythmus", {"AFIB": MAYBE, "SR": YES}),
    ("Zustand nach Hinterwandinfarkt", {"IMI": YES}),
    ("Kein Anhalt für eine linksventrikuläre Hypertrophie, keine Ischämiezeichen", {"LVH": NO, "ISC_": NO}),
    ("Keinerlei Hinweis auf Vorhofflimmern", {"AFIB": NO}),
    ("Es fehlt ein Linksschenkelblock", {"CLBBB": NO}),
    ("Ein LSB oder RSB ist nicht erkennbar.", {"CLBBB": NO, "CRBBB": NO}),
    ("Vorhofflimmern verneint, LSB bejaht", {"AFIB": NO, "CLBBB": YES}),
    ("Inget förmaksflimmer, vänstergrenblock", {"AFIB": NO, "CLBBB": YES}),
    ("Förmaksflimmer kan uteslutas", {"AFIB": NO}),
    ("Ej vänstergrenblock", {"CLBBB": NO}),
    ("no afib", {"AFIB": NO}),
    ("The presence of atrial fibrillation is excluded.", {"AFIB": NO}),
    ("Evidence of atrial fibrillation is lacking.", {"AFIB": NO}),
    ("Atrial fibrillation: 0", {"AFIB": NO}),
    ("Atrial fibrillation [ ] Left bundle branch block [x]", {"AFIB": NO, "CLBBB": YES}),
    ("☐ Vorhofflimmern ☒ Linksschenkelblock", {"AFIB": NO, "CLBBB": YES}),
    ("Atrial fibrillation (no)", {"AFIB": NO}),
    ("AFIB=0, CLBBB=1", {"AFIB": NO, "CLBBB": YES}),
    ("Atrial fibrillation: false; LVH: true", {"AFIB": NO, "LVH": YES}),
    ("It is incorrect that atrial fibrillation is present.", {"AFIB": NO}),
    ("Not consistent with atrial fibrillation.", {"AFIB": NO}),
    ("No convincing left bundle branch block", {"CLBBB": NO}),
    ("Not enough for LVH", {"LVH": NO}),
    ("Insufficient criteria for LVH", {"LVH": NO}),
    ("LVH criteria: negative", {"LVH": NO}),
    ("Unlike atrial fibrillation, the rhythm is regular.", {"AFIB": NO}),
    ("Screening for atrial fibrillation negative", {"AFIB": NO}),
    ("To exclude atrial fibrillation a Holter is advised.", {"AFIB": MAYBE}),
    ("Mother had atrial fibrillation.", {"AFIB": NO}),
    ("If atrial fibrillation occurs, anticoagulate.", {"AFIB": MAYBE}),
    ("[x] LBBB [ ] RBBB\n[ ] AFIB [X] LVH", {"CLBBB": YES, "CRBBB": NO, "AFIB": NO, "LVH": YES}),
]


@pytest.mark.parametrize(("text", "expected"), MORE)
def test_denied_doubted_and_ticked(text: str, expected: dict[str, str]) -> None:
    """Values ("no", 0, false), boxes of forms, conditions, advice to exclude, other people's findings."""
    assert {hit.code: hit.polarity for hit in find_statements(text)} == expected
