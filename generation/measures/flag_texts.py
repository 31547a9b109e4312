"""The words of the red flags, English and German, with the criterion and its source.

Each flag has a title, the criterion in words and, where it is more often wrong than right among archived ECGs, a caveat
that says so. Placeholders: {leads} and the measured values of the flag.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ecgkin.generation.measures.flags import Flag, FlagCode, Severity
from ecgkin.retrieval.notes import Language

_UDMI = "Thygesen 2018, Fourth Universal Definition of Myocardial Infarction, Circulation 138:e618"
_AHA3 = "Surawicz 2009, AHA/ACCF/HRS recommendations part III, Circulation 119:e235"
_AHA4 = "Rautaharju 2009, AHA/ACCF/HRS recommendations part IV, Circulation 119:e241"
_NOT_ACUTE: Mapping[Language, str] = {
    "en": "in archived ECGs often without acute infarction (early repolarisation, hypertrophy, old infarction,"
    " pericarditis)",
    "de": "in archivierten EKGs oft ohne akuten Infarkt (frühe Repolarisation, Hypertrophie, alter Infarkt,"
    " Perikarditis)",
}
_BRUGADA = "Priori 2013, HRS/EHRA/APHRS consensus, Heart Rhythm 10:1932"
_SVT = "Page 2016, ACC/AHA/HRS guideline on supraventricular tachycardia, Circulation 133:e506"
_BRADY = "Kusumoto 2018, ACC/AHA/HRS guideline on bradycardia, Circulation 140:e382"


@dataclass(frozen=True)
class Words:
    """A flag in one language: what to say, and by which rule."""

    title: str
    criterion: str
    caveat: str = ""


@dataclass(frozen=True)
class FlagText:
    """A flag in both languages, with the source of its criterion; variants are met by criteria of their own."""

    en: Words
    de: Words
    source: str
    variants: Mapping[str, FlagText] = field(default_factory=dict)


FLAG_TEXTS: Mapping[FlagCode, FlagText] = {
    FlagCode.NO_QRS: FlagText(
        Words(
            "No regular QRS complexes can be told apart",
            "noise, asystole or ventricular fibrillation: look at the trace",
        ),
        Words("Keine abgrenzbaren QRS-Komplexe", "Störung, Asystolie oder Kammerflimmern: Kurve ansehen"),
        "this project's measurement",
        {
            "chaotic": FlagText(
                Words(
                    "Chaotic fast rhythm (about {rate_bpm:.0f} deflections/min)",
                    "150/min or more, most complexes unlike each other: ventricular fibrillation, torsade de pointes or"
                    " noise, look at the trace and the patient",
                ),
                Words(
                    "Chaotischer schneller Rhythmus (etwa {rate_bpm:.0f} Ausschläge/min)",
                    "ab 150/min, die meisten Komplexe einander unähnlich: Kammerflimmern, Torsade de pointes oder"
                    " Störung, Kurve und Patient ansehen",
                ),
                "this project's measurement",
            ),
        },
    ),
    FlagCode.WIDE_TACHYCARDIA: FlagText(
        Words(
            "Tachycardia with wide QRS ({rate_bpm:.0f}/min, {qrs_ms:.0f} ms)",
            "QRS of 120 ms or more at over 120/min, or at over 100/min without a constant P wave: ventricular until"
            " proven otherwise",
        ),
        Words(
            "Tachykardie mit breitem QRS ({rate_bpm:.0f}/min, {qrs_ms:.0f} ms)",
            "QRS ab 120 ms bei über 120/min, oder bei über 100/min ohne konstante P-Welle: bis zum Beweis des"
            " Gegenteils"
            " ventrikulär",
        ),
        "Al-Khatib 2017, AHA/ACC/HRS guideline on ventricular arrhythmias, Circulation 138:e272",
    ),
    FlagCode.ST_ELEVATION: FlagText(
        Words(
            "ST elevation in {leads}",
            "ST at the J point or 60 ms later raised by 0.1 mV or more in two contiguous leads (V2-V3: 0.2 mV in"
            " men from 40 years on, 0.25 mV in younger men, 0.15 mV in women): pattern of acute or recent infarction",
            _NOT_ACUTE["en"],
        ),
        Words(
            "ST-Hebung in {leads}",
            "ST am J-Punkt oder 60 ms danach um mindestens 0,1 mV gehoben in zwei benachbarten Ableitungen (V2-V3:"
            " 0,2 mV bei Männern ab 40, 0,25 mV bei jüngeren, 0,15 mV bei Frauen): Muster eines akuten oder frischen"
            " Infarkts",
            _NOT_ACUTE["de"],
        ),
        _UDMI,
        {
            "with_q": FlagText(
                Words(
                    "ST elevation beside Q waves in {leads}",
                    "at least 0.06 mV on average at J and 60 ms later, in two contiguous leads with Q waves: infarction"
                    " that may be hours to days old",
                    _NOT_ACUTE["en"],
                ),
                Words(
                    "ST-Hebung neben Q-Zacken in {leads}",
                    "im Mittel mindestens 0,06 mV am J-Punkt und 60 ms danach, in zwei benachbarten Ableitungen mit"
                    " Q-Zacken: Infarkt, der Stunden bis Tage alt sein kann",
                    _NOT_ACUTE["de"],
                ),
                "Q waves: " + _UDMI + "; level: this project, PTB-XL folds 1-8",
            ),
            "reciprocal": FlagText(
                Words(
                    "Slight ST elevation in {leads} with ST depression in aVL",
                    "0.05 mV in two inferior leads, 0.05 mV of depression in aVL: may be an early inferior infarction,"
                    " repeat the ECG",
                    _NOT_ACUTE["en"],
                ),
                Words(
                    "Geringe ST-Hebung in {leads} mit ST-Senkung in aVL",
                    "0,05 mV in zwei inferioren Ableitungen, Senkung von 0,05 mV in aVL: kann ein früher inferiorer"
                    " Infarkt sein, EKG wiederholen",
                    _NOT_ACUTE["de"],
                ),
                "Bischof 2016, Am J Emerg Med 34:149 (depression in aVL); level: this project",
            ),
            "low_r": FlagText(
                Words(
                    "ST elevation in {leads} with small R waves",
                    "the limit of the lead reached at J or 60 ms later, two thirds of it 60 ms later, in two of V1 to"
                    " V4 with an R of 0.2 mV or less: anterior infarction that may be recent",
                    _NOT_ACUTE["en"],
                ),
                Words(
                    "ST-Hebung in {leads} bei kleinem R",
                    "der Grenzwert der Ableitung am J-Punkt oder 60 ms danach erreicht, zwei Drittel davon nach 60 ms,"
                    " in zwei von V1 bis V4 mit einem R von höchstens 0,2 mV: Vorderwandinfarkt, der frisch sein kann",
                    _NOT_ACUTE["de"],
                ),
                "limits: " + _UDMI + "; R: this project, PTB-XL folds 1-8",
            ),
        },
    ),
    FlagCode.SGARBOSSA: FlagText(
        Words(
            "ST deviation beyond what left bundle branch block or pacing explains, in {leads}",
            "concordant ST elevation of 0.1 mV, ST depression of 0.1 mV in V1-V3, or ST elevation of a quarter of the S"
            " wave: modified Sgarbossa criteria",
            "in archived ECGs often without acute infarction",
        ),
        Words(
            "ST-Abweichung über das hinaus, was Linksschenkelblock oder Stimulation erklären, in {leads}",
            "konkordante ST-Hebung von 0,1 mV, ST-Senkung von 0,1 mV in V1-V3 oder ST-Hebung von einem Viertel der"
            " S-Zacke: modifizierte Sgarbossa-Kriterien",
            "in archivierten EKGs oft ohne akuten Infarkt",
        ),
        "Sgarbossa 1996, N Engl J Med 334:481; Smith 2012, Ann Emerg Med 60:766",
    ),
    FlagCode.POSTERIOR: FlagText(
        Words(
            "ST depression in {leads}, deepest in V2 or V3",
            "0.05 mV or more at J and 60 ms later in two of V1 to V4 and less in V5 and V6: may be the mirror image of"
            " a posterior infarction, record V7-V9",
            "in archived ECGs often without posterior infarction",
        ),
        Words(
            "ST-Senkung in {leads}, am tiefsten in V2 oder V3",
            "mindestens 0,05 mV am J-Punkt und 60 ms danach in zwei von V1 bis V4 und weniger in V5 und V6: kann"
            " Spiegelbild eines posterioren Infarkts sein, V7-V9 ableiten",
            "in archivierten EKGs oft ohne posterioren Infarkt",
        ),
        _UDMI + "; Meyers 2021, J Am Heart Assoc 10:e022866",
    ),
    FlagCode.RECENT_INFARCTION: FlagText(
        Words(
            "Q waves and inverted T in {leads}: infarction, its age not shown",
            "Q of 20 ms and 0.1 mV with T inverted in two contiguous leads: may be days to weeks old, compare with"
            " earlier ECGs",
            "in archived ECGs most are old infarctions",
        ),
        Words(
            "Q-Zacken und negatives T in {leads}: Infarkt, Alter nicht erkennbar",
            "Q von 20 ms und 0,1 mV mit negativem T in zwei benachbarten Ableitungen: kann Tage bis Wochen alt sein,"
            " mit früheren EKGs vergleichen",
            "in archivierten EKGs meist alte Infarkte",
        ),
        _UDMI,
    ),
    FlagCode.AVR_ELEVATION: FlagText(
        Words(
            "ST elevation in aVR with ST depression in six leads or more",
            "0.1 mV in aVR and depression of 0.1 mV in at least six leads: multivessel or left main disease",
            "in archived ECGs often with left ventricular hypertrophy or a fast rate instead",
        ),
        Words(
            "ST-Hebung in aVR mit ST-Senkung in sechs oder mehr Ableitungen",
            "0,1 mV in aVR und Senkung von 0,1 mV in mindestens sechs Ableitungen: Mehrgefäß- oder"
            " Hauptstammerkrankung",
            "in archivierten EKGs oft bei Linkshypertrophie oder schneller Frequenz",
        ),
        _UDMI,
    ),
    FlagCode.HIGH_GRADE_BLOCK: FlagText(
        Words(
            "Possible third-degree AV block: P waves at {atrial_bpm:.0f}/min that QRS does not follow"
            " ({rate_bpm:.0f}/min)",
            "P waves of one shape at a rate of their own, faster than QRS and at no constant distance from it: AV"
            " dissociation, third-degree AV block likely",
            "in archived ECGs as often without a statement of block as with one: look for the P waves",
        ),
        Words(
            "Möglicher AV-Block III. Grades: P-Wellen mit {atrial_bpm:.0f}/min, denen QRS nicht folgt"
            " ({rate_bpm:.0f}/min)",
            "P-Wellen gleicher Form in eigenem Takt, schneller als QRS und ohne festen Abstand dazu: AV-Dissoziation,"
            " AV-Block III. Grades wahrscheinlich",
            "in archivierten EKGs ebenso oft ohne wie mit Befund eines Blocks: P-Wellen suchen",
        ),
        _BRADY,
        {
            "several_to_one": FlagText(
                Words(
                    "High-grade AV block likely: three or more P waves to a QRS (P {atrial_bpm:.0f}/min, QRS"
                    " {rate_bpm:.0f}/min)",
                    "P waves of one shape of which the last stands at one distance from QRS: high-grade AV block",
                ),
                Words(
                    "Höhergradiger AV-Block wahrscheinlich: drei oder mehr P-Wellen je QRS (P {atrial_bpm:.0f}/min, QRS"
                    " {rate_bpm:.0f}/min)",
                    "P-Wellen gleicher Form, die letzte in festem Abstand zu QRS: höhergradiger AV-Block",
                ),
                _BRADY,
            ),
        },
    ),
    FlagCode.SECOND_DEGREE_BLOCK: FlagText(
        Words(
            "Second-degree AV block likely: P waves without QRS (P {atrial_bpm:.0f}/min, QRS {rate_bpm:.0f}/min)",
            "P waves in time, now and then one without QRS and a longer cycle for it: second-degree AV block likely"
            " (Wenckebach or Mobitz)",
            "blocked atrial extrasystoles look alike",
        ),
        Words(
            "AV-Block II. Grades wahrscheinlich: P-Wellen ohne QRS (P {atrial_bpm:.0f}/min, QRS {rate_bpm:.0f}/min)",
            "P-Wellen im Takt, ab und zu eine ohne QRS und mit längerem Zyklus: AV-Block II. Grades wahrscheinlich"
            " (Wenckebach oder Mobitz)",
            "blockierte Vorhofextrasystolen sehen ähnlich aus",
        ),
        _BRADY,
        {
            "two_to_one": FlagText(
                Words(
                    "2:1 AV block likely: two P waves to a QRS (P {atrial_bpm:.0f}/min, QRS {rate_bpm:.0f}/min)",
                    "P waves of one shape, every second one at one distance before QRS, below 50/min: 2:1 AV block"
                    " likely",
                    "a U wave may look like P",
                ),
                Words(
                    "2:1-AV-Block wahrscheinlich: zwei P-Wellen je QRS (P {atrial_bpm:.0f}/min, QRS"
                    " {rate_bpm:.0f}/min)",
                    "P-Wellen gleicher Form, jede zweite in festem Abstand vor QRS, unter 50/min: 2:1-AV-Block"
                    " wahrscheinlich",
                    "eine U-Welle kann P ähneln",
                ),
                _BRADY,
            ),
        },
    ),
    FlagCode.PAUSE: FlagText(
        Words("Pause of {pause_ms:.0f} ms", "an RR interval of more than 3 s"),
        Words("Pause von {pause_ms:.0f} ms", "ein RR-Intervall über 3 s"),
        _BRADY,
    ),
    FlagCode.SLOW: FlagText(
        Words("Rate {rate_bpm:.0f}/min", "below 40/min"),
        Words("Frequenz {rate_bpm:.0f}/min", "unter 40/min"),
        _BRADY,
    ),
    FlagCode.FAST: FlagText(
        Words("Rate {rate_bpm:.0f}/min", "above 150/min"),
        Words("Frequenz {rate_bpm:.0f}/min", "über 150/min"),
        "Panchal 2020, AHA guidelines for CPR, tachycardia algorithm, Circulation 142:S366",
        {
            "even": FlagText(
                Words(
                    "Regular tachycardia with narrow QRS, {rate_bpm:.0f}/min: supraventricular tachycardia or 2:1"
                    " flutter likely",
                    "above 150/min, RR interval changes by less than 2.5 %, QRS below 120 ms",
                ),
                Words(
                    "Regelmäßige Tachykardie mit schmalem QRS, {rate_bpm:.0f}/min: supraventrikuläre Tachykardie oder"
                    " 2:1-Flattern wahrscheinlich",
                    "über 150/min, RR-Abstand ändert sich um weniger als 2,5 %, QRS unter 120 ms",
                ),
                _SVT,
            ),
            "uneven": FlagText(
                Words(
                    "Irregular tachycardia with narrow QRS, {rate_bpm:.0f}/min: atrial fibrillation likely",
                    "above 150/min, RR interval changes by 3 % and more, QRS below 120 ms",
                ),
                Words(
                    "Unregelmäßige Tachykardie mit schmalem QRS, {rate_bpm:.0f}/min: Vorhofflimmern wahrscheinlich",
                    "über 150/min, RR-Abstand ändert sich um 3 % und mehr, QRS unter 120 ms",
                ),
                _SVT,
            ),
            "run": FlagText(
                Words("Run of {beats:.0f} beats at {run_bpm:.0f}/min", "six beats or more in a row above 150/min"),
                Words(
                    "Salve von {beats:.0f} Schlägen mit {run_bpm:.0f}/min",
                    "sechs und mehr Schläge hintereinander über 150/min",
                ),
                "Panchal 2020, AHA guidelines for CPR, tachycardia algorithm, Circulation 142:S366",
            ),
        },
    ),
    FlagCode.LONG_QT: FlagText(
        Words(
            "QTc {qtc_ms:.0f} ms (Bazett; Fridericia {qtc_fridericia_ms:.0f} ms)",
            "above 500 ms: risk of torsade de pointes; Bazett overcorrects above 90/min",
            "in archived ECGs most often without a word on QT: check the end of T",
        ),
        Words(
            "QTc {qtc_ms:.0f} ms (Bazett; Fridericia {qtc_fridericia_ms:.0f} ms)",
            "über 500 ms: Gefahr von Torsade de pointes; Bazett überkorrigiert über 90/min",
            "in archivierten EKGs meist ohne ein Wort zur QT-Zeit: Ende von T prüfen",
        ),
        "Drew 2010, AHA/ACCF statement on torsade de pointes, Circulation 121:1047",
    ),
    FlagCode.PEAKED_T: FlagText(
        Words(
            "Very tall T waves in {leads}",
            "1.0 mV in two chest leads or 0.5 mV in two limb leads: hyperkalaemia, earliest infarction",
            "in archived ECGs often without either (young men, bradycardia)",
        ),
        Words(
            "Sehr hohe T-Wellen in {leads}",
            "1,0 mV in zwei Brustwand- oder 0,5 mV in zwei Extremitätenableitungen: Hyperkaliämie, frühester Infarkt",
            "in archivierten EKGs oft ohne beides (junge Männer, Bradykardie)",
        ),
        _AHA4,
    ),
    FlagCode.BRUGADA: FlagText(
        Words(
            "Coved ST elevation in {leads}: Brugada type 1 pattern",
            "J point of 0.2 mV descending into a negative T in V1 or V2",
            "in archived ECGs often without Brugada syndrome (infarction, right bundle branch block)",
        ),
        Words(
            "Gewölbte ST-Hebung in {leads}: Brugada-Typ-1-Muster",
            "J-Punkt von 0,2 mV, abfallend in ein negatives T in V1 oder V2",
            "in archivierten EKGs oft ohne Brugada-Syndrom (Infarkt, Rechtsschenkelblock)",
        ),
        _BRUGADA,
        {
            "infarction": FlagText(
                Words(
                    "Infarction rather than Brugada pattern in {leads}: ST is raised beyond V3 or depressed elsewhere",
                    "coved ST in V1 or V2 as in a Brugada type 1 pattern, which is confined to V1-V3 and has no mirror"
                    " image",
                    "in archived ECGs often neither (old infarction, right bundle branch block)",
                ),
                Words(
                    "Eher Infarkt als Brugada-Muster in {leads}: ST jenseits von V3 gehoben oder anderswo gesenkt",
                    "gewölbtes ST in V1 oder V2 wie beim Brugada-Typ-1-Muster, das auf V1-V3 beschränkt ist und kein"
                    " Spiegelbild hat",
                    "in archivierten EKGs oft keines von beiden (alter Infarkt, Rechtsschenkelblock)",
                ),
                _BRUGADA,
            ),
            "rather": FlagText(
                Words(
                    "Brugada type 1 pattern rather than infarction in {leads}: ST is raised in V1-V3 alone, nowhere"
                    " depressed",
                    "J point of 0.2 mV descending into a negative T in V1 or V2; a septal infarction cannot be"
                    " excluded by one ECG",
                    "in archived ECGs often without Brugada syndrome (infarction, right bundle branch block)",
                ),
                Words(
                    "Eher Brugada-Typ-1-Muster als Infarkt in {leads}: ST nur in V1-V3 gehoben, nirgends gesenkt",
                    "J-Punkt von 0,2 mV, abfallend in ein negatives T in V1 oder V2; ein septaler Infarkt ist mit einem"
                    " EKG nicht auszuschließen",
                    "in archivierten EKGs oft ohne Brugada-Syndrom (Infarkt, Rechtsschenkelblock)",
                ),
                _BRUGADA,
            ),
        },
    ),
    FlagCode.WELLENS: FlagText(
        Words(
            "Biphasic or deeply inverted T in {leads}",
            "in V2-V4 with R waves kept and ST not raised: may be a critical stenosis of the LAD (Wellens pattern)",
            "in archived ECGs often of other cause",
        ),
        Words(
            "Biphasisches oder tief negatives T in {leads}",
            "in V2-V4 bei erhaltenem R und ohne ST-Hebung: kann eine kritische LAD-Stenose sein (Wellens-Muster)",
            "in archivierten EKGs oft anderer Ursache",
        ),
        "de Zwaan 1982, Am Heart J 103:730",
    ),
    FlagCode.PREEXCITATION: FlagText(
        Words(
            "Pre-excitation pattern (PR {pr_ms:.0f} ms, QRS {qrs_ms:.0f} ms)",
            "PR below 120 ms (150 ms here, where a delta wave hides the onset of QRS) and a QRS that takes 36 ms or"
            " more to half of its speed (delta wave)",
        ),
        Words(
            "Präexzitationsmuster (PQ {pr_ms:.0f} ms, QRS {qrs_ms:.0f} ms)",
            "PQ unter 120 ms (hier 150 ms, weil die Deltawelle den QRS-Beginn verdeckt) und ein QRS, das 36 ms und mehr"
            " bis zur halben Geschwindigkeit braucht (Deltawelle)",
        ),
        _AHA3,
    ),
    FlagCode.FAST_FIBRILLATION: FlagText(
        Words(
            "Irregular rhythm without constant P waves at {rate_bpm:.0f}/min: atrial fibrillation with fast rate",
            "irregular RR intervals, no constant P wave, over 110/min",
        ),
        Words(
            "Arrhythmie ohne konstante P-Wellen mit {rate_bpm:.0f}/min: Vorhofflimmern mit schneller Überleitung",
            "unregelmäßige RR-Intervalle, keine konstante P-Welle, über 110/min",
        ),
        "Hindricks 2021, ESC guideline on atrial fibrillation, Eur Heart J 42:373",
    ),
    FlagCode.ST_DEPRESSION: FlagText(
        Words(
            "ST depression in {leads}",
            "0.05 mV or more 60 and 80 ms after the J point (horizontal or downsloping) in two contiguous leads",
            "in archived ECGs often without ischaemia (hypertrophy, digitalis, fast rate)",
        ),
        Words(
            "ST-Senkung in {leads}",
            "mindestens 0,05 mV 60 und 80 ms nach dem J-Punkt (horizontal oder deszendierend) in zwei benachbarten"
            " Ableitungen",
            "in archivierten EKGs oft ohne Ischämie (Hypertrophie, Digitalis, schnelle Frequenz)",
        ),
        _UDMI,
    ),
    FlagCode.T_INVERSION: FlagText(
        Words(
            "T inverted in {leads}",
            "0.1 mV or more in two contiguous leads with tall R: ischaemia, recent where it is new",
            "in archived ECGs often without ischaemia (hypertrophy, old changes)",
        ),
        Words(
            "T negativ in {leads}",
            "mindestens 0,1 mV in zwei benachbarten Ableitungen mit hohem R: Ischämie, frisch, wenn neu",
            "in archivierten EKGs oft ohne Ischämie (Hypertrophie, alte Veränderung)",
        ),
        _UDMI,
    ),
    FlagCode.FIBRILLATION: FlagText(
        Words(
            "Irregular rhythm without constant P waves ({rate_bpm:.0f}/min): atrial fibrillation likely",
            "irregular RR intervals and no constant P wave",
        ),
        Words(
            "Arrhythmie ohne konstante P-Wellen ({rate_bpm:.0f}/min): Vorhofflimmern wahrscheinlich",
            "unregelmäßige RR-Intervalle und keine konstante P-Welle",
        ),
        "Hindricks 2021, ESC guideline on atrial fibrillation, Eur Heart J 42:373",
    ),
    FlagCode.FLUTTER: FlagText(
        Words(
            "Regular atrial waves of about {atrial_bpm:.0f}/min: atrial flutter likely",
            "a train of waves of 200 to 370/min that keeps time",
        ),
        Words(
            "Regelmäßige Vorhofwellen von etwa {atrial_bpm:.0f}/min: Vorhofflattern wahrscheinlich",
            "Wellen von 200 bis 370/min in gleichem Takt",
        ),
        "Page 2015, ACC/AHA/HRS guideline on supraventricular tachycardia, Circulation 133:e506",
    ),
    FlagCode.WIDE_RHYTHM: FlagText(
        Words(
            "Wide QRS rhythm ({rate_bpm:.0f}/min, QRS {qrs_ms:.0f} ms): ventricular pacing or ventricular escape cannot"
            " be excluded",
            "regular QRS of 130 ms or more of neither bundle branch form, no P wave before it, no spikes seen; ST, T"
            " and Q say nothing of infarction here",
        ),
        Words(
            "Rhythmus mit breitem QRS ({rate_bpm:.0f}/min, QRS {qrs_ms:.0f} ms): Kammerstimulation oder"
            " Kammerersatzrhythmus nicht auszuschließen",
            "regelmäßiges QRS ab 130 ms von keiner Schenkelblockform, keine P-Welle davor, keine Impulse sichtbar; ST,"
            " T und Q sagen hier nichts über einen Infarkt",
        ),
        _AHA3,
        {
            "with_p": FlagText(
                Words(
                    "Wide QRS of neither bundle branch form (QRS {qrs_ms:.0f} ms): pacing that follows the atria cannot"
                    " be excluded",
                    "regular QRS of 150 ms or more after P waves, no spikes seen; ST, T and Q say little of infarction"
                    " here",
                    "delayed conduction is likelier where no pacemaker is known",
                ),
                Words(
                    "Breites QRS von keiner Schenkelblockform (QRS {qrs_ms:.0f} ms): vorhofgesteuerte Kammerstimulation"
                    " nicht auszuschließen",
                    "regelmäßiges QRS ab 150 ms nach P-Wellen, keine Impulse sichtbar; ST, T und Q sagen hier wenig"
                    " über einen Infarkt",
                    "ohne bekannten Schrittmacher ist eine Leitungsstörung wahrscheinlicher",
                ),
                _AHA3,
            ),
        },
    ),
    FlagCode.PACED: FlagText(
        Words("Paced rhythm", "pacemaker spikes in time with the beats"),
        Words("Schrittmacherrhythmus", "Schrittmacherimpulse im Takt der Herzschläge"),
        "this project's measurement",
        {
            "shape": FlagText(
                Words(
                    "Paced rhythm likely ({rate_bpm:.0f}/min, QRS {qrs_ms:.0f} ms), spikes not visible",
                    "QRS of 160 ms or more as regular as a clock, no P wave before it, axis beyond 60 degrees",
                    "an escape rhythm of the ventricles looks alike",
                ),
                Words(
                    "Schrittmacherrhythmus wahrscheinlich ({rate_bpm:.0f}/min, QRS {qrs_ms:.0f} ms), Impulse nicht"
                    " sichtbar",
                    "QRS ab 160 ms in festem Takt, keine P-Welle davor, Achse jenseits von 60 Grad",
                    "ein Kammerersatzrhythmus sieht ähnlich aus",
                ),
                "this project, PTB-XL folds 8 and 9",
            ),
        },
    ),
    FlagCode.LEFT_BUNDLE: FlagText(
        Words(
            "Left bundle branch block pattern (QRS {qrs_ms:.0f} ms)",
            "QRS of 120 ms or more, negative in V1, R without Q in V6 or I",
        ),
        Words(
            "Linksschenkelblockbild (QRS {qrs_ms:.0f} ms)",
            "QRS ab 120 ms, negativ in V1, R ohne Q in V6 oder I",
        ),
        _AHA3,
    ),
    FlagCode.RIGHT_BUNDLE: FlagText(
        Words(
            "Right bundle branch block pattern (QRS {qrs_ms:.0f} ms)",
            "QRS of 120 ms or more, ending positive in V1, S in I or V6",
        ),
        Words(
            "Rechtsschenkelblockbild (QRS {qrs_ms:.0f} ms)",
            "QRS ab 120 ms, positiv endend in V1, S in I oder V6",
        ),
        _AHA3,
    ),
    FlagCode.Q_WAVES: FlagText(
        Words(
            "Q waves in {leads}",
            "30 ms and 0.1 mV in two contiguous leads (V2-V3: 20 ms or QS): infarction of any age",
            "in archived ECGs often without infarction",
        ),
        Words(
            "Q-Zacken in {leads}",
            "30 ms und 0,1 mV in zwei benachbarten Ableitungen (V2-V3: 20 ms oder QS): Infarkt beliebigen Alters",
            "in archivierten EKGs oft ohne Infarkt",
        ),
        _UDMI,
    ),
    FlagCode.REVERSAL: FlagText(
        Words(
            "Limb leads may be exchanged (lead {leads})",
            "P and QRS upside down in I, or P, QRS and T in II, but upright in V6; or II flat and III the mirror of I",
        ),
        Words(
            "Extremitätenableitungen möglicherweise vertauscht (Ableitung {leads})",
            "P und QRS in I umgekehrt, oder P, QRS und T in II, in V6 aber aufrecht; oder II flach und III das"
            " Spiegelbild von I",
        ),
        "Kligfield 2007, AHA/ACC/HRS recommendations part I, Circulation 115:1306",
    ),
}  # fmt: skip

SEVERITY_TEXTS: Mapping[Severity, Mapping[Language, str]] = {
    Severity.URGENT: {"en": "urgent", "de": "dringend"},
    Severity.IMPORTANT: {"en": "important", "de": "wichtig"},
    Severity.NOTE: {"en": "note", "de": "Hinweis"},
}


def flag_title(flag: Flag, language: Language = "en") -> str:
    """What is flagged, with the leads and values that show it.

    Args:
        flag: What was found.
        language: "en" or "de".

    Returns:
        A few words.
    """
    return _words(flag, language).title.format(leads=_leads(flag), **flag.measured)


def flag_text(flag: Flag, language: Language = "en") -> str:
    """Title, criterion, measured values, caveat and source in one sentence each.

    Args:
        flag: What was found.
        language: "en" or "de".

    Returns:
        Sentences.
    """
    words = _words(flag, language)
    by_lead = ", ".join(
        f"{name} {value:.0f} ms" if flag.code is FlagCode.Q_WAVES else f"{name} {value:+.2f} mV"
        for name, value in flag.measured.items()
        if name in flag.leads
    )
    parts = [flag_title(flag, language) + (f" ({by_lead})" if by_lead else ""), words.criterion]
    if words.caveat:
        parts.append(words.caveat)
    head = ". ".join(part[0].upper() + part[1:] for part in parts)
    return f"{head}. [{flag_source(flag)}]"


def flag_source(flag: Flag) -> str:
    """Where the criterion comes from that the flag met."""
    return _text(flag).source


def _text(flag: Flag) -> FlagText:
    text = FLAG_TEXTS[flag.code]
    return text.variants.get(flag.variant, text)


def _words(flag: Flag, language: Language) -> Words:
    text = _text(flag)
    return text.de if language == "de" else text.en


def _leads(flag: Flag) -> str:
    return ", ".join(flag.leads)
