"""De-identified ingest: identifiers become keyed hashes, names leave reports, notes and file names.

Patient, record, source and case are named by HMAC-SHA256 under a key that is kept apart from the base: the same
patient gets the same name at every ingest with that key, and nobody without it can try names. Birthdays, other
identifiers, file and folder names and columns of a table that are not its own are not stored; labels keep the known
codes, a device the words of known makers, filters their numbers; a date keeps its year, an age stops at 90. Names
that any header field, file name or table cell of a record spells leave everything of it; patterns (`without`) take
dates, numbers, addresses, mail and people behind a title or a word like "signed by". Words of the field
(`medical_words`) are never taken for names by a pattern; a name that is known from a header is taken out even where it
is such a word, unless it names a ward or a technician ("Heart Station"). Of a page nothing but its vector is stored.

What a machine cannot promise: a name in a free text that nothing else spells and nothing announces ("Meier was here").
Reports typed by people need a look.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from ecgkin.index.case import Case
from ecgkin.index.sources.items import IngestItem, Loaded
from ecgkin.retrieval.ecg.header import SourceHeader
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.ecg.statements.catalogue import STATEMENTS
from ecgkin.retrieval.ecg.statements.find import abroad
from ecgkin.retrieval.ecg.statements.report_text import COMMON_WORDS, fold
from ecgkin.retrieval.errors import QueryError, why

GONE = "[...]"
SHORTEST = 3
"""Letters of a name that is looked for by itself."""
_NAME = re.compile(r"[^\W\d_]+(?:[-'\u2019][^\W\d_]+)*")
_LARGE = r"[A-Z\u00c0-\u00de\u0100-\u017f\u0391-\u03a9\u0410-\u042f]"
_CAP = rf"(?:(?:{_LARGE}\. ?){{0,3}}{_LARGE}[\w'\u2019-]{{1,40}})"
_MONTH = (
    r"(?:jan(?:uary|uari|uar|vier|v|eiro|\.)?|feb(?:ruary|ruari|ruar|rero|braio|\.)?|f\u00e9v(?:rier|r|\.)?|"
    r"fevereiro|"
    r"mar(?:ch|s|zo|\u00e7o|\.)?|m\u00e4r(?:z|\.)?|maart|mrt|apr(?:il|ile|\.)?|avr(?:il|\.)?|abr(?:il|\.)?|"
    r"may(?:o)?|mai(?:o)?|maj|mei|maggio|jun(?:e|i|io|ho|\.)?|juin|giugno|jul(?:y|i|io|ho|\.)?|juil(?:let|\.)?|"
    r"luglio|"
    r"aug(?:ustus|usti|ust|\.)?|ao\u00fbt|aout|agosto|sep(?:t|tember|tembre|tiembre|\.)?|settembre|setembro|"
    r"o[ck]t(?:ober|obre|ubre|\.)?|ottobre|outubro|nov(?:ember|embre|iembre|embro|\.)?|"
    r"de[czs](?:ember|embre|embro|\.)?|d\u00e9c(?:embre|\.)?|dic(?:iembre|embre|\.)?|dezembro|enero|ene\.?|gennaio)"
)
_PARTICLES = "von|v\\.|van|dos|das|d'|l'|los|las|lo|de|den|der|del|des|zu|zum|zur|di|da|la|le|af|ten|ter|bin|al|el"
_JOINING = frozenset(_PARTICLES.replace("\\.", "").split("|"))
# Each with bounded repeats: texts come from strangers.
_PATTERNS: tuple[re.Pattern[str], ...] = (
    # Addresses of machines, before their first three numbers are taken for a date.
    re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]?\d)"),
    re.compile(r"\b[\w.+-]{1,64}(?:@| ?[(\[](?:at|a|@)[)\]] ?)[\w-]{1,64}(?:\.[\w-]{1,64}){1,4}"),
    re.compile(r"\b(?:https?://|www\.)[^\s,;]{1,200}", re.IGNORECASE),
    # Dates: numbers in every order, with the month in words, month and year.
    re.compile(r"\b\d{4}[-./]\d{1,2}[-./]\d{1,2}(?:[T ]\d{1,2}:\d{2}(?::\d{2})?)?"),
    re.compile(r"\b\d{1,2}[./-] ?\d{1,2}[./-] ?(?:\d{4}|\d{2})\b"),
    re.compile(r"\b\d{1,2}\.\d{1,2}\.(?!\d)"),
    re.compile(
        rf"(?<![\w,.])\d{{1,2}}(?:st|nd|rd|th|er|\u00ba|\u00b0|\.)?[ -]{{0,2}}(?:of |de |d['\u2019])?{_MONTH}"
        r"[ ,.-]{0,3}(?:del? )?(?:\d{4}|['\u2019]?\d{2})?\b",
        re.IGNORECASE,
    ),
    re.compile(rf"\b{_MONTH} {{1,2}}\d{{1,2}}(?:st|nd|rd|th)?(?:,? {{1,2}}\d{{4}})?\b", re.IGNORECASE),
    re.compile(rf"\b{_MONTH} {{1,2}}\d{{4}}\b", re.IGNORECASE),
    re.compile(r"\b(?:0?[1-9]|1[0-2])/(?:19|20)\d{2}\b"),
    # Week and ordinal dates: "2019-W18-5", "KW 18/2019", "2019-123".
    re.compile(r"\b(?:19|20)\d{2}-?W\d{2}(?:-?[1-7])?\b|\b(?:19|20)\d{2}-[0-3]\d{2}\b"),
    re.compile(
        r"\b(?:KW|CW|week|Woche|vecka|semaine|semana|settimana) ?\d{1,2}[ /.-]{1,2}(?:19|20)?\d{2}\b", re.IGNORECASE
    ),
    re.compile(
        r"\b(?:born|geb(?:oren)?|n\u00e9e?|f\u00f6dd|f\u00f8dt|nacid[oa]|nat[oa]|nascid[oa]|Jahrgang|Jg)\b[.:]? {1,2}"
        r"(?:in |im |en |nel |em |\u00e5r )?(?:18|19|20)\d{2}\b",
        re.IGNORECASE,
    ),
    # Ages above 89, in figures.
    re.compile(
        r"\b(?:9\d|1[0-2]\d)(?:[ -]{0,2}(?:y/?o\b|y\. ?o\.|yrs?\b|years?\b|-?j\u00e4hrig\w{0,2}|jahre?\b|"
        r"jahren\b|ans\b|a\u00f1os\b|"
        r"anni\b|anos\b|jaar\b|\u00e5r(?:ing|ig)?\b|let\b|lat\b|\u043b\u0435\u0442\b|\u6b73|\u5c81|\uc138))",
        re.IGNORECASE,
    ),
    re.compile(
        r"(?:\b(?:aged?|alter|\u00e5lder|\u00e2ge|edad|et\u00e0|idade|leeftijd|wiek|v\u011bk|"
        r"\u0432\u043e\u0437\u0440\u0430\u0441\u0442)\b[ :=]{1,3}(?:of |von )?)"
        r"(?:9\d|1[0-2]\d)\b(?! ?(?:%|ms|bpm|/min))",
        re.IGNORECASE,
    ),
    re.compile(
        r"\b(?:aged?|is|was|turned) (?:ninety|(?:a |one )?hundred)(?:[ -](?:and )?(?:one|two|three|four|five|six|seven|"
        r"eight|nine|ten|eleven|twelve))?\b(?! (?:beats|percent|per|milli|ms))|\b(?:ninety|a hundred|one hundred)"
        r"(?:[ -](?:and )?\w{3,6})?[ -]years?[ -]old\b|\b(?:\w{4,6}und)?neunzig[ -]?(?:j\u00e4hrig\w{0,2}|jahre?n?\b)|"
        r"\bquatre[ -]vingt[ -](?:dix|onze|douze|treize|quatorze|quinze|seize)(?:[ -]\w{4,5})? ans\b|"
        r"\b(?:noventa|novanta)(?: [ye] \w{3,6}|\w{3,7})? (?:a\u00f1os|anni|anos)\b",
        re.IGNORECASE,
    ),
    re.compile(r"\b\d{4} ?\u5e74 ?\d{1,2} ?\u6708(?: ?\d{1,2} ?\u65e5)?"),
    # Object identifiers of DICOM.
    re.compile(r"(?<![\w.])[0-2](?:\.\d{1,39}){4,30}(?![\w.]?\d)"),
    # Numbers in groups: insurance (756.1234.5678.97), addresses of machines.
    re.compile(r"\b\d{2,4}(?:\.\d{2,6}){2,4}\b"),
    # Before the numbers, for the towns behind them: post codes.
    re.compile(rf"\b(?:[A-Z]{{1,2}}[- ])?\d{{5}} {_CAP}(?: am {_CAP}| an der {_CAP})?"),
    # Telephone and other long numbers; accession numbers and the like, letters and at least three digits.
    re.compile(r"(?<![\w.])\+?(?=\d(?:[ ()/-]{0,3}\d){6})\d[\d ()/-]{4,20}\d\b|(?<![\w.])\d{5,}\b"),
    re.compile(
        r"\b(?!(?:QTc?|PR|PQ|RR|QRS|HR|ST|BPM|V|P|R|S|T)\d)[A-Za-z]{1,8}[-_/.]?\d{3,12}(?:[-_/.]?\w{1,12}){0,3}\b"
    ),
    re.compile(r"\b\d{1,6}[-_/][A-Za-z0-9]{1,10}[-_/]\d{2,10}\b"),
    re.compile(
        r"\b(?:MRN|ID|PID|Nr|No|Fall|Fallnummer|Fall-Nr|Aufnahmenummer|Patientennummer|Accession|Acc|Order|Auftrag|"
        r"Versichertennummer|SSN|Tel|Telefon|Phone|Fax)\b[.:# ]{1,4}(?=\S{0,30}\d)[^\s,;]{1,40}",
        re.IGNORECASE,
    ),
    # Addresses.
    re.compile(
        r"\b(?:\d{1,5}(?: ?(?:bis|ter|[a-z]))?,? )?(?i:rue|avenue|av\.|boulevard|bd|place|chemin|all\u00e9e|"
        r"impasse|quai|calle|c/|avenida|avda\.?|plaza|paseo|via|viale|piazza|corso|largo|rua|pra\u00e7a|travessa) "
        rf"(?:(?:de la|de l['\u2019]|du|des|de|della|dell['\u2019]|delle|del|di|do|da|dos|la|le) ?){{0,2}}{_CAP}"
        rf"(?:[ -](?:(?:de|la|du|di|da|do|del) )?{_CAP}){{0,3}}(?:,? (?:n[\u00b0\u00ba.]? ?)?\d{{1,5}} ?[a-z]?\b)?"
    ),
    re.compile(rf"\b{_LARGE}[\w.-]{{1,40}}(?:straat|laan|plein|gracht|kade|dijk|singel|hof) ?\d{{1,4}} ?[a-z]?\b"),
    re.compile(rf"(?<=[, ])(?:\d{{4}} ?[A-Z]{{2}}(?= {_CAP}))(?! (?:ECG|EKG)) {_CAP}"),
    re.compile(r"\b(?!V\d)[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2}\b"),
    re.compile(r"\b(?:P\.? ?O\.? ?Box|Postfach|Postbus|Apartado|Casella postale) \d{1,8}\b", re.IGNORECASE),
    re.compile(
        r"\b[A-Z\u00c0-\u00de][\w.-]{0,40}(?:stra(?:\u00df|ss)e|str\.|weg|platz|allee|gasse|ring|damm|ufer|gatan|"
        r"v\u00e4gen|torget|stigen|gr\u00e4nd)"
        r" ?\d{1,4} ?[a-z]?\b"
    ),
    re.compile(
        r"\b\d{1,5}[A-Za-z]? (?:[A-Z][\w.-]{1,30} ){1,3}"
        r"(?:Street|St|Road|Rd|Avenue|Ave|Lane|Ln|Drive|Dr|Boulevard|Blvd|Court|Way)\b\.?"
    ),
)
# People and houses behind a word that announces them: what follows goes, the announcing word stays in the text.
_CUES = (
    "Dr Dra Prof Doctora? Docteur Dottoressa MUDr Dott Mr Mrs Ms Miss Herrn? Frau Hrn? Fr Mme Madame Mlle Monsieur "
    "Sra? Señora? Sig(?:\\.ra|\\.na|nora|nor|ra)? Dhr Mevr Mevrouw Mw Meneer Pan Pani "
    "Schwester Pfleger Arzt Ärztin Hausarzt Hausärztin Oberarzt Oberärztin Chefarzt OA CA Nurse Tech Technician "
    "Sister Matron Dott\\.?(?:ssa|re)(?!\\w) Prof\\.?ssa(?!\\w) "
    "MTA pt Physician Cardiologist Provider Attending Operator Läkare sköterska médecin médico medico huisarts "
    "cardiologue cardiólogo cardiologo infirmi(?:er|ère) enfermer[ao] infermier[ae] "
    "Pat Name Vorname Nachname Familienname Surname Paciente Paziente Patiënte? Patiente? "
    "Signed Signature Unterschrift by gez Befunder(?:in)? Befundet Untersucher(?:in)? Zuweiser(?:in)? "
    "Einsender Anforderer Überweiser signer(?:at|ad) par por door av von für for "
    "Kolleg(?:e|en|in) Koll Einweiser(?:in)? Assistent(?:in)? Assistenzarzt Assistenzärztin (?-i:HA) (?-i:GP) "
    "colleague "
    "consultant registrar Läk kollega överläkare ÖL (?:sjuk)?sköterskan? collègue confrère consœur colega "
    "collega interne "
    # Polish, Czech, Danish and Norwegian, Finnish, Hungarian, Romanian, Turkish, Russian, Ukrainian, Greek
    "Pacjent(?:ka|ki|a)? lekarz lek Pacient(?:ka|ul|a)? lékař Læge Lege Pasient(?:en)? Potilas Lääkäri Beteg "
    "Orvos Medic "
    "Hasta Doktor Пациент(?:ка|а|у|ки)? Врач Больн(?:ой|ая) Доктор Пацієнт(?:ка)? Лікар Ασθενής Ιατρός Γιατρός "
    "Ehefrau Ehemann Sohn Tochter Mutter Vater Angehörige[rn]? wife husband daughter"
).split()
_PHRASES = (
    "M(?=\\.)", "Patient(?:in|en)?(?: name)?", "i\\. ?A", "i\\. ?V", "firmado por", "signé par", "firmato da",
    "wohnhaft in", "geboren in", "stammt aus", "lives in", "living in", "born in",
)  # fmt: skip
_DEGREE = "(?: {1,3}(?:med|Dra?|Prof|PD|habil|univ|dent|rer|nat)\\b\\.?){0,4}"
_ANNOUNCED = re.compile(
    rf"(?P<cue>\b(?i:{'|'.join([*_PHRASES, *_CUES])})\b\.?:?)"
    rf"(?P<who>{_DEGREE}(?: {{1,3}}(?:(?:{_PARTICLES}) ){{0,3}}{_CAP}){{1,3}}(?: ?(?:{_LARGE}\.){{1,3}})?)"
)
# Chinese, Japanese, Korean: a name between marks, for without them a sentence goes on.
_EAST = re.compile(
    "(?P<cue>(?:患者|病人|姓名|医师|医生|医師|氏名|主治医|担当医)(?:さん|様|名)?[ :：]{1,3})"
    "[\u3400-\u9fff\u3040-\u30ff]{2,6}(?![\u3400-\u9fff\u3040-\u30ff])"
    "|(?P<korean>(?:환자|성명|이름|의사)(?:명)?[ :]{1,3})[\uac00-\ud7a3]{2,4}(?![\uac00-\ud7a3])"
)
# All in small letters behind words that nothing but a name follows.
_SMALL = re.compile(
    r"(?P<cue>\b(?i:(?:confirmed|reviewed|read|referred|signed|dictated|reported|interpreted|performed|verified|"
    r"validated|"
    r"ordered|requested|acquired|recorded)(?: (?:electronically|digitally|on screen))? by|"
    r"(?:patient(?:in|en)?[ -]?|first |last |given |family )?name ?[:=]|"
    r"gez\.|"
    r"(?:befundet|signiert|validiert|freigegeben|unterschrieben) (?:von|durch)|(?:valid\u00e9|lu|sign\u00e9|"
    r"relu) par|"
    r"firmado por|(?:firmato|refertato) da|(?:signerat|signerad|granskad|tolkad) av|nom ?:|nombre ?:|cognome ?:|"
    r"namn ?:)"
    r"[ :]{1,3})(?P<who>(?:(?:dr|prof|md)\.? )?(?:[^\W\d_]\. ?){0,3}[^\W\d_]{2,30}(?:(?:, ?| |-)[^\W\d_]{2,30}){0,2})"
)
_NOBODY = frozenset(
    "echo echocardiography computer machine cardiology cardiologist phone telephone fax email holter telemetry "
    "monitor "
    "monitoring physician doctor the an our me him her them staff algorithm software device exam examination "
    "angiography "
    "mri ct cath catheterization repeat serial clinical history family ambulance paramedic nurse technician system "
    "einem einer der die das arzt kardiologe echo herzkatheter computer un une le la il el en ett datorn on at "
    "in and "
    "not yet pending unknown none overread automatic automatically ecg ekg unconfirmed is was of for with".split()
)
# A field of its own: all words that follow, also behind a comma.
_FIELDS = (
    "(?:Patient(?:in|en)?[ -]?|Pat\\.? ?)?Name", "(?:first|last|given|family) name", "Nom(?: de famille| et prénom)?",
    "Cognome(?: e nome)?", "Nome(?: completo)?", "reviewed by", "confirmed by", "read by", "referred by",
    *"Vorname Nachname Familienname Surname Prénom Apellidos? Nombres? Sobrenome Naam Voornaam Achternaam Namn".split(),
    *"Förnamn Efternamn Navn Imię Nazwisko Paciente Paziente Patient(?:in|e)? Patiënt".split(),
    *"Пациент(?:ка)? ФИО Фамилия".split(),
)  # fmt: skip
_FIELD = re.compile(
    rf"(?P<cue>\b(?i:{'|'.join(_FIELDS)}) ?[:=] ?)(?P<who>(?:(?:{_PARTICLES}) ){{0,3}}{_CAP}"
    rf"(?:,? {{1,2}}(?!\w{{1,20}} ?[:=])(?:(?:{_PARTICLES}) ){{0,3}}{_CAP}){{0,4}})"
)
# A name before a degree: "Name, M.D.".
_DEGREES = re.compile(
    rf"(?P<who>\b{_CAP}(?: {_CAP}){{0,2}})(?P<cue>,? (?:M\.D\.|MD|D\.O\.|RN|PhD|FESC|FACC|FRCP)(?!\w))"
)
_TITLES = re.compile(
    rf"\b(?:Dr|Prof|Mr|Mrs|Ms|Herrn?|Frau|Hrn?|Fr|MUDr|Dott)\b\.?{_DEGREE} {{1,3}}(?:(?:{_PARTICLES}) ){{0,3}}"
    r"(?:[A-Z]\. ?){0,3}[^\W\d_][\w'-]{1,40}(?: [A-Z\u00c0-\u00de][\w'-]{1,40})?"
)
_HOUSE = re.compile(
    rf"(?:(?:\bSt\. )?\b{_CAP}[ -]){{0,3}}(?:\b[A-Z\u00c0-\u00de][\w-]{{0,30}}(?:klinik|klinikum|krankenhaus|spital)"
    r"|\b(?:Hospital|Clinic|Klinik|Klinikum|Krankenhaus|Praxis|Spital|Medical Center|Medical Centre|H\u00f4pital|"
    r"CHR?U|Clinique|Ospedale|Policlinico|Cl\u00ednica|Clinica|Ziekenhuis|Sjukhuset|Szpital))\b"
    rf"(?: (?:(?:de|di|del|della|do|da|du|des|la|le|of|van|St\.) ){{0,2}}{_CAP}){{0,3}}"
)


@cache
def medical_words() -> frozenset[str]:
    """Folded words of the statements' names and synonyms, and the common ones of reports in three languages."""
    names = [name for s in STATEMENTS for name in (s.name_en, s.name_de, *s.synonyms_en, *s.synonyms_de)]
    found = {fold(word) for name in names for word in _NAME.findall(name)}
    # Shorter ones are particles of names as well ("de", "do").
    found |= {fold(word) for name, _ in abroad() for word in _NAME.findall(name) if len(word) > 4}
    more = (
        "heart station ecg ekg lead leads ableitung rate frequenz rhythm rhythmus herz wave waves axis lagetyp "
        "seen called born report befund confirmed unconfirmed electronic pacemaker schrittmacher compared previous "
        "tracing vergleich vorbefund anterior posterior lateral septal inferior apical acute chronic old new "
        "abnormal borderline atrial ventricular vorhof kammer sinus rechts links right left mild severe moderate "
        "possible probable consider cannot rule out cornell sokolow lyon romhilt brugada wenckebach mobitz wellens "
        "ritmo ritme rythme rytm tachycardie taquicardia tachicardia bradycardie complexe complejo complesso "
        "onde onda "
        "ondas segment segmento tratto intervalle intervalo intervallo axe eje asse eixo normale normal normaal "
        "osborn bazett fridericia framingham einthoven sgarbossa selvester minnesota mahaim"
    )
    return frozenset(found | set(more.split()) | COMMON_WORDS)


def name_words(texts: Iterable[str]) -> set[str]:
    """Words of texts that may be names: capitals first, three letters and more, no word of the field.

    >>> sorted(name_words(["Meier_Anna_1953", "sinus rhythm", "Atrial fibrillation"]))
    ['Anna', 'Meier']
    """
    found = {word for text in texts for word in _NAME.findall(text.replace("_", " ")[:2000])}
    return {w for w in found if len(w) >= SHORTEST and w[0].isupper() and fold(w) not in medical_words()}


def without(text: str, whole: Iterable[str], words: Iterable[str]) -> str:
    """A text without the values and the words that are known, and without what a pattern finds.

    Args:
        text: A report, a note, a field.
        whole: Values that go wherever they stand: names, numbers, dates.
        words: Single words that go.

    Returns:
        The text with "[...]" in place of what it must not say.
    """
    for value in sorted({v.strip() for v in whole if len(v.strip()) >= SHORTEST}, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", GONE, text, flags=re.IGNORECASE)
    text = _TITLES.sub(lambda match: GONE, text)
    for pattern in _PATTERNS:
        text = pattern.sub(GONE, text)
    text = _FIELD.sub(_kept_or_gone, text)
    text = _ANNOUNCED.sub(_kept_or_gone, text)
    text = _EAST.sub(lambda m: f"{(m.group('cue') or m.group('korean')).rstrip()} {GONE}", text)
    text = _SMALL.sub(_small_gone, text)
    text = _DEGREES.sub(lambda m: m.group() if _is_medical(m.group("who")) else GONE + m.group("cue"), text)
    text = _HOUSE.sub(lambda match: match.group() if _is_medical(match.group()) else GONE, text)
    known = {word.casefold() for word in words}
    if known:
        text = _NAME.sub(lambda match: GONE if _is_known(match.group(), known) else match.group(), text)
    return text


def _kept_or_gone(match: re.Match[str]) -> str:
    """The announcing word, and of what follows it only what is a word of the field."""
    who = match.group("who")
    words = (word for word in _NAME.finditer(who) if word.group() not in _JOINING)
    medical = next((word.start() for word in words if fold(word.group()) in medical_words()), None)
    name, rest = (who, "") if medical is None else (who[:medical], who[medical:])
    if not name.strip(" ,") or name.islower() or match.group("cue").startswith("ms"):  # "400 ms. Bloc"
        return match.group()
    between = name[len(name.rstrip(" ,")) :] if rest else ""
    return f"{match.group('cue').rstrip()} {GONE}{between}{rest}"


def _small_gone(match: re.Match[str]) -> str:
    """The announcing word without the words in small letters that follow it, up to the first that names nobody."""
    who = match.group("who")
    if who != who.lower():
        return match.group()  # what has a capital was looked at before
    end = 0
    for word in _NAME.finditer(who):
        if fold(word.group()) in medical_words() or word.group() in _NOBODY:
            break
        end = word.end()
    return f"{match.group('cue').rstrip()} {GONE}{who[end:]}" if end else match.group()


def _is_medical(text: str) -> bool:
    return all(fold(word) in medical_words() for word in _NAME.findall(text))


def _is_known(word: str, known: set[str]) -> bool:
    """Whether a word, a part of a hyphenated one, or one with a genitive s is known."""
    parts = {word.casefold(), *re.split(r"[-'\u2019]", word.casefold())}
    return bool(parts & known) or any(part.endswith("s") and part[:-1] in known for part in parts)


OLDEST_AGE = 90.0  # HIPAA's safe harbour, 45 CFR 164.514(b)(2)(i)(C): all ages above 89 are one
_KEY_BYTES = 32
_PUBLIC = frozenset({"ptbxl", "mimic-iv-ecg"})
"""Sources that are published databases: their names and their own columns say nothing of a patient."""
_PUBLIC_META = ("device", "fold", "rr_ms", "bandwidth")
_CODES = frozenset(statement.code for statement in STATEMENTS)
_WORD = re.compile(r"[^\W\d_]+(?:[-'][^\W\d_]+)*")
# Makers, and the words that their carts are called by. A device keeps these and the model number behind one of them.
_MAKERS = frozenset(
    "ge healthcare marquette medical systems mac muse cardiosoft case philips pagewriter touch trim "
    "intellispace heartstart hewlett packard schiller at cs cardiovit sema mortara eli burdick welch allyn "
    "hillrom nihon kohden cardiofax fukuda denshi cardimax suzuken cardico kenz bionet cardio7 cardiocare "
    "mindray beneheart edan se contec ecg90a biocare comen zoncare siemens draeger dr\u00e4ger custo cardio100 "
    "custo-med amedtec ecgpro getemed spacelabs norav cardioline cardiette alivecor kardiamobile apple watch "
    "withings samsung fitbit eridana instrument inc ltd co gmbh corp".split()
)
_MODEL = re.compile(r"(?=[A-Za-z0-9.-]{1,10}\Z)(?=.{0,9}\d)[A-Za-z]{0,6}[-.]?\d{1,4}(?:[-.]?[A-Za-z0-9]{1,3}){0,2}\Z")
_FILTER_WORD = re.compile(
    r"(?:\d{1,4}(?:[.,]\d{1,4})?|hz|to|up|from|and|notch|high|low|pass|setting|hp:?|lp:?|n:?|ac|mains|filter|on|"
    r"off|drift|"
    r"baseline|muscle|smoothing|[hln]p?:?\d{1,4}(?:\.\d{1,4})?(?:hz)?)[,;]?\Z",
    re.IGNORECASE,
)
_LONGEST_VALUE = 100  # characters of a table's cell that is looked for as a whole
_QUOTED = re.compile(r"'[^'\n]{1,200}'")


def read_key(path: str | Path) -> bytes:
    """The key in a file, made there (readable by its owner alone) if there is none.

    Raises:
        QueryError: The file cannot be read or written, or holds no key.
    """
    file = Path(path)
    try:
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w") as stream:
                stream.write(secrets.token_hex(_KEY_BYTES) + "\n")
        text = file.read_text(encoding="ascii").strip()
        key = bytes.fromhex(text)
    except (OSError, ValueError) as error:
        raise QueryError(f"key file {file} cannot be used: {why(error)}", hint="expected 64 hex digits") from error
    if len(key) < _KEY_BYTES:
        raise QueryError(f"the key in {file} has {len(key)} bytes (expected at least {_KEY_BYTES})")
    return key


def pseudonym(key: bytes, kind: str, value: str) -> str:
    """Name of a thing under a key: 20 hex digits, the same for the same key, kind and value.

    Args:
        key: Kept apart from the base.
        kind: What is named: "patient", "case" ...
        value: The name that must not be told.

    Returns:
        The pseudonym.

    >>> pseudonym(b"k" * 32, "patient", "17") == pseudonym(b"k" * 32, "patient", "17")
    True
    >>> pseudonym(b"k" * 32, "patient", "17") == pseudonym(b"j" * 32, "patient", "17")
    False
    """
    return hmac.new(key, f"{kind}\0{value}".encode(), hashlib.sha256).hexdigest()[:20]


def deidentified(items: Iterable[IngestItem], key: bytes) -> list[IngestItem]:
    """The same items without identity; what they load is cleaned when it is loaded.

    Args:
        items: Of a source.
        key: Of `read_key`.

    Returns:
        One item for each.
    """
    return [_item(item, key) for item in items]


def scrubbed(text: str, header: SourceHeader | None, *known: str | None) -> str:
    """A text without the names and numbers that a header spells, and without what a pattern finds.

    Args:
        text: A report, a note.
        header: Of the recording; None where there is none.
        known: More that must not stand in it.

    Returns:
        The text with "[...]" in place of what it must not say.

    >>> scrubbed("Sinus rhythm. Seen by Dr. Weiss, 12.03.2019, ID 4711-0815", None)
    'Sinus rhythm. Seen by [...], [...], ID [...]'
    """
    whole, words = _known(header)
    return without(text, [*whole, *(value for value in known if value)], words)


def _known(header: SourceHeader | None) -> tuple[list[str], set[str]]:
    """Values and single words that a header spells of people."""
    if header is None:
        return [], set()
    whole = [header.patient_name, *header.people, *header.identifiers, header.birth_date or ""]
    own = {word for word in _WORD.findall(header.patient_name) if len(word) >= SHORTEST}
    people = {word for name in header.people for word in _WORD.findall(name) if len(word) >= SHORTEST}
    # "Heart Station" must not take the heart out of a report; a patient's own name is always taken out.
    return whole, own | {word for word in people if fold(word) not in medical_words()}


def _item(item: IngestItem, key: bytes) -> IngestItem:
    told = item.case
    cells = [str(value) for value in told.meta.values() if isinstance(value, str)]
    spelled = [told.patient_id or "", *(cell for cell in cells if len(cell) <= _LONGEST_VALUE)]
    words = name_words([*cells, told.case_id, told.source, Path(item.name).stem if item.name else ""])
    seen: dict[str, SourceHeader | None] = {}  # the header of what `load` gave last, for `finish`

    def clean(text: str, header: SourceHeader | None, *known: str | None) -> str:
        whole, people = _known(header)
        return without(text, [*whole, *spelled, *(k for k in known if k)], people | words)

    def load() -> Loaded:
        loaded = item.load()
        seen["header"] = loaded.header if isinstance(loaded, EcgRecord) else None
        return _record(loaded, key, clean) if isinstance(loaded, EcgRecord) else loaded

    def finish(case: Case, loaded: Loaded) -> Case:
        if told.report:
            case = replace(case, report=clean(told.report, seen.get("header")))
        return replace(case, meta={**_public(told), **case.meta})

    content: Callable[[], str] | None = None
    if item.content is not None:
        hashed = item.content
        # Of a case whose table holds a report the text counts as content: it is cleaned with what the file says.
        content = lambda: pseudonym(key, "content", hashed() + told.report) + "0" * 12  # noqa: E731 - as long as a hash
    return IngestItem(_case(told, key), load, content, item.title, finish)


def _public(case: Case) -> dict[str, Any]:
    if case.source not in _PUBLIC:
        return {}
    return {name: value for name, value in case.meta.items() if name in _PUBLIC_META}


def _case(case: Case, key: bytes) -> Case:
    """What a table or a folder says of a case, without identity; its report comes when the file has been read."""
    age = case.age_years
    source = case.source
    if source and source not in _PUBLIC:
        source = f"source-{pseudonym(key, 'source', source)[:8]}"
    return replace(
        case,
        case_id=f"{source or 'case'}/{pseudonym(key, 'case', case.case_id)}",
        source=source,
        patient_id=pseudonym(key, "patient", case.patient_id) if case.patient_id else None,
        age_years=min(age, OLDEST_AGE) if age is not None else None,
        recorded_at=case.recorded_at[:4] if case.recorded_at else None,
        labels={code: value for code, value in case.labels.items() if code in _CODES},
        report="",
        meta=_public(case),
    )


def _device(text: str) -> str:
    """The words of known makers, and the model behind one of them.

    >>> _device("Philips PageWriter TC70 of Anna Meier, serial 4711"), _device("Anna's recorder")
    ('Philips PageWriter TC70', '')
    """
    kept: list[str] = []
    follows = False
    for word in text.replace(",", " ").replace("(", " ").replace(")", " ").split():
        is_maker = word.strip(".:").casefold() in _MAKERS
        if is_maker or (follows and _MODEL.match(word)):
            kept.append(word)
        follows = is_maker
    return " ".join(kept)


def _filters(text: str) -> str:
    """The numbers and fixed words of filters."""
    return " ".join(word for word in text.split() if _FILTER_WORD.match(word))


def _note(note: str, clean: Callable[[str], str]) -> str:
    """A note without what it quotes of the file."""
    said = clean(_QUOTED.sub(GONE, note))
    return note if said == str(note) else said


def _record(record: EcgRecord, key: bytes, clean: Callable[..., str]) -> EcgRecord:
    """A record, and what its header will tell the case, without identity."""
    header = record.header

    def cleaned(text: str) -> str:
        return clean(text, header, record.patient_id, record.record_id)

    kept: SourceHeader | None = None
    if header is not None:
        kept = replace(
            header,
            patient_name="",
            birth_date=None,
            people=(),
            identifiers=(),
            report=cleaned(header.report),
            device=_device(cleaned(header.device)),
            filters=_filters(header.filters),
            codes=tuple(code for code in header.codes if re.fullmatch(r"[A-Z]{2,10}:\d{5,18}", code)),
            labels={code: value for code, value in header.labels.items() if code in _CODES},
            recorded_at=header.recorded_at[:4] if header.recorded_at else None,
        )
    age = record.age_years
    return replace(
        record,
        record_id=pseudonym(key, "record", record.record_id) if record.record_id else "",
        patient_id=pseudonym(key, "patient", record.patient_id) if record.patient_id else None,
        age_years=min(age, OLDEST_AGE) if age is not None else None,
        notes=tuple(_note(note, cleaned) for note in record.notes),
        header=kept,
    )
