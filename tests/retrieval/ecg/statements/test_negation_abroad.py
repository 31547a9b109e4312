"""What is denied or doubted in eight languages, and cues behind the finding.

The sentences were written for this test, the first seventy before the cues were.
"""

from __future__ import annotations

import pytest

from ecgkin.retrieval.ecg.statements.find import find_statements

NO, YES, MAYBE = "absent", "present", "possible"

SENTENCES: list[tuple[str, dict[str, str]]] = [
    ("Für einen Linksschenkelblock fehlt jeder Anhalt.", {"CLBBB": NO}),
    ("Das Vorhofflimmern ist verschwunden, jetzt Sinusrhythmus.", {"AFIB": NO, "SR": YES}),
    ("Der Automat hat Vorhofflimmern irrtümlich angegeben.", {"AFIB": NO}),
    ("Vorhofflimmern: kann ich nicht nachvollziehen", {"AFIB": NO}),
    ("Ø Vorhofflimmern, Ø Linksschenkelblock", {"AFIB": NO, "CLBBB": NO}),
    ("Der Verdacht auf Vorhofflimmern bestätigt sich nicht.", {"AFIB": NO}),
    ("Die Automatendiagnose Linksschenkelblock ist falsch.", {"CLBBB": NO}),
    ("Zweifellos Vorhofflimmern.", {"AFIB": YES}),
    ("Ohne jeden Zweifel ein Linksschenkelblock.", {"CLBBB": YES}),
    ("Vorhofflimmern lässt sich nicht ausschließen.", {"AFIB": MAYBE}),
    ("Gegen einen Linksschenkelblock spricht das schmale QRS.", {"CLBBB": NO}),
    ("Wegfall des Linksschenkelblocks.", {"CLBBB": NO}),
    ("AF has gone.", {"AFIB": NO}),
    ("The machine erroneously calls atrial fibrillation.", {"AFIB": NO}),
    ("Atrial fibrillation was a misreading.", {"AFIB": NO}),
    ("Sinus rhythm w/o AF, w/o LBBB", {"SR": YES, "AFIB": NO, "CLBBB": NO}),
    ("LBBB not any more", {"CLBBB": NO}),
    ("Falls short of criteria for LVH.", {"LVH": NO}),
    ("Automated diagnosis of left bundle branch block is incorrect.", {"CLBBB": NO}),
    ("Computer: LBBB. I disagree.", {"CLBBB": NO}),
    ("P waves argue against atrial fibrillation.", {"AFIB": NO}),
    ("Without question atrial fibrillation.", {"AFIB": YES}),
    ("Neg. for WPW.", {"WPW": NO}),
    ("The atrial fibrillation is not confirmed on overreading.", {"AFIB": NO}),
    ("AF can't be ruled out.", {"AFIB": MAYBE}),
    ("Förmaksflimmer har upphört.", {"AFIB": NO}),
    ("Datorn tolkar felaktigt förmaksflimmer.", {"AFIB": NO}),
    ("Inte längre vänstergrenblock.", {"CLBBB": NO}),
    ("Förmaksflimmer kan inte bekräftas.", {"AFIB": NO}),
    ("Varken WPW eller vänstergrenblock ses.", {"WPW": NO, "CLBBB": NO}),
    ("Utan tvekan förmaksflimmer.", {"AFIB": YES}),
    ("Förmaksflimmer går inte att utesluta.", {"AFIB": MAYBE}),
    ("Fibrillation auriculaire non visible ce jour.", {"AFIB": NO}),
    ("Le bloc de branche gauche n'est plus visible.", {"CLBBB": NO}),
    ("Rythme sinusal, plus de fibrillation auriculaire.", {"SR": YES, "AFIB": NO}),
    ("Bloc de branche gauche : absent", {"CLBBB": NO}),
    ("L'automate conclut à tort à une fibrillation auriculaire.", {"AFIB": NO}),
    ("Fibrillation auriculaire éliminée.", {"AFIB": NO}),
    ("Jamais de fibrillation auriculaire.", {"AFIB": NO}),
    ("Ni bloc de branche gauche, ni fibrillation auriculaire.", {"CLBBB": NO, "AFIB": NO}),
    ("Impossible d'exclure une fibrillation auriculaire.", {"AFIB": MAYBE}),
    ("Sans aucun doute une fibrillation auriculaire.", {"AFIB": YES}),
    ("Fibrillation auriculaire probable", {"AFIB": MAYBE}),
    ("No se observa fibrilación auricular.", {"AFIB": NO}),
    ("Fibrilación auricular descartada.", {"AFIB": NO}),
    ("Ya no hay fibrilación auricular.", {"AFIB": NO}),
    ("Fibrilación auricular: no", {"AFIB": NO}),
    ("Ni fibrilación auricular ni bloqueo de rama izquierda.", {"AFIB": NO}),
    ("No se puede descartar fibrilación auricular.", {"AFIB": MAYBE}),
    ("La fibrilación auricular ha desaparecido.", {"AFIB": NO}),
    ("Fibrillazione atriale non più presente.", {"AFIB": NO}),
    ("Né fibrillazione atriale né blocco di branca sinistra.", {"AFIB": NO}),
    ("Non si osserva fibrillazione atriale.", {"AFIB": NO}),
    ("Fibrillazione atriale esclusa.", {"AFIB": NO}),
    ("Non si può escludere fibrillazione atriale.", {"AFIB": MAYBE}),
    ("Fibrillazione atriale: assente", {"AFIB": NO}),
    ("Atriumfibrilleren niet aangetoond.", {"AFIB": NO}),
    ("Niet langer atriumfibrilleren.", {"AFIB": NO}),
    ("Atriumfibrilleren: nee", {"AFIB": NO}),
    ("Atriumfibrilleren is verdwenen.", {"AFIB": NO}),
    ("Atriumfibrilleren kan niet worden uitgesloten.", {"AFIB": MAYBE}),
    ("Noch atriumfibrilleren, noch linkerbundeltakblok.", {"AFIB": NO}),
    ("Fibrilação atrial não observada.", {"AFIB": NO}),
    ("Fibrilação atrial: não", {"AFIB": NO}),
    ("Nem fibrilação atrial nem bloqueio de ramo esquerdo.", {"AFIB": NO}),
    ("Não se pode excluir fibrilação atrial.", {"AFIB": MAYBE}),
    ("A fibrilação atrial desapareceu.", {"AFIB": NO}),
    ("Fibrilação atrial afastada.", {"AFIB": NO}),
    ("Ritmo sinusal, sem fibrilação atrial.", {"AFIB": NO}),
    # Of others.
    ("Gegen Vorhofflimmern spricht die klare P-Welle.", {"AFIB": NO}),
    ("Vorhofflimmern wurde vom Computer fälschlich diagnostiziert.", {"AFIB": NO}),
    ("Linksschenkelblock? Nein.", {"CLBBB": NO}),
    ("WPW: Ø", {"WPW": NO}),
    ("WPW Ø, AV-Block Ø", {"WPW": NO}),
    ("Nicht: Vorhofflimmern", {"AFIB": NO}),
    ("Vorhofflimmern hat sich nicht bestätigt.", {"AFIB": NO}),
    ("-ve for AF", {"AFIB": NO}),
    ("w/o LBBB", {"CLBBB": NO}),
    ("The computer's reading of atrial fibrillation is wrong.", {"AFIB": NO}),
    ("Computer read: atrial fibrillation. Disagree: sinus rhythm with PACs.", {"AFIB": NO}),
    ("Atrial fibrillation? I don't think so.", {"AFIB": NO}),
    ("Mimics anterior infarction, but no infarction.", {"AMI": NO}),
    ("LBBB no longer", {"CLBBB": NO}),
    ("LBBB not now", {"CLBBB": NO}),
    ("Short of LVH criteria", {"LVH": NO}),
    ("Vänstergrenblock har försvunnit.", {"CLBBB": NO}),
    ("Vare sig förmaksflimmer eller vänstergrenblock.", {"AFIB": NO, "CLBBB": NO}),
    ("La fibrillation auriculaire a disparu.", {"AFIB": NO}),
    ("Fibrillation auriculaire non retrouvée.", {"AFIB": NO}),
    ("Fibrillation auriculaire : non", {"AFIB": NO}),
    ("Ni fibrillation auriculaire ni bloc de branche gauche.", {"AFIB": NO, "CLBBB": NO}),
    ("On n'observe plus de fibrillation auriculaire.", {"AFIB": NO}),
    ("Fibrillation auriculaire écartée.", {"AFIB": NO}),
    ("Fibrillation auriculaire n'est pas présente", {"AFIB": NO}),
    ("Plus de fibrillation auriculaire, rythme sinusal.", {"AFIB": NO}),
    ("Disparition du bloc de branche gauche.", {"CLBBB": NO}),
    ("Ohne Frage Linksschenkelblock", {"CLBBB": YES}),
    ("On ne peut exclure une fibrillation auriculaire", {"AFIB": MAYBE}),
    ("Fibrillation auriculaire non exclue", {"AFIB": MAYBE}),
    # What the cues must leave alone.
    ("Noch Vorhofflimmern.", {"AFIB": YES}),
    ("AF plus LBBB", {"AFIB": YES, "CLBBB": YES}),
    ("L'ECG n'exclut pas une fibrillation auriculaire", {"AFIB": MAYBE}),
    ("LBBB plus visible P waves", {"CLBBB": YES}),
    ("Le bloc de branche gauche n'est pas nouveau", {"CLBBB": YES}),
    ("Immer noch Linksschenkelblock", {"CLBBB": YES}),
    ("LBBB, leads incorrectly placed", {"CLBBB": YES}),
    ("Incorrectly placed leads, LBBB", {"CLBBB": YES}),
    ("La fibrillation auriculaire est connue", {"AFIB": YES}),
    ("En mai, fibrillation auriculaire", {"AFIB": YES}),
    ("Fibrilación auricular no conocida", {"AFIB": YES}),
    ("Plus de trois ondes P; bloc de branche gauche", {"CLBBB": YES}),
    ("Bloc de branche gauche en plus de la fibrillation auriculaire", {"CLBBB": YES, "AFIB": YES}),
    ("Vorhofflimmern, der Automat liegt richtig", {"AFIB": YES}),
    ("Computer: LBBB. I agree.", {"CLBBB": YES}),
    ("Gegen Mittag Vorhofflimmern", {"AFIB": YES}),
]


@pytest.mark.parametrize(("text", "expected"), SENTENCES)
def test_denied_and_doubted_in_eight_languages(text: str, expected: dict[str, str]) -> None:
    found = {found.code: found.polarity for found in find_statements(text)}
    assert {code: found.get(code) for code in expected} == expected


def test_an_article_is_no_left_atrium() -> None:
    assert [found.code for found in find_statements("La fibrillation auriculaire")] == ["AFIB"]
    assert [found.code for found in find_statements("LA enlargement")] == ["LAO/LAE"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # "cannot be excluded" as an adjective
        ("Nicht auszuschließender Linksschenkelblock.", {"CLBBB": MAYBE}),
        ("Nicht ausschließbares Vorhofflimmern.", {"AFIB": MAYBE}),
        # one instead of another, "not ... but"
        ("Statt des Linksschenkelblocks nun Rechtsschenkelblock.", {"CLBBB": NO, "CRBBB": YES}),
        ("Instead of AF now atrial flutter.", {"AFIB": NO, "AFLT": YES}),
        ("Nicht nun Vorhofflimmern.", {"AFIB": NO}),
        ("Inte förmaksflimmer utan förmaksfladder.", {"AFIB": NO, "AFLT": YES}),
        ("Ej förmaksflimmer, utan vänstergrenblock.", {"AFIB": NO, "CLBBB": YES}),
        ("Förmaksflimmer utan vänstergrenblock.", {"AFIB": YES, "CLBBB": NO}),
        # no change of what is there
        ("Nessuna variazione del blocco di branca sinistra.", {"CLBBB": YES}),
        ("Ingen förändring av vänstergrenblocket.", {"CLBBB": YES}),
        ("Sans modification du bloc de branche gauche.", {"CLBBB": YES}),
        ("Sin cambios en el bloqueo de rama izquierda.", {"CLBBB": YES}),
        ("Sem alterações do bloqueio de ramo esquerdo.", {"CLBBB": YES}),
        # what came in its place, what is seen no more, what was refused
        ("AF has given way to sinus rhythm.", {"AFIB": NO, "SR": YES}),
        ("LBBB replaced by RBBB.", {"CLBBB": NO, "CRBBB": YES}),
        ("La fibrillation auriculaire a laissé place à un rythme sinusal.", {"AFIB": NO, "SR": YES}),
        ("Das vorbeschriebene Vorhofflimmern stellt sich nicht mehr dar.", {"AFIB": NO}),
        ("Vom Vorliegen eines Vorhofflimmerns ist nicht auszugehen.", {"AFIB": NO}),
        ("L'hypothèse d'une fibrillation auriculaire est rejetée.", {"AFIB": NO}),
        ("Die Diagnose Vorhofflimmern wurde verworfen.", {"AFIB": NO}),
        ("Fibrillazione atriale risolta.", {"AFIB": NO}),
        ("Fibrilación auricular resuelta.", {"AFIB": NO}),
        ("Atrial fibrillation is off the table.", {"AFIB": NO}),
        # far from it, hardly, like it
        ("Far from meeting LVH criteria.", {"LVH": NO}),
        ("Artifact simulating atrial flutter.", {"AFLT": NO}),
        ("Failure to show LBBB.", {"CLBBB": NO}),
        ("Hardly LBBB.", {"CLBBB": MAYBE}),
        ("Kaum Linksschenkelblock.", {"CLBBB": MAYBE}),
        # doubt
        ("Bloc de branche gauche incertain.", {"CLBBB": MAYBE}),
        ("Osäkert förmaksflimmer.", {"AFIB": MAYBE}),
        ("Fibrillazione atriale incerta.", {"AFIB": MAYBE}),
        ("LBBB is uncertain.", {"CLBBB": MAYBE}),
        # a bare word, and compounds that share their end
        ("Blocco di branca sinistra completo, non fibrillazione atriale.", {"CLBBB": YES, "AFIB": NO}),
        ("Weder Links- noch Rechtsschenkelblock.", {"CLBBB": NO, "CRBBB": NO}),
        ("Links- und Rechtsschenkelblock.", {"CLBBB": YES, "CRBBB": YES}),
        ("Varken höger- eller vänstergrenblock.", {"CRBBB": NO, "CLBBB": NO}),
    ],
)
def test_instead_unchanged_replaced_hardly(text: str, expected: dict[str, str]) -> None:
    found = {hit.code: hit.polarity for hit in find_statements(text)}
    assert {code: found.get(code) for code in expected} == expected
