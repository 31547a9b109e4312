"""Names that a query by words may use: the 71 statements, the concepts beside them, and the words of ECG language.

Concepts (`concepts.json`) are families of statements ("AV block" is any of three) and findings that no statement of
the 71 stands for ("Brugada"), with the statements that come nearest. Names and wordings were written for this project.
A word with a slip of the pen is read as the nearest of them by edit distance.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

from ecgkin.retrieval.ecg.statements.catalogue import CODES, STATEMENTS
from ecgkin.retrieval.ecg.statements.find import Names, expand, statement_layers, stem, tree_of
from ecgkin.retrieval.ecg.statements.report_text import COMMON_WORDS, fold

# Everyday words or syllables that count as abbreviations only in capitals, or alone; a query may write "af" and "sr".
_CAPITALS_ONLY = frozenset(
    {"el", "pm", "es", "ash", "pat", "dig", "tab", "av", "rad", "lad", "pe", "acs", "omi", "ua", "sa"}
)
LONGEST = 40  # letters of a word that may hold a slip
_ONE, _TWO = 5, 9  # letters from which on one and two slips are forgiven


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Folded. They carry no finding: a query is not judged by them.
EVERYDAY = _words(
    """
    come comes came go goes make makes made take takes seem seems appear appears start starts begin begins follow
    follows happen happens kommt kommen geht macht beginnt folgt kommer blir
    possible possibly probable suspected suspicion likely questionable moglich mogliche moglicher mogliches
    wahrscheinlich wahrscheinliche fraglich fraglicher fragliches verdacht mojlig mojligt misstankt trolig troligt
    minus ages men women man woman male males female females
    frau frauen mann manner mannern mannlich weiblich kvinna kvinnor
    remarkably clearly quite extremely slightly really fairly somewhat unusually strongly markedly obviously probably
    sehr ziemlich deutlich etwas stark mycket ganska tydligt
    many history absent absence excluded exclude ruled rule free evidence everything everyone everybody next last first
    lots lot
    a about after again ago all also am an and any are around as at be because been before being between both but by
    can case cases could did do does done during each ecg ekg electrocardiogram either else every few find for found
    from get give had has have having he her here him his how i if in into is it its just like list look looking looks
    may me more most my near no none nor not now of off on once one only or other our out over own patient patients
    people person persons please recording same search see seen several she should show showing shows similar since so
    some somebody someone such tell than that the their them then there these they this those through to tracing
    tracings trace too until up us very want was we were what when where which who whose will with within without would
    you your year years yr yrs old age aged example examples record records anyone anything something somehow need
    interested retrieve display return report reports looks got cannot neither never despite while yet although it's
    ab aber alle allem allen aller alles als also am an auch auf aus bei beim bis bitte da dabei dann das dass dem den
    denen der deren des die dies diese diesem diesen dieser dieses doch dort du durch ein eine einem einen einer eines
    einige er es etwas euch fall falle fallen fur gegen gib gibt habe haben hat hatte hier ich ihm ihr ihre im in ist ja
    jahre jahren jede jedem jeder kann kein keine keinem keinen keiner mal man mehr mein meine mich mit nach nicht
    nichts noch nur ob oder ohne patientin patienten patientinnen sein seine sich sie sind so soll sowie suche suchen
    und uns unter vom von vor war waren was welche welcher wenn wer werden wie wieder will wir wird wo zeig zeige zeigen
    zeigt zu zum zur zwischen uber jahrig jahrige jahriger ahnlich ahnliche ahnlichen alt aufzeichnung kurve befund
    att av bara de den denna dessa det detta dig du efter ej eller en ett far fick finns for fran fall ha hade han har
    hitta hon hos i icke ingen inga inget inte jag kan liknande man med mig mot ni nu och om pa patienter sa sig ska
    soka som till upp ut utan vad var vi vid visa visar ar aldre yngre alder alla allt
    minst hogst mindestens wenigstens hochstens
    chez les des du aux los las con nei nelle negli dei delle bij van het een
    """
)
# Folded words that occur in names and that everybody uses: on their own they say nothing of ECGs.
WEAK = _words(
    """
    digital digitale digitales
    broken nothing wrong anything fine take bad quality noisy flat line high low raised big small slow fast rapid total
    complete incomplete right left first second third stress swap cable switch fresh recent old new early late thick
    thin
    prominent unspecific specific minor major single double extra control adult volunteer subject person healthy normal
    abnormal results result findings finding everything completely entirely good ok failure arrest cardiac disease
    defect
    disorder sign signs pattern type typ syndrome syndrom point pointe wall lower upper front back down up run way off
    deviation change changes effect drug drugs overload delay wide broad narrow tall deep positive negative lateral
    anterior posterior inferior middle regular irregular light heavy marked mild severe moderate dilated enlarged sure
    alles ordnung hoch hohe hoher hohes tief niedrig schnell langsam link links linker linke recht rechts rechter rechte
    gross grosser klein kleiner frisch alt alter neu neue wirkung effekt erster zweiter dritter grad grades vollstandig
    komplett inkomplett typisch typische typisches schwer leicht normales normale normaler gesund unauffallig person
    hoger vanster liten stor gammal ny snabb langsam hog lag typiskt komplett frisk friskt normalt kontroll
    """
)
# Folded words of ECG language that are no names themselves, in three languages.
_DOMAIN = _words(
    """
    p q r s t u st qrs qt qtc pr pq rr pp j rsr rs qs qr v1 v2 v3 v4 v5 v6 v1-v3 ii iii avr avl avf wave waves lead
    leads
    segment segments interval intervals duration amplitude axis voltage voltages complex complexes beat beats rhythm
    rate bpm heart cardiac ventricle ventricles ventricular atrium atria atrial sinus node nodal septum septal bundle
    branch fascicle conduct conduction conducts conducted blocked block baseline isoelectric deflection deflections
    notch notched slurred slurring broad wide widened narrow tall deep peaked flat flattened biphasic inverted upright
    negative positive depressed elevated depression elevation strain scar wall anterior inferior lateral posterior
    septal apical basal chamber chambers enlarged thickened overloaded dilated hypertrophied muscle myocardium
    myocardial repolarisation repolarization depolarisation depolarization irregular irregularly regular fast slow
    faster slower rapid premature early pause pauses escape junctional ectopic paced pacing pacemaker spike spikes
    capture accessory pathway conduction delayed dissociation coronary infarcted ischaemic ischemic aortic mitral
    valve stenosis digitalis digoxin electrolyte potassium calcium acute chronic recent fresh old subacute evolving
    progression transition dominant pathological pathologic abnormal normal unspecific nonspecific breathing
    respiratory sawtooth ventricle pulse heartbeat heartbeats syncope arrest palpitations
    herz herzschlag herzschlage vorhof vorhofe kammer kammern kammerkomplex kammerkomplexe ventrikel strecke zeit welle
    wellen zacke zacken ableitung ableitungen schlag schlage rhythmus frequenz herzfrequenz puls hebung senkung
    negativierung verlangert verbreitert verbreiterung breit breite schmal schmale hoch hohe tief tiefe niedrig niedrige
    unregelmassig regelmassig schnell langsam schneller langsamer lagetyp achse block leitung uberleitung
    erregungsleitung erregungsruckbildung narbe vorderwand hinterwand seitenwand septum akut akuter akute frisch alter
    alt unspezifisch pathologisch normal schrittmacher stimulation pause pausen hypertrophie belastung septal inferior
    anterior lateral schenkel hypertroph ischamisch infarziert herzmuskel herzinfarkt spitze
    hjarta hjartat kammare formak rytm frekvens puls slag vag vagor avledning avledningar strackan overledning
    strack hojning sankning bred breda smal hog laga lag langsam snabb snabbt oregelbunden regelbunden hjartfrekvens
    axel elaxel skada nedre framre bakre vaggen akut gammal
    """
)


@dataclass(frozen=True, slots=True)
class Concept:
    """A finding that is none of the 71 statements.

    Attributes:
        code: Its name in this table, and no statement's.
        name_en, name_de: To be shown.
        covers: Statements any of which it is; empty where none is it.
        near: Statements that come nearest where none is it.
        labels: Codes under which other archives may hold it.
        denies: The statement whose absence it is.
        wording: Patterns with `{a,b}` alternatives.
    """

    code: str
    name_en: str
    name_de: str
    covers: tuple[str, ...] = ()
    near: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    denies: str = ""
    wording: tuple[str, ...] = ()

    @property
    def codes(self) -> tuple[str, ...]:
        """Every label that counts as it."""
        return (*self.covers, *self.labels)


@lru_cache(maxsize=1)
def concepts() -> dict[str, Concept]:
    """All concepts by their codes."""
    raw: list[dict[str, Any]] = json.loads(
        files("ecgkin.retrieval.search.words").joinpath("concepts.json").read_text("utf-8")
    )
    plain: list[dict[str, Any]] = [{k: tuple(v) if isinstance(v, list) else v for k, v in one.items()} for one in raw]
    items = [Concept(**one) for one in plain]
    return {item.code: item for item in items}


@lru_cache(maxsize=1)
def names() -> Names:
    """Statements and concepts as one tree; codes of concepts begin with "+"."""
    wordings, abbreviations, *rest = statement_layers()
    beside = [(text, f"+{code}") for text, code in _concept_layer()]
    return tree_of([wordings, abbreviations, beside, *rest], _CAPITALS_ONLY)


@lru_cache(maxsize=1)
def named_stems() -> dict[str, str]:
    """Every stem of a name with a word that has it."""
    found: dict[str, str] = {}
    for word in _name_words():
        found.setdefault(stem(word), word)
    return {key: word for key, word in found.items() if key not in _EVERYDAY_STEMS}


@lru_cache(maxsize=1)
def named_spellings() -> dict[str, str]:
    """Every word of a name, and those with a hyphen as one word, folded."""
    found = {fold(word).replace("-", ""): word for word in reversed([*_name_words(), *_hyphened()])}
    return {key: word for key, word in found.items() if key not in EVERYDAY}


@lru_cache(maxsize=1)
def hyphened() -> dict[str, str]:
    """Stems of words with a hyphen, which are two words of a name: "stsenkung"."""
    found = {stem(word): word for word in reversed(_hyphened())}
    return {key: word for key, word in found.items() if key not in named_stems()}


def _hyphened() -> list[str]:
    texts = [text for layer in (*statement_layers(), _concept_layer()) for text, _ in layer]
    words = [word.strip("()°/.,:<>&") for text in texts for word in text.split() if "-" in word]
    return [word for word in words if re.fullmatch(r"[^\W\d_]{1,12}(?:-[^\W\d_]{3,30})+", word)]


def _name_words() -> list[str]:
    """The words of all names, hyphens parting them."""
    texts = [text for layer in (*statement_layers(), _concept_layer()) for text, _ in layer]
    words = [word.strip("()°/.,:<>&") for text in texts for word in text.replace("-", " ").split()]
    return [word for word in words if word and not word.isdigit()]


def _concept_layer() -> list[tuple[str, str]]:
    worded = [(text, c.code) for c in concepts().values() for pattern in c.wording for text in expand(pattern)]
    return worded + [(name, c.code) for c in concepts().values() for name in (c.name_en, c.name_de)]


@lru_cache(maxsize=256)
def _places(code: str) -> re.Pattern[str]:
    """Where folded text may name a concept: the words of a wording by their beginnings, one after the other."""
    found = set()
    for pattern in concepts()[code].wording:
        for text in expand(pattern):
            words = [stem(word) for word in re.split(r"[\s\-°/]+", text) if word]
            # Words with several spellings ("infarct", "ischaemia") are looked for by what these share.
            begins = (
                r"\w" if w in ("infarct", "ecg") else "isch" if w.startswith("isch") else re.escape(w[:6])
                for w in words
            )
            found.add(r"\w{0,30}\W{1,3}(?:(?:the|a|an|der|die|das|des|dem|den|of)\s)?".join(begins))
    return re.compile(rf"\b(?:{'|'.join(sorted(found))})")


def may_name(code: str, folded: str) -> bool:
    """Whether a folded text may name a concept; a text that does not need not be read for it."""
    return _places(code).search(folded) is not None


@lru_cache(maxsize=1)
def domain_stems() -> dict[str, str]:
    """Stems of ECG language with a word that has each: names, and what surrounds them."""
    other = sorted(_DOMAIN | {fold(w) for w in COMMON_WORDS})
    return named_stems() | {stem(w): w for w in other if stem(w) not in _EVERYDAY_STEMS | named_stems().keys()}


_EVERYDAY_STEMS = frozenset({stem(w) for w in EVERYDAY} | EVERYDAY)


def is_everyday(word: str) -> bool:
    """Whether a word says nothing of its own ("show", "mit")."""
    return fold(word) in EVERYDAY or stem(word) in _EVERYDAY_STEMS


def is_weak(word: str) -> bool:
    """Whether a word says something of ECGs only beside others."""
    return fold(word) in WEAK


def is_statement(code: str) -> bool:
    """Whether a code is one of the 71."""
    return code in CODES


def nearest_word(word: str, most: int = 2) -> str | None:
    """A known word for one that is not known, None where none is near enough.

    One slip (a letter too many, too few, another, two swapped) is forgiven in words of 5 letters and more, two in 9 and
    more; the first letter must be right, or swapped with the second. Names go before other words of the language.

    Args:
        word: As it was written.
        most: Slips to forgive.

    Returns:
        The known word as it is written in a name.

    >>> nearest_word("fibrilation"), nearest_word("pizza")
    ('fibrillation', None)
    """
    if word.isupper() and len(word) in (4, 5):
        near = _abbreviation(word)
        if near is not None:
            return near
    best: tuple[int, int, str] | None = None
    # Folding takes "ae" for a vowel, also where a letter between the two was lost.
    for key in dict.fromkeys((fold(word).replace("-", ""), stem(word), word.lower())):
        if not _ONE <= len(key) <= LONGEST or not key.isalpha():
            continue
        slips = min(most, 2 if len(key) >= _TWO else 1)
        for order, known, meant in _beginning(key):
            if abs(len(known) - len(key)) > slips:
                continue
            far = distance(key, known, slips)
            if far <= slips and (best is None or (far, order) < best[:2]):
                best = (far, order, meant)
    return None if best is None else best[2]


def _abbreviation(word: str) -> str | None:
    """An abbreviation of a statement with a letter too many or few, or two swapped; another letter, another name."""
    known = [short for s in STATEMENTS for short in (s.code, *s.abbreviations) if short.isupper() and len(short) > 3]
    near = [short for short in known if short[0] == word[0] and distance(word, short, 1) == 1]
    return next((short for short in near if len(short) != len(word) or sorted(short) == sorted(word)), None)


def _beginning(key: str) -> list[tuple[int, str, str]]:
    """Known words that begin with the first letter, or with the first two swapped."""
    known = _by_letter()
    swapped = [entry for entry in known.get(key[1], []) if entry[1][1:2] == key[0] != key[1]]
    return known.get(key[0], []) + swapped


@lru_cache(maxsize=1)
def _by_letter() -> dict[str, list[tuple[int, str, str]]]:
    found: dict[str, list[tuple[int, str, str]]] = {}
    for order, words in enumerate((named_spellings(), named_stems(), domain_stems())):
        for known, word in words.items():
            if known.isalpha() and len(known) >= _ONE - 1 and not word.isupper():  # abbreviations: `_abbreviation`
                found.setdefault(known[0], []).append((min(order, 1), known, word))
    return found


def distance(a: str, b: str, most: int) -> int:
    """Letters to add, drop, change or swap with the next (optimal string alignment); most + 1 where it is more.

    Args:
        a, b: Words.
        most: Where counting may stop.

    Returns:
        The number of slips, 0 to most + 1.

    >>> distance("flimmern", "filmmern", 2), distance("abc", "xyz", 2)
    (1, 3)
    """
    before: list[int] = []
    last = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        if min(row) > most:
            return most + 1
        before, last = last, row
    return min(last[-1], most + 1)
