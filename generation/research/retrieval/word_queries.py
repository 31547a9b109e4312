"""Queries by words with what must come of them: found, left out, or said that there is no answer.

Written for the evaluation by hand, in English, German and Swedish; names and phrases are not taken from the table of
names that the search reads with. `word_queries` makes a set from one half of the phrases by a seed: a quarter is
nonsense, a quarter denies something; a third of the names has a slip of the pen. What is tuned is tuned on the "fit"
half, the "held" half is looked at for its figures.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

Item = TypeVar("Item")
Half = Literal["fit", "held"]
Kind = Literal["found", "denied", "joined", "limits", "not carried", "sentence", "nonsense"]


@dataclass(frozen=True)
class WordQuery:
    """One query.

    Attributes:
        text: The words.
        kind: What it tries.
        any_of: Each of these groups: a hit must carry one of its codes.
        none_of: Codes that no hit may carry.
        sex: That hits must have.
        age: Least and most age that hits may have.
        slip: Whether a letter is wrong on purpose.
    """

    text: str
    kind: Kind
    any_of: tuple[tuple[str, ...], ...] = ()
    none_of: tuple[str, ...] = ()
    sex: str | None = None
    age: tuple[float, float] | None = None
    slip: bool = False


_MI = ("IMI", "ASMI", "AMI", "ALMI", "ILMI", "LMI", "IPLMI", "IPMI", "PMI")
_ISCH = ("ISC_", "ISCAL", "ISCIN", "ISCIL", "ISCAS", "ISCLA", "ISCAN")
# Phrase and the codes any of which is right. Every second one belongs to the held half.
FINDINGS: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "en": (
        ("atrial fibrillation", ("AFIB",)), ("auricular fibrillation", ("AFIB",)),
        ("atrial flutter", ("AFLT",)), ("flutter", ("AFLT",)),
        ("left bundle branch block", ("CLBBB",)), ("LBBB", ("CLBBB",)),
        ("right bundle branch block", ("CRBBB",)), ("RBBB", ("CRBBB",)),
        ("complete RBBB", ("CRBBB",)), ("incomplete RBBB", ("IRBBB",)),
        ("left anterior hemiblock", ("LAFB",)), ("left anterior fascicular block", ("LAFB",)),
        ("first degree AV block", ("1AVB",)), ("1st degree heart block", ("1AVB",)),
        ("third degree AV block", ("3AVB",)), ("complete heart block", ("3AVB",)),
        ("AV block", ("1AVB", "2AVB", "3AVB")), ("heart block", ("1AVB", "2AVB", "3AVB")),
        ("pacemaker", ("PACE",)), ("paced rhythm", ("PACE",)),
        ("PVCs", ("PVC",)), ("ventricular ectopics", ("PVC",)),
        ("premature atrial beats", ("PAC",)), ("premature atrial contraction", ("PAC",)),
        ("sinus tachycardia", ("STACH",)), ("tachycardia", ("STACH", "SVTAC", "PSVT")),
        ("sinus bradycardia", ("SBRAD",)), ("bradycardia", ("SBRAD",)),
        ("old inferior infarction", ("IMI",)), ("inferior MI", ("IMI",)),
        ("myocardial infarction", _MI), ("infarct", _MI),
        ("anterior wall infarction", ("AMI",)), ("anteroseptal infarct", ("ASMI",)),
        ("LVH", ("LVH", "VCLVH")), ("left ventricular hypertrophy", ("LVH", "VCLVH")),
        ("left atrial enlargement", ("LAO/LAE",)), ("right ventricular hypertrophy", ("RVH",)),
        ("ischaemia", _ISCH), ("ischemia", _ISCH),
        ("ST depression", ("STD_",)), ("T wave inversion", ("INVT",)),
        ("inverted T waves", ("INVT",)), ("ST elevation", ("STE_",)),
        ("WPW", ("WPW",)), ("pre-excitation", ("WPW",)),
        ("long QT", ("LNGQT",)), ("prolonged QT interval", ("LNGQT",)),
        ("normal ECG", ("NORM",)), ("normal tracing", ("NORM",)),
        ("normal", ("NORM",)), ("unremarkable ECG", ("NORM",)),
        ("bundle branch block", ("CLBBB", "CRBBB", "ILBBB", "IRBBB")), ("low voltage", ("LVOLT",)),
        ("sinus arrhythmia", ("SARRH",)), ("bigeminy", ("BIGU",)),
        ("digitalis effect", ("DIG",)), ("digoxin effect", ("DIG",)),
        ("supraventricular tachycardia", ("SVTAC", "PSVT")), ("SVT", ("SVTAC", "PSVT")),
    ),
    "de": (
        ("Vorhofflimmern", ("AFIB",)), ("VHF", ("AFIB",)),
        ("Vorhofflattern", ("AFLT",)), ("typisches Vorhofflattern", ("AFLT",)),
        ("Linksschenkelblock", ("CLBBB",)), ("LSB", ("CLBBB",)),
        ("Rechtsschenkelblock", ("CRBBB",)), ("RSB", ("CRBBB",)),
        ("inkompletter Rechtsschenkelblock", ("IRBBB",)), ("linksanteriorer Hemiblock", ("LAFB",)),
        ("AV-Block ersten Grades", ("1AVB",)), ("AV-Block I. Grades", ("1AVB",)),
        ("AV-Block dritten Grades", ("3AVB",)), ("totaler AV-Block", ("3AVB",)),
        ("Schrittmacher", ("PACE",)), ("Schrittmacherrhythmus", ("PACE",)),
        ("ventrikuläre Extrasystolen", ("PVC",)), ("Kammerextrasystole", ("PVC",)),
        ("supraventrikuläre Extrasystolen", ("PAC",)), ("Extrasystolen", ("PVC", "PAC", "PRC(S)")),
        ("Sinustachykardie", ("STACH",)), ("Tachykardie", ("STACH", "SVTAC", "PSVT")),
        ("Sinusbradykardie", ("SBRAD",)), ("Bradykardie", ("SBRAD",)),
        ("Hinterwandinfarkt", ("IMI",)), ("Vorderwandinfarkt", ("AMI", "ASMI")),
        ("Herzinfarkt", _MI), ("Myokardinfarkt", _MI),
        ("Linksherzhypertrophie", ("LVH", "VCLVH")), ("Linkshypertrophie", ("LVH", "VCLVH")),
        ("Ischämie", _ISCH), ("Ischämiezeichen", _ISCH),
        ("ST-Senkung", ("STD_",)), ("T-Negativierung", ("INVT",)),
        ("Präexzitation", ("WPW",)), ("QT-Verlängerung", ("LNGQT",)),
        ("Normalbefund", ("NORM",)), ("normales EKG", ("NORM",)),
        ("unauffälliges EKG", ("NORM",)), ("Niedervoltage", ("LVOLT",)),
    ),
    "sv": (
        ("förmaksflimmer", ("AFIB",)), ("flimmer", ("AFIB",)),
        ("förmaksfladder", ("AFLT",)), ("fladder", ("AFLT",)),
        ("vänstergrenblock", ("CLBBB",)), ("vänstersidigt skänkelblock", ("CLBBB",)),
        ("högergrenblock", ("CRBBB",)), ("högersidigt skänkelblock", ("CRBBB",)),
        ("pacemakerrytm", ("PACE",)), ("pacemaker", ("PACE",)),
        ("kammarextraslag", ("PVC",)), ("ventrikulära extrasystolier", ("PVC",)),
        ("sinustakykardi", ("STACH",)), ("takykardi", ("STACH", "SVTAC", "PSVT")),
        ("sinusbradykardi", ("SBRAD",)), ("bradykardi", ("SBRAD",)),
        ("hjärtinfarkt", _MI), ("inferior hjärtinfarkt", ("IMI",)),
        ("vänsterkammarhypertrofi", ("LVH", "VCLVH")), ("ischemi", _ISCH),
        ("normalt EKG", ("NORM",)), ("AV-block I", ("1AVB",)),
        ("ST-sänkning", ("STD_",)), ("sinusrytm", ("SR",)),
    ),
}  # fmt: skip
_FOUND: dict[str, tuple[str, ...]] = {
    "en": ("{x}", "{x}", "ECG with {x}", "show me cases of {x}", "patients with {x}", "typical {x}",
           "examples of {x} please",
           "I am looking for {x}", "a tracing that shows {x}", "{x}?"),
    "de": ("{x}", "{x}", "EKG mit {x}", "zeige Fälle mit {x}", "Patient mit {x}", "Beispiele für {x}",
           "ich suche {x}", "Befund: {x}"),
    "sv": ("{x}", "{x}", "EKG med {x}", "visa fall med {x}", "patient med {x}", "jag söker {x}"),
}  # fmt: skip
_DENIED: dict[str, tuple[str, ...]] = {
    "en": ("no {x}", "without {x}", "not {x}", "no sign of {x}", "absence of {x}", "no evidence of {x}",
           "excluding {x}",
           "everything except {x}", "ECGs without any {x}", "{x} excluded", "never {x}", "no history of {x}"),
    "de": ("kein {x}", "ohne {x}", "kein Anhalt für {x}", "kein Hinweis auf {x}", "nicht {x}", "{x} ausgeschlossen",
           "EKG ohne {x}", "alles außer {x}", "keine Zeichen von {x}"),
    "sv": ("inget {x}", "utan {x}", "inga tecken på {x}", "ej {x}", "EKG utan {x}", "allt utom {x}"),
}  # fmt: skip
_BUT: dict[str, tuple[str, ...]] = {
    "en": ("{y} without {x}", "{y} but no {x}", "{y}, no {x}", "{y} and not {x}", "{y} excluding {x}"),
    "de": ("{y} ohne {x}", "{y}, kein {x}", "{y}, aber kein {x}", "{y} und nicht {x}"),
    "sv": ("{y} utan {x}", "{y}, inget {x}", "{y} men inte {x}"),
}
_OR: dict[str, str] = {"en": "{y} or {x}", "de": "{y} oder {x}", "sv": "{y} eller {x}"}
_AND: dict[str, str] = {"en": "{y} and {x}", "de": "{y} und {x}", "sv": "{y} och {x}"}
# Words, sex, least age, most age in whole years, as data sets keep them: "over 60" is from 61 on.
# Every second one belongs to the held half.
_PEOPLE: dict[str, tuple[tuple[str, str | None, float, float], ...]] = {
    "en": (
        ("women with {x}", "F", 0, 200), ("{x} in a man over 60", "M", 61, 200), ("men over 50 with {x}", "M", 51, 200),
        ("{x}, female, older than 70", "F", 71, 200), ("{x} under 40 years", None, 0, 39),
        ("patients between 60 and 70 years with {x}", None, 60, 70), ("72-year-old woman with {x}", "F", 67, 77),
        ("65 yo male, {x}", "M", 60, 70), ("elderly women with {x}", "F", 65, 200), ("{x} in men aged 40 to 60", "M",
        40, 60),
        ("{x} age > 80", None, 81, 200), ("females, age < 50, {x}", "F", 0, 49),
    ),
    "de": (
        ("Frauen mit {x}", "F", 0, 200), ("Männer über 60 mit {x}", "M", 61, 200),
        ("{x} bei einer Frau über 70 Jahre", "F", 71, 200),
        ("{x}, männlich, älter als 50", "M", 51, 200), ("65-jähriger Mann mit {x}", "M", 60, 70),
        ("{x}, Patientin, 72 Jahre", "F", 67, 77), ("{x} bei Patienten zwischen 60 und 70 Jahren", None, 60, 70),
        ("{x} unter 40 Jahren", None, 0, 39),
    ),
    "sv": (
        ("kvinnor med {x}", "F", 0, 200), ("män över 60 med {x}", "M", 61, 200), ("{x} hos kvinna över 70 år", "F",
        71, 200),
        ("{x}, man äldre än 50", None, 51, 200),
    ),
}  # fmt: skip
# Findings that no statement of the 71 stands for. Every second one belongs to the held half.
_UNCARRIED: tuple[str, ...] = (
    "Brugada", "Brugada syndrome", "Brugada-Syndrom", "torsade de pointes", "torsades",
    "Torsade-de-pointes-Tachykardie",
    "ventricular fibrillation", "Kammerflimmern", "VF", "kammarflimmer", "takotsubo", "Takotsubo-Syndrom",
    "epsilon wave",
    "ARVC", "pulmonary embolism", "Lungenembolie", "S1Q3T3", "lungemboli", "hypothermia", "Osborn wave", "asystole",
    "Asystolie", "Wellens syndrome", "de Winter T waves", "hypercalcaemia", "hypocalcemia", "electrical alternans",
    "cardiac tamponade",
)  # fmt: skip
# What is seen on ECGs, in words that name nothing: there must be an answer. Every second one belongs to the held half.
_SENTENCES: tuple[str, ...] = (
    "P waves march through without any relation to the QRS complexes", "the PR interval grows until a beat is dropped",
    "QRS is broad and bizarre before every pacing spike", "deep S waves in V1 and tall R waves in V6",
    "R waves get lost from V1 to V4", "flat T waves in the lateral leads", "ST segments sag in V5 and V6",
    "irregular rhythm with narrow complexes and no P waves", "QRS complexes are tiny in the limb leads",
    "notched P wave in lead II", "peaked P waves in II, III and aVF", "the axis points far to the left",
    "rsR' in V1 with a slurred S in lead I", "Q waves in II, III and aVF", "every third beat comes early and broad",
    "regular narrow beats at 180 per minute", "slow regular rhythm, 40 per minute",
    "breite Kammerkomplexe nach jedem Stimulus", "keine P-Wellen, völlig unregelmäßige Kammeraktionen",
    "die PQ-Zeit wird immer länger, bis ein Schlag ausfällt", "hohe R-Zacken in V5 und V6",
    "tiefe Q-Zacken in II, III und aVF",
    "flache T-Wellen in den Brustwandableitungen", "vorzeitig einfallende breite Komplexe",
    "QRS-Komplexe sehr klein in allen Ableitungen",
    "P-Wellen ohne Beziehung zu den Kammerkomplexen", "breda QRS-komplex i V1", "inga P-vågor och oregelbunden rytm",
    "höga R-vågor i V5 och V6", "negativa T-vågor i V1 till V4", "långsam regelbunden rytm",
    "djupa Q-vågor i II, III och aVF",
)  # fmt: skip
# Every second one belongs to the held half.
_NONSENSE: tuple[str, ...] = (
    "pizza", "banana", "xyz", "qwerty", "1234", "987654321", "asdf jkl", "lorem ipsum dolor sit amet",
    "the weather tomorrow",
    "will it rain in Berlin", "best restaurant in town", "cheap flights to Madrid", "how do I bake bread",
    "recipe for apple pie",
    "who won the football match", "world cup final score", "my dog ate my homework", "a cat sat on the mat", "hello",
    "good morning",
    "guten Morgen", "wie geht es dir", "Wetter in Hamburg", "Fahrplan der Straßenbahn", "god morgon", "hur mår du",
    "väder i Stockholm",
    "tågtider till Malmö", "select * from users", "DROP TABLE cases;", "<script>alert(1)</script>",
    "../../etc/passwd", "print('hi')",
    "def main(): pass", "!!!???", ":-) ;-)", "😀😀😀", "❤️ 🚑", "北京烤鸭", "東京タワー", "привет мир",
    "сколько времени",
    "مرحبا بالعالم",
    "γειά σου κόσμε", "foo bar baz", "lkjhg poiuy", "zzzzzz", "mmmmmmm", "aaaa", "ababababab", "shoe size 42",
    "price 19.99", "car insurance",
    "train to London", "broken leg", "toothache", "knee replacement", "appendicitis", "diabetes cookbook",
    "hair colour", "blue suede shoes",
    "stairway to heaven", "quarterly revenue forecast", "tax return 2023", "tennis racket", "swimming pool",
    "Kartoffelsuppe kochen",
    "Rindfleisch mit Soße", "Fußball Ergebnisse", "Steuererklärung 2024", "köttbullar med potatis",
    "skattedeklaration", "fotbollsresultat",
    "cykel till salu", "happy birthday", "merry christmas", "garden furniture", "lawn mower repair", "brunch menu",
    "coffee machine",
    "president of France", "capital of Peru", "moon landing", "big bang theory", "paint the fence", "window cleaning",
    "abc", "def",
    "test", "testing testing", "foo", "bar", "wooden table", "plastic bottle", "nothing", "whatever", "I love you",
    "call me maybe",
    "buy one get one free", "click here to subscribe", "x", "y z", "0", "42", "3.14159", "1 2 3 4 5", "---", "...",
    "brain MRI", "lung CT",
    "x-ray of the hand", "blood pressure cuff", "vaccination schedule", "dental floss", "broccoli", "ice cream",
    "sunset beach photo",
    "mountain bike trail", "Gartenmöbel kaufen", "Kaffeemaschine entkalken", "snöskottning", "julklappar",
)  # fmt: skip


def word_queries(half: Half, seed: int, n: int = 400) -> list[WordQuery]:
    """A set of queries.

    Args:
        half: Whose phrases.
        seed: Of the choice of phrases, templates and slips.
        n: How many; a quarter is nonsense, a quarter denies, an eighth asks for age or sex, an eighth joins two
            findings, a sixteenth asks for what no statement is, one in thirty describes in words, the rest asks for one
            finding.

    Returns:
        Distinct queries, shuffled.
    """
    rng = random.Random(seed)
    made: dict[str, WordQuery] = {}
    shares: tuple[tuple[Kind, float], ...] = (
        ("nonsense", 0.25), ("denied", 0.25), ("limits", 0.125), ("joined", 0.125), ("not carried", 0.0625),
        ("sentence", 0.035), ("found", 1.0),
    )  # fmt: skip
    for kind, share in shares:
        wanted = n if kind == "found" else len(made) + round(n * share)
        for _ in range(50 * n):
            if len(made) >= wanted:
                break
            query = _made(kind, half, rng)
            made.setdefault(query.text, query)
    queries = list(made.values())
    rng.shuffle(queries)
    return queries


def _of(half: Half, items: Sequence[Item]) -> list[Item]:
    return list(items[0 if half == "fit" else 1 :: 2])


def _made(kind: Kind, half: Half, rng: random.Random) -> WordQuery:
    language = rng.choices(("en", "de", "sv"), (5, 3, 2))[0]
    if kind == "nonsense":
        return _nonsense(half, rng)
    if kind == "not carried":
        template = rng.choice(("{x}", "{x}", "ECG with {x}", "{x} please"))
        return WordQuery(template.format(x=rng.choice(_of(half, _UNCARRIED))), kind)
    if kind == "sentence":
        return WordQuery(rng.choice(_of(half, _SENTENCES)), kind)
    (name, codes), slip = _finding(half, language, rng)
    if kind == "found":
        return WordQuery(rng.choice(_FOUND[language]).format(x=name), kind, any_of=(codes,), slip=slip)
    if kind == "limits":
        words, sex, least, most = rng.choice(_of(half, _PEOPLE[language]))
        return WordQuery(words.format(x=name), kind, (codes,), sex=sex, age=(least, most), slip=slip)
    (other, others), slip_2 = _finding(half, language, rng)
    while set(others) & set(codes):
        (other, others), slip_2 = _finding(half, language, rng)
    if kind == "joined":
        if rng.random() < 0.5:
            return WordQuery(_OR[language].format(y=other, x=name), kind, ((*others, *codes),), slip=slip or slip_2)
        return WordQuery(_AND[language].format(y=other, x=name), kind, (others, codes), slip=slip or slip_2)
    if rng.random() < 0.4:
        text = rng.choice(_BUT[language]).format(y=other, x=name)
        return WordQuery(text, kind, (others,), codes, slip=slip or slip_2)
    return WordQuery(rng.choice(_DENIED[language]).format(x=name), kind, none_of=codes, slip=slip)


def _nonsense(half: Half, rng: random.Random) -> WordQuery:
    text = rng.choice(_of(half, _NONSENSE))
    how = rng.random()
    if how < 0.15:
        text = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(4, 12)))
    elif how < 0.2:
        text = text[:40] * rng.randint(2, 40)
    elif how < 0.25:
        text = f"{text} {rng.choice(_of(half, _NONSENSE))}"
    return WordQuery(text[:5000], "nonsense")


def _finding(half: Half, language: str, rng: random.Random) -> tuple[tuple[str, tuple[str, ...]], bool]:
    name, codes = rng.choice(_of(half, FINDINGS[language]))
    slip = rng.random() < 1 / 3 and any(len(word) >= 8 for word in name.split())
    return ((_slipped(name, rng) if slip else name), codes), slip


def _slipped(name: str, rng: random.Random) -> str:
    """The name with one letter dropped, doubled, changed or swapped, inside its longest word."""
    longest = max(name.split(), key=len)
    at = rng.randrange(2, len(longest) - 2)
    how = rng.randrange(4)
    if how == 0:
        wrong = longest[:at] + longest[at + 1 :]
    elif how == 1:
        wrong = longest[:at] + longest[at] + longest[at:]
    elif how == 2:
        wrong = longest[:at] + rng.choice("aeinrst") + longest[at + 1 :]
    else:
        wrong = longest[:at] + longest[at + 1] + longest[at] + longest[at + 2 :]
    return name.replace(longest, wrong)
