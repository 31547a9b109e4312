"""Report texts: what is stripped before anyone reads them, how two are compared, which language they are in.

Facts on PTB-XL's texts (field.md 5.4.5): about a third end in a device line ("4.46  unbestätigter bericht"), some 2.5 %
carry a note "Edit: ..." that spells out the label codes with their likelihoods. The note is a label leak: it must not
reach training, prompts or evaluation, hence `clean_report` cuts everything from it on.
"""

from __future__ import annotations

import re
import unicodedata

# The patterns are for text whose white space is squeezed: a pattern that begins with `\s*` costs the square of a run of
# blanks, and texts come from strangers.
# The note runs to the end of the text in every report that has one; "Edit:" also follows the boilerplate.
_EDIT_NOTE = re.compile(r"\bedit ?:.*\Z", re.IGNORECASE | re.DOTALL)
# Program version and status of the device: whole wherever it stands, at the end of the text also cut off by a field
# width ("4.46  unbe", "4.4"). The same words without the number are a clinician's and stay ("infarkt alter unbest.").
_DEVICE_LINE = re.compile(
    r" ?\b4\.4\d (?:unbest(?:ä|ae)tigter bericht|unconfirmed report)\b ?\.?"
    r"| ?\b4\.4\d?(?: u(?:n[^\W\d_]*)?(?: [br][^\W\d_]*)?)? ?\.? ?\Z",
    re.IGNORECASE,
)
_NOT_WORD = re.compile(r"[\W_]+")
# A trace without an interpretation: nothing in it describes the ECG.
_EMPTY_OF_FINDINGS = frozenset({"", "trace only requested".replace("ue", "ü")})


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Folded words (see `fold`), the commonest of each language in ECG reports.
_SWEDISH = _words(
    """
    och ej med vid rytm sinusrytm avvikande normalt normal ekg abnormt elaxel axel vansterstalld hogerstalld hoger
    vanster forandring forandringar ospecifik ospecifika tvag tvagsforandring tvagor stsankning formaksflimmer
    formaksfladder troligen sannolikt mojligen grenblock skankelblock hogersidigt vanstersidigt kammarextraslag
    extraslag extrasystoli arytmi bradykardi takykardi sinustakykardi sinusbradykardi hypertrofi infarkt inferior
    anteroseptal overledning forlangd
    """
)
_GERMAN = _words(
    """
    und oder nicht mit ohne bei der die das ein eine lagetyp normales sonst ekg sinusrhythmus linkstyp rechtstyp
    indifferenztyp steiltyp uberdrehter abnorm abnormal abnormes unspezifisches infarkt alter unbest unbestimmt
    wahrscheinlich alt moglich vorhofflimmern vorhofflattern tachykardie ventrikulare extrasystole extrasystolen
    linksschenkelblock rechtsschenkelblock schrittmacher linkshypertrophie rhythmus sinusbradykardie
    sinustachykardie arrhythmie niederspannung verlangerung ableitungen ischamie myokardschaden hemiblock kein keine
    anhalt leitungsstorung patient
    """
)
_ENGLISH = _words(
    """
    and or not with without the is are of in for rhythm ecg normal sinus wave waves leads lead segments depressed
    inverted flat low likely due to ischaemic ischaemia heart disease old infarction infarct non specific left right
    bundle branch block atrial ventricular premature axis deviation voltages suggesting otherwise hypertrophy no
    changes interval prolonged beat beats fibrillation flutter pacing dual chamber trace only requested definite
    pathology incomplete complete patient
    """
)
# Words of reports in Italian, Spanish, French, Portuguese and Dutch: what they outnumber is none of the three.
_OTHER = _words(
    """
    il lo gli del della dei delle con senza nei limiti norma ritmo sinusale blocco branca sinistra destra
    completo incompleto atriale fibrillazione flutter frequenza onda onde asse tracciato alterazioni ripolarizzazione
    ischemia pregresso infarto miocardico inferiore anteriore ipertrofia ventricolare sinistro segni tachicardia
    bradicardia extrasistoli nella nelle anomalie aspecifiche
    el los las del dentro limites ritmo sinusal bloqueo rama izquierda derecha izquierdo derecho auricular
    fibrilacion frecuencia eje onda ondas alteraciones repolarizacion isquemia antiguo hipertrofia
    ventricular taquicardia extrasistoles trazado electrocardiograma cambios inespecificos
    anormal du les avec sans dans rythme sinusal bloc branche gauche droit droite complet auriculaire fibrillation
    frequence axe ondes trouble troubles repolarisation ischemie ancien infarctus myocarde hypertrophie ventriculaire
    tachycardie bradycardie extrasystoles limites normales trace electrique conduction
    com sem dentro bloqueio ramo esquerdo direito fibrilhacao fibrilacao frequencia eixo alteracoes repolarizacao
    isquemia miocardio hipertrofia taquicardia extrassistoles tracado
    het een normaal met zonder van voor niet sinusritme linkerbundeltakblok rechterbundeltakblok boezemfibrilleren
    hartfrequentie geleiding afwijkingen oud infarct onderwand voorwand hypertrofie
    """
) - (_SWEDISH | _GERMAN | _ENGLISH)
COMMON_WORDS = _SWEDISH | _GERMAN | _ENGLISH
"""Folded words that are common in reports of the three languages: none of them is a name."""
# Words of two or three of the lists say nothing on their own.
_SHARED = (_SWEDISH & _GERMAN) | (_SWEDISH & _ENGLISH) | (_GERMAN & _ENGLISH)


def fold(text: str) -> str:
    """Lower case, umlauts and their two-letter spellings as the bare vowel: the form in which words are compared.

    >>> fold("MÖglich"), fold("moeglich"), fold("Ischämie"), fold("förmaksflimmer")
    ('moglich', 'moglich', 'ischamie', 'formaksflimmer')
    """
    plain = unicodedata.normalize("NFKD", text.lower().replace("ß", "ss"))
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    return re.sub(r"([aou])e", r"\1", plain)


def clean_report(text: str | None) -> str:
    """The report without the editors' "Edit:" note and the device's status line, on one line.

    Args:
        text: Raw report; None counts as empty.

    Returns:
        The text in its own spelling and case, runs of white space squeezed to one blank; "" when nothing remains.

    >>> clean_report("sinusrhythmus normales ekg 4.46      unbestÄtigter bericht Edit: NORM 100, (LVH 50)")
    'sinusrhythmus normales ekg'
    """
    if not text:
        return ""
    kept = _EDIT_NOTE.sub("", _squeezed(unicodedata.normalize("NFC", text)))
    return _squeezed(_DEVICE_LINE.sub(" ", kept))


def _squeezed(text: str) -> str:
    """Runs of white space as one blank, none at the ends."""
    return " ".join(text.split())


def normalise_report(text: str | None) -> str:
    """The form in which two reports count as the same text (field.md 5.4.5).

    `clean_report`, lower case, ä ö ü for ae oe ue, everything but letters and digits to one blank.

    >>> normalise_report("Sinus rhythm.  Normal ECG.") == normalise_report("sinus rhythm normal ecg")
    True
    >>> normalise_report("ischaemie mÖglich")
    'ischämie möglich'
    """
    lower = unicodedata.normalize("NFC", clean_report(text).lower())
    lower = lower.replace("ae", "ä").replace("oe", "ö").replace("ue", "ü")
    return _NOT_WORD.sub(" ", lower).strip()


def has_findings(text: str | None) -> bool:
    """Whether the cleaned text says anything about the ECG ("trace only requested" does not).

    >>> has_findings("trace only requested."), has_findings("sinus rhythm")
    (False, True)
    """
    return normalise_report(text) not in _EMPTY_OF_FINDINGS


def report_language(text: str | None) -> str:
    """Language of a report: "en", "de" or "sv"; "" when no known word tells, or more of them are of other languages.

    Counts words that only one of three short word lists holds; where the lists tie, German wins over English over
    Swedish, the order of their shares in PTB-XL.

    >>> report_language("sinusrhythmus linkstyp"), report_language("Sinus rhythm, left axis."), report_language("123")
    ('de', 'en', '')
    >>> report_language("Ritmo sinusale, ECG nei limiti della norma")
    ''
    """
    words = [fold(w) for w in _NOT_WORD.sub(" ", clean_report(text)).split()]
    score = {
        "de": sum(w in _GERMAN - _SHARED for w in words),
        "en": sum(w in _ENGLISH - _SHARED for w in words),
        "sv": sum(w in _SWEDISH - _SHARED for w in words),
    }
    best = max(score, key=lambda name: score[name])
    return best if score[best] > sum(w in _OTHER for w in words) else ""
