"""What is understood of words: findings and denial in three languages, limits, slips of the pen, and robustness."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgkin.retrieval.ecg.statements.find import expand
from ecgkin.retrieval.ecg.statements.report_text import fold
from ecgkin.retrieval.errors import QueryError
from ecgkin.retrieval.search.words import lexicon
from ecgkin.retrieval.search.words.lexicon import distance, nearest_word
from ecgkin.retrieval.search.words.parts import (
    AgePart,
    MeasurePart,
    SexPart,
    StatementPart,
    Understood,
    UnusedPart,
    parts_of,
)
from ecgkin.retrieval.search.words.plan import relevant
from ecgkin.retrieval.search.words.shown import shown
from ecgkin.retrieval.search.words.understand import cleaned, of_parts, understand


def wanted(text: str) -> list[tuple[str, ...]]:
    return [tuple(part.code for part in group) for group in understand(text).wanted]


def denied(text: str) -> list[str]:
    return [part.code for part in understand(text).denied]


@pytest.mark.parametrize(
    ("text", "groups", "absent"),
    [
        ("normal ECG", [("NORM",)], []),
        ("EKG normal", [("NORM",)], []),
        ("no atrial fibrillation", [], ["AFIB"]),
        ("without pacemaker", [], ["PACE"]),
        ("ohne Schrittmacher", [], ["PACE"]),
        ("inget förmaksflimmer", [], ["AFIB"]),
        ("AF w/o pacemaker", [("AFIB",)], ["PACE"]),
        ("everything except AF", [], ["AFIB"]),
        ("alles außer Vorhofflimmern", [], ["AFIB"]),
        ("LBBB -AFIB", [("CLBBB",)], ["AFIB"]),
        ("neither AF nor LBBB", [], ["AFIB", "CLBBB"]),
        ("not LBBB but RBBB", [("CRBBB",)], ["CLBBB"]),
        ("AF and LBBB", [("AFIB", "CLBBB")], []),
        ("AF or flutter", [("AFIB",), ("AFLT",)], []),
        ("AF, flutter or SVT", [("AFIB",), ("AFLT",), ("SVTAC",)], []),
        ("LBBB and AF or pacemaker", [("CLBBB", "AFIB"), ("PACE",)], []),
        ("Vorhofflimmern oder Linksschenkelblock", [("AFIB",), ("CLBBB",)], []),
        ("LBB", [("CLBBB",)], []),
        ("third degree AV block", [("3AVB",)], []),
        ("3° AV-Block", [("3AVB",)], []),
        ("AV block", [("ANY_AVB",)], []),
        ("VT", [("VT",)], []),
        ("Kammertachykardie", [("VT",)], []),
        ("stemi", [("STEMI",)], []),
        ("NSTEMI", [("NSTEMI",)], []),
        ("Brugada", [("BRUGADA",)], []),
        ("hyperkalaemia", [("HYPERK",)], []),
        ("inferior infarction", [("IMI",)], []),
        ("abnormal ECG", [], ["NORM"]),
        ("not normal", [], ["NORM"]),
        ("normal axis", [], []),
        ("AF with or without LBBB", [("AFIB",)], []),
        ("w/ LBBB", [("CLBBB",)], []),
        ("P-Wellen", [], []),
        ("Wellens-Syndrom", [("WELLENS",)], []),
        ("breda kammare", [], []),
        ("Torsade-de-pointes-Tachykardie", [("TDP",)], []),
    ],
)
def test_findings_and_denial(text: str, groups: list[tuple[str, ...]], absent: list[str]) -> None:
    assert wanted(text) == groups
    assert denied(text) == absent


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("atrial fibrilation", "AFIB"),
        ("Vorhoflimmern", "AFIB"),
        ("förmaksflimer", "AFIB"),
        ("Linkschenkelblock", "CLBBB"),
        ("excluding paemaker", "PACE"),
        ("ST-Senukng", "STD_"),
        ("STsänkning", "STD_"),
        ("inferior infarition", "IMI"),
        ("AFBI", "AFIB"),
        ("CLBB", "CLBBB"),
    ],
)
def test_slips_of_the_pen_are_read(text: str, code: str) -> None:
    found = understand(text)
    assert code in [part.code for part in (*found.denied, *(p for group in found.wanted for p in group))]
    assert any(part.kind == "spelling" for part in found.parts)


@pytest.mark.parametrize(
    "text",
    [
        "pizza",
        "xyz",
        "1234",
        "a" * 5000,
        "brunch",
        "how do I bake bread",
        "broken leg",
        "北京烤鸭",
        "привет мир",
        "????",
    ],
)
def test_nonsense_is_not_known(text: str) -> None:
    found = understand(text)
    assert found.known < 0.5
    assert not found.wanted
    assert not found.denied


def test_everyday_words_are_not_read_as_names() -> None:
    assert [part for part in understand("brunch").parts if part.kind == "spelling"] == []
    assert nearest_word("pizza") is None


def test_another_letter_in_an_abbreviation_is_another_name() -> None:
    assert wanted("XBBB") == []
    assert wanted("RBBB") == [("CRBBB",)]


@pytest.mark.parametrize(
    ("text", "name", "low", "high"),
    [
        ("rate 130", "rate_bpm", 120, 140),
        ("heart rate > 120", "rate_bpm", 120, None),
        ("faster than 150", "rate_bpm", 150, None),
        ("45 bpm", "rate_bpm", 35, 55),
        ("Herzfrequenz über 120", "rate_bpm", 120, None),
        ("hjärtfrekvens under 50", "rate_bpm", None, 50),
        ("QRS between 100 and 120 ms", "qrs_ms", 100, 120),
        ("QRS-Breite mindestens 120", "qrs_ms", 120, None),
        ("PQ > 0.2 s", "pr_ms", 200, None),
        ("QTc 480 or more", "qtc_ms", 480, None),
        ("axis -45", "axis_deg", -60, -30),
    ],
)
def test_measured_ranges(text: str, name: str, low: float | None, high: float | None) -> None:
    (part,) = understand(text).measures
    assert (part.name, part.low, part.high) == (name, low, high)


def test_a_value_that_no_ecg_has_is_no_range() -> None:
    assert understand("rate 5000").measures == ()


@pytest.mark.parametrize(
    ("text", "sex", "low", "high"),
    [
        ("women over 60 with AF", "F", 60, None),
        ("65-year-old man with LBBB", "M", 60, 70),
        ("Frauen über 70 mit Vorhofflimmern", "F", 70, None),
        ("65-jähriger Mann", "M", 60, 70),
        ("kvinna äldre än 60 med förmaksflimmer", "F", 60, None),
        ("men aged 40 to 60", "M", 40, 60),
        ("man, 70, LBBB", "M", 65, 75),
        ("LVH in her sixties", None, 60, 69),
        ("AF between 60 and 70 years", None, 60, 70),
        ("children with WPW", None, None, 17),
    ],
)
def test_age_and_sex(text: str, sex: str | None, low: float | None, high: float | None) -> None:
    parts = understand(text).parts
    assert [p.sex for p in parts if isinstance(p, SexPart)][:1] == ([sex] if sex else [])
    assert [(p.low, p.high) for p in parts if isinstance(p, AgePart)] == [(low, high)]


@pytest.mark.parametrize(
    ("text", "over", "under"),
    [
        *[(f"LBBB {words}", True, False) for words in (
            "over 50", "> 50", "above 50", "older than 50", "more than 50 years", "over the age of 50",
            "not at most 50", "über 50", "älter als 50", "mehr als 50 Jahre", "över 50", "äldre än 50",
            "plus de 50 ans", "más de 50 años", "più di 50 anni", "mais de 50 anos", "ouder dan 50",
        )],
        *[(f"LBBB {words}", False, True) for words in (
            "under 50", "< 50", "below 50", "younger than 50", "less than 50 years", "women below the age of 50",
            "not at least 50", "unter 50", "jünger als 50", "weniger als 50 Jahre", "under 50 år", "yngre än 50",
            "moins de 50 ans", "menos de 50 años", "meno di 50 anni", "menos de 50 anos", "jonger dan 50",
        )],
        *[(f"LBBB {words}", False, False) for words in (
            "from 50", ">= 50", "at least 50", "50 or older", "50 and over", "not under 50", "ab 50", "mindestens 50",
            "50 oder älter", "minst 50", "från 50 år", "au moins 50 ans", "al menos 50 años", "up to 50", "<= 50",
            "at most 50", "until 50", "50 or younger", "not over 50", "bis 50", "bis zu 50", "höchstens 50",
            "nicht über 50", "upp till 50", "till och med 50 år", "högst 50", "jusqu'à 50 ans",
            "hasta los 50 años", "fino a 50 anni",
        )],
    ],
)  # fmt: skip
def test_over_and_under_leave_out_the_number_itself_and_from_and_up_to_hold_it(
    text: str, over: bool, under: bool
) -> None:
    found = understand(text)
    (age,) = [part for part in found.parts if isinstance(part, AgePart)]
    assert (age.over, age.under) == (over, under)
    assert 50 in (age.low, age.high) and None in (age.low, age.high)
    assert (age.low == 50) >= over and (age.high == 50) >= under
    assert not [part for part in found.parts if part.kind in ("unknown", "unused", "spelling")]


@pytest.mark.parametrize(
    ("text", "name", "value", "held"),
    [
        ("QRS > 120", "qrs_ms", 120, False),
        ("QRS at least 120", "qrs_ms", 120, True),
        ("QRS not over 120", "qrs_ms", 120, True),
        ("QRS not less than 120", "qrs_ms", 120, True),
        ("kein QRS über 120", "qrs_ms", 120, True),
        ("QRS bis 120", "qrs_ms", 120, True),
        ("rate under 60", "rate_bpm", 60, False),
        ("slower than 60", "rate_bpm", 60, False),
        ("faster than 100", "rate_bpm", 100, False),
        ("QTc 480 or more", "qtc_ms", 480, True),
        ("axis > 0", "axis_deg", -20, False),
        ("axis > 0", "axis_deg", 20, True),
    ],
)
def test_the_limit_of_a_measured_value_belongs_to_it_as_the_words_say(
    text: str, name: str, value: float, held: bool
) -> None:
    (part,) = understand(text).measures
    assert (part.name, part.holds(value)) == (name, held)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("over 80", "age over 80"),
        (">80", "age over 80"),
        ("80+", "age from 80"),
        ("not over 80", "age up to 80"),
        ("everyone under 30", "age under 30"),
        ("über 80", "age over 80"),
        ("alla över 80", "age over 80"),
        ("60-70", "age 60 to 70"),
        ("aged >= 60.5", "age from 60.5"),
        ("unter 60,5 Jahren", "age under 60.5"),
    ],
)
def test_an_age_alone_is_understood(text: str, line: str) -> None:
    found = understand(text)
    assert shown(found) == line
    assert relevant(found)
    assert [part.kind for part in found.parts] == ["age"]


@pytest.mark.parametrize(
    "text", ["80", "1234", "over 3", "over 300", "over", "pizza over 80", "45 over 60", "over 80 %"]
)
def test_other_numbers_alone_are_no_age(text: str) -> None:
    found = understand(text)
    assert not [part for part in found.parts if isinstance(part, AgePart)]
    assert not relevant(found)


@pytest.mark.parametrize(
    ("text", "unused"),
    [
        ("AF under 3 months", "under 3 months"),
        ("AF, 3 months old", "3 months old"),
        ("3-week-old boy with AF", "3-week-old"),
        ("AF, 6 Monate alt", "6 Monate alt"),
        ("AF bei Kindern unter 6 Wochen", "unter 6 Wochen"),
        ("AF hos barn under 6 veckor", "under 6 veckor"),
        ("AF in infants of 2 to 6 weeks", "of 2 to 6 weeks"),
    ],
)
def test_an_age_in_months_weeks_or_days_is_said_to_be_unused(text: str, unused: str) -> None:
    found = understand(text)
    assert [part.text for part in found.parts if isinstance(part, UnusedPart)] == [unused]
    assert not [part for part in found.parts if part.kind in ("unknown", "spelling")]
    assert not [part for part in found.parts if isinstance(part, AgePart) and part.text in unused]


@pytest.mark.parametrize(
    ("text", "sex", "own"),
    [
        ("AF in 65 yo F", "F", "F"), ("AF 65F", "F", "F"), ("AF, 65 y/o m", "M", "m"),
        ("an old man with AF", "M", "man"), ("65-year-old man with AF", "M", "man"),
        ("F, 65, AF", "F", "F"), ("women with AF", "F", "women"),
    ],
)  # fmt: skip
def test_a_sex_is_told_by_its_own_word(text: str, sex: str, own: str) -> None:
    (part,) = [part for part in understand(text).parts if isinstance(part, SexPart)]
    assert (part.sex, part.text) == (sex, own)
    ages = [part for part in understand(text).parts if isinstance(part, AgePart)]
    assert len(ages) == ("65" in text or "old" in text)


@pytest.mark.parametrize(
    ("text", "sex", "low", "high"),
    [
        ("AF in a man of 72", "M", 67, 77), ("a woman of 80 with LBBB", "F", 75, 85),
        ("men of 72 with AF", "M", 67, 77),
        ("ein Mann von 72 mit Vorhofflimmern", "M", 67, 77), ("a man of 60 to 70 with AF", "M", 60, 70),
        ("LBBB aged over seventy", None, 70, None), ("women over sixty-five with AF", "F", 65, None),
        ("AF in patients from sixty to seventy", None, 60, 70),
    ],
)  # fmt: skip
def test_ages_that_are_said_of_people_or_in_words(text: str, sex: str | None, low: float, high: float | None) -> None:
    found = understand(text)
    assert [part.sex for part in found.parts if isinstance(part, SexPart)] == ([sex] if sex else [])
    assert [(part.low, part.high) for part in found.parts if isinstance(part, AgePart)] == [(low, high)]
    assert not [part for part in found.parts if part.kind in ("unknown", "unused", "spelling")]


@pytest.mark.parametrize("text", ["AF 1990", "AF in 1990", "LBBB, 72", "LBBB 4711 with AF", "AF of 1990 and 1991"])
def test_numbers_that_nothing_was_read_from_are_said(text: str) -> None:
    unused = [part.text for part in understand(text).parts if isinstance(part, UnusedPart)]
    assert unused == [word for word in text.replace(",", "").split() if word.isdigit()]
    assert not any(number in understand(text).words for number in unused)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("over 50 under 60", "age over 50; age under 60"),
        ("women over 50 and under 60", "age over 50; age under 60; female"),
        ("under 60 but over 50", "age under 60; age over 50"),
    ],
)
def test_two_sides_of_one_age(text: str, line: str) -> None:
    assert sorted(shown(understand(text)).split("; ")) == sorted(line.split("; "))
    with_finding = understand(f"LBBB {text}")
    assert len([part for part in with_finding.parts if isinstance(part, AgePart)]) == 2
    assert not [part for part in with_finding.parts if part.kind in ("unknown", "unused")]


@pytest.mark.parametrize("text", ["under 50 or over 80", "under 50 years or over 80 years", "unter 50 oder über 80"])
def test_one_age_or_another_is_no_limit(text: str) -> None:
    found = understand(f"LBBB {text}")
    assert [part.text for part in found.parts if isinstance(part, UnusedPart)] == [text]
    assert not [part for part in found.parts if isinstance(part, AgePart)]


@pytest.mark.parametrize(
    "text", ["utan q-våg", "utan q-vågor", "utan Q-vågorna", "without Q wave", "without Q waves", "ohne Q-Zacke",
             "ohne Q-Zacken", "no pathological Q wave", "inga patologiska Q-vågor"],
)  # fmt: skip
def test_singular_and_plural_are_denied_alike(text: str) -> None:
    found = understand(f"sinus rhythm {text}")
    assert [part.code for part in found.denied] == ["QWAVE"]
    assert not [part for part in found.parts if isinstance(part, UnusedPart)]


@pytest.mark.parametrize(
    ("text", "unused"),
    [
        ("LBBB without blarg", "without blarg"), ("LBBB utan blargvåg", "utan blargvåg"),
        ("AF ohne Blarg in V1", "ohne Blarg"), ("AF, no change in the LBBB", "no change"),
        ("AF, no P waves", "no P waves"),
    ],
)  # fmt: skip
def test_what_is_denied_and_no_finding_is_said_and_not_searched_for(text: str, unused: str) -> None:
    found = understand(text)
    assert [part.text for part in found.parts if isinstance(part, UnusedPart)] == [unused]
    assert unused not in found.words and unused.split()[-1] not in found.words
    assert not found.denied


@pytest.mark.parametrize(
    "text", ["no previous infarct", "AF with or without LBBB", "not only AF but LBBB", "neither AF nor LBBB",
             "no sign of AF", "Vorhofflimmern nicht nachweisbar", "AF cannot be excluded", "everything except AF"],
)  # fmt: skip
def test_denials_that_are_used_are_not_called_unused(text: str) -> None:
    assert not [part for part in understand(text).parts if isinstance(part, UnusedPart)]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("inferior STEMI", "STEMI"), ("anterior STEMI", "STEMI"), ("acute stemi", "STEMI"), ("STEMI", "STEMI"),
        ("inferior NSTEMI", "NSTEMI"), ("anterior non-STEMI", "NSTEMI"), ("acute infarction", "ACUTE_MI"),
        ("U wave", "UWAVE"), ("low potassium", "HYPOK"), ("electrolytes", "EL"),
    ],
)  # fmt: skip
def test_an_infarction_with_st_elevation_is_no_old_one(text: str, code: str) -> None:
    assert wanted(text) == [(code,)]


@pytest.mark.parametrize(
    ("text", "code", "unused"),
    [
        ("acute anterior infarction", "AMI", ["acute"]), ("akuter Hinterwandinfarkt", "IMI", ["akuter"]),
        ("acute inferior ischaemia", "ISCIN", ["acute"]), ("old inferior infarct", "IMI", []),
    ],
)  # fmt: skip
def test_how_fresh_an_infarction_is_is_said_to_be_unused(text: str, code: str, unused: list[str]) -> None:
    found = understand(text)
    assert wanted(text) == [(code,)]
    assert [part.text for part in found.parts if isinstance(part, UnusedPart)] == unused
    assert "acute" not in found.words


def test_doubt_is_not_called_unknown() -> None:
    for text in ("possible AF", "suspected LBBB", "mögliches Vorhofflimmern", "misstänkt förmaksflimmer"):
        assert not [part for part in understand(text).parts if part.kind == "unknown"], text


@pytest.mark.parametrize("text", ["block", "heart", "wave", "Herz"])
def test_one_word_that_names_nothing_is_not_understood(text: str) -> None:
    found = understand(text)
    assert not found.wanted
    assert not relevant(found)


def test_both_sexes_are_no_filter_and_ages_are_no_rates() -> None:
    assert not [p for p in understand("men and women with AF").parts if isinstance(p, SexPart)]
    parts = understand("QRS over 120 in women over 60").parts
    assert [(p.name, p.low) for p in parts if isinstance(p, MeasurePart)] == [("qrs_ms", 120)]
    assert [p.low for p in parts if isinstance(p, AgePart)] == [60]


@pytest.mark.parametrize(
    ("text", "sex", "low", "high"),
    [
        ("LBBB nicht älter als 60", None, None, 60),
        ("LBBB not older than 60", None, None, 60),
        ("LBBB not over 60 years", None, None, 60),
        ("LBBB nicht über 60 Jahre", None, None, 60),
        ("LBBB inte äldre än 60", None, None, 60),
        ("LBBB no older than 50", None, None, 50),
        ("LBBB not younger than 40", None, 40, None),
        ("LBBB not over 60", None, None, 60),
        ("women not older than 60 with LBBB", "F", None, 60),
        ("LBBB in patients who are not over 60", None, None, 60),
        ("LBBB, not in children", None, 18, None),
        ("LBBB not in women", "M", None, None),
        ("LBBB nicht bei Frauen", "M", None, None),
        ("LBBB inte hos kvinnor", "M", None, None),
        ("LBBB excluding men", "F", None, None),
        ("no women with LBBB", "M", None, None),
    ],
)
def test_age_and_sex_that_are_denied_are_the_other_ones(
    text: str, sex: str | None, low: float | None, high: float | None
) -> None:
    found = understand(text)
    assert [p.sex for p in found.parts if isinstance(p, SexPart)] == ([sex] if sex else [])
    ages = [(p.low, p.high) for p in found.parts if isinstance(p, AgePart)]
    assert ages == ([] if low is high is None else [(low, high)])
    assert (wanted(text), denied(text)) == ([("CLBBB",)], [])
    assert found.words == "complete left bundle branch block" or text.startswith(("women", "no women", "LBBB in"))


@pytest.mark.parametrize(
    ("text", "unused"),
    [
        ("AF except for women over 60", "without women over 60"),
        ("AF, not in women over 60", "not in women over 60"),
        ("not a 60-year-old with AF", "not a 60-year-old"),
        ("kein 60-jähriger mit Vorhofflimmern", "kein 60-jähriger"),
        ("AF not between 60 and 70 years", "not between 60 and 70 years"),
        ("AF, no QTc 480", "no QTc 480"),
        ("AF above 200", "above 200"),
        ("AF over 3", "over 3"),
        ("AF, ejection fraction > 50", "> 50"),
        ("AF more than 20 per day", "more than 20 per day"),
        ("AF over 100", "over 100"),
        ("AF 60", "60"),
    ],
)
def test_what_no_limit_can_say_is_unused_and_filters_nothing(text: str, unused: str) -> None:
    found = understand(text)
    assert [part.text for part in found.parts if isinstance(part, UnusedPart)] == [unused]
    assert not [part for part in found.parts if isinstance(part, SexPart | AgePart | MeasurePart)]
    assert (wanted(text), denied(text)) == ([("AFIB",)], [])


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("LBBB over 60", 60, None),
        ("LBBB, 60 to 70", 60, 70),
        ("LBBB between 60 and 70", 60, 70),
        ("LBBB unter 40", None, 40),
        ("LBBB über 60", 60, None),
        ("AF >80", 80, None),
        ("AF under 18", None, 18),
        ("AF 80+", 80, None),
        ("over 60 with AF", 60, None),
    ],
)
def test_a_number_without_a_unit_beside_a_finding_is_an_age(text: str, low: float | None, high: float | None) -> None:
    found = understand(text)
    assert [(p.low, p.high) for p in found.parts if isinstance(p, AgePart)] == [(low, high)]
    assert not [part for part in found.parts if part.kind in ("unknown", "unused", "measure")]


@pytest.mark.parametrize("text", ["flutter with 2 to 1 conduction", "ST elevation in V1 to V4", "AF", "3° AV-Block"])
def test_other_numbers_are_no_ages(text: str) -> None:
    assert not [part for part in understand(text).parts if part.kind in ("age", "unused")]
    assert not [part for part in understand("pizza over 60").parts if part.kind in ("age", "unused")]


@pytest.mark.parametrize(
    ("text", "name", "low", "high"),
    [
        ("not QRS > 120 ms", "qrs_ms", None, 120),
        ("kein QRS über 120", "qrs_ms", None, 120),
        ("QRS not > 120 ms", "qrs_ms", None, 120),
        ("QRS nicht über 120 ms", "qrs_ms", None, 120),
        ("without rate over 100", "rate_bpm", None, 100),
        ("Frequenz nicht unter 60", "rate_bpm", 60, None),
        ("not faster than 100", "rate_bpm", None, 100),
        ("rate not less than 60", "rate_bpm", 60, None),
        ("no pacemaker, QRS > 120 ms", "qrs_ms", 120, None),
    ],
)
def test_a_measured_value_that_is_denied_is_the_other_side(
    text: str, name: str, low: float | None, high: float | None
) -> None:
    (part,) = understand(text).measures
    assert (part.name, part.low, part.high) == (name, low, high)
    assert bool(understand(text).words) == ("pacemaker" in text)


@pytest.mark.parametrize("text", ["sinus bradycardia under 40", "tachycardia > 90", "Tachykardie über 90"])
def test_a_number_behind_a_tachycardia_is_no_age(text: str) -> None:
    assert [part.kind for part in understand(text).parts if part.kind in ("age", "unused")] == ["unused"]


def test_minus_is_without_or_a_sign() -> None:
    for text in ("LVH minus LBBB", "LVH minus the LBBB"):
        assert (wanted(text), denied(text)) == ([("LVH",)], ["CLBBB"])
        assert not [part for part in understand(text).parts if part.kind == "spelling"]
    assert [(part.low, part.high) for part in understand("axis minus 45").measures] == [(-60, -30)]


@pytest.mark.parametrize(
    "text",
    [
        "Vorhofflimmern ausgeschlossen", "weder Vorhofflimmern noch LBBB", "AF nicht nachweisbar",
        "men and women with AF", "Männer und Frauen mit Vorhofflimmern",
    ],
)  # fmt: skip
def test_words_that_deny_and_people_are_not_called_unknown(text: str) -> None:
    assert not [part for part in understand(text).parts if part.kind == "unknown"]


@pytest.mark.parametrize(
    ("text", "sex"),
    [("LBBB not seen in women", "F"), ("LBBB inte påvisad hos kvinnor", "F"), ("uteslutet vänstergrenblock", None)],
)
def test_a_denied_finding_leaves_the_people_as_they_are(text: str, sex: str | None) -> None:
    """What denies the finding denies no sex, and is neither unknown nor embedded."""
    parts = {part.kind: part for part in understand(text).parts}
    assert parts.pop("statement") == StatementPart("CLBBB", "absent", "and", text_of(text))
    assert getattr(parts.pop("sex", None), "sex", None) == sex and not parts


def text_of(text: str) -> str:
    """The name in the text."""
    return next(name for name in ("LBBB", "vänstergrenblock") if name in text)


def test_denied_names_are_not_embedded() -> None:
    assert "fibrillation" not in understand("LBBB, no sign of atrial fibrillation").words
    assert understand("no atrial fibrillation").words == ""
    assert understand("LBBB").words == "complete left bundle branch block"


def test_unknown_words_are_said_once() -> None:
    found = understand("LBBB blarg blarg fnord")
    assert [part.text for part in found.parts if part.kind == "unknown"] == ["blarg", "fnord"]


def test_a_sentence_with_few_names_is_one() -> None:
    assert understand("Old scar of the lower wall with deep Q in II, III and aVF").is_sentence
    assert not understand("third degree AV block in women over 60").is_sentence


def test_control_characters_and_blanks_do_not_matter() -> None:
    assert understand("no\x00 \u200batrial\n\n   fibrillation").parts == understand("no atrial fibrillation").parts
    assert cleaned(" a \t\r\n b ") == "a b"


@pytest.mark.parametrize(
    "text",
    [
     "no " * 3300, "rate " * 2000, "1 " * 5000, "qrs of the " * 900, "over 60 " * 1200, "AF, " * 2500,
     "fibrilation " * 800,
     "AF over 60, " * 830, "not women over 60 " * 550, "AF not QRS > 120 " * 580, "not in the " * 900 + "women",
     "(" * 9000, "x" * 10_000, "between 1 and " * 700, "w/o " * 2500, "a-v-" * 2500, " " * 9000 + "AF"],
)  # fmt: skip
def test_ten_thousand_characters_are_read(text: str) -> None:
    found = understand(text[:10_000])
    assert len(found.parts) <= 200


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=300))
def test_any_text_is_understood_somehow(text: str) -> None:
    found = understand(text)
    assert 0.0 <= found.known <= 1.0
    assert parts_of(found.as_list()) == found.parts


@settings(max_examples=40, deadline=None)
@given(st.text("abcde", max_size=8), st.text("abcde", max_size=8))
def test_distance_is_one(a: str, b: str) -> None:
    assert distance(a, b, 9) == distance(b, a, 9)
    assert (distance(a, b, 9) == 0) == (a == b)


def test_parts_can_be_changed_and_sent_back() -> None:
    given = understand("LBBB without AF in women").as_list()
    changed = of_parts(parts_of([part for part in given if part["kind"] != "sex"]))
    assert not [p for p in changed.parts if isinstance(p, SexPart)]
    assert [p.code for p in changed.denied] == ["AFIB"]


@pytest.mark.parametrize("value", [{"kind": "nothing"}, {"kind": "statement"}, 3, {"kind": "age", "low": "old"}])
def test_what_is_no_part_is_refused(value: object) -> None:
    with pytest.raises(QueryError, match="understood"):
        parts_of([value])


def test_too_many_parts_are_refused() -> None:
    with pytest.raises(QueryError, match="201 parts"):
        parts_of([{"kind": "words", "text": "x"}] * 201)


def test_every_concept_is_well_formed() -> None:
    for concept in lexicon.concepts().values():
        assert concept.covers or concept.denies or concept.wording
        assert all(lexicon.is_statement(code) for code in (*concept.covers, *concept.near))
        assert not lexicon.is_statement(concept.code)
        assert not (concept.covers and concept.near)


def test_every_concept_is_found_by_its_own_name() -> None:
    for concept in lexicon.concepts().values():
        if concept.near:
            assert wanted(concept.name_en) == [(concept.code,)], concept.name_en


def test_reports_that_name_a_concept_are_read_for_it() -> None:
    for concept in lexicon.concepts().values():
        for pattern in concept.wording:
            for text in expand(pattern):
                assert lexicon.may_name(concept.code, fold(f"sinusrhythmus, {text}.")), (concept.code, text)


def test_what_was_understood_is_shown_in_both_languages() -> None:
    found: Understood = understand("AF or LBBB without pacemaker, QRS > 120, women over 60")
    assert shown(found) == (
        "atrial fibrillation (AFIB) or complete left bundle branch block (CLBBB); not pacemaker rhythm (PACE); "
        "QRS duration over 120 ms; age over 60; female"
    )
    assert "nicht Schrittmacherrhythmus" in shown(found, "de")
    assert shown(understand("xyz")) == "words alone, no finding that is known"
