"""The wording of the consensus draft, English and German: in the manner of reports, short and without verbs."""

from __future__ import annotations

from collections.abc import Mapping

from ecgkin.generation.types.draft import Language
from ecgkin.retrieval.ecg.statements.find import Polarity
from ecgkin.retrieval.ecg.statements.infarction import Stage

TITLES: Mapping[Language, Mapping[str, str]] = {
    "en": {
        "rhythm": "Rhythm",
        "axis_intervals": "Axis and intervals",
        "conduction": "Conduction",
        "hypertrophy": "Hypertrophy and voltage",
        "st_t": "ST-T",
        "infarction": "Infarction",
        "conclusion": "Conclusion",
    },
    "de": {
        "rhythm": "Rhythmus",
        "axis_intervals": "Lagetyp und Zeiten",
        "conduction": "Erregungsleitung",
        "hypertrophy": "Hypertrophie und Amplituden",
        "st_t": "ST-T",
        "infarction": "Infarkt",
        "conclusion": "Beurteilung",
    },
}

# One wording for each statement, without capital at the start of English ones; `find_statements` reads each back as
# its own code and no other (a test holds it).
_EN: Mapping[str, str] = {
    "NDT": "non-diagnostic T wave abnormality",
    "NST_": "non-specific ST changes",
    "DIG": "ST-T changes of digitalis effect",
    "LNGQT": "long QT interval",
    "NORM": "normal ECG",
    "IMI": "inferior myocardial infarction",
    "ASMI": "anteroseptal myocardial infarction",
    "LVH": "left ventricular hypertrophy",
    "LAFB": "left anterior fascicular block",
    "ISC_": "non-specific ischemic changes",
    "IRBBB": "incomplete right bundle branch block",
    "1AVB": "first degree AV block",
    "IVCD": "non-specific intraventricular conduction delay",
    "ISCAL": "ischemic changes in anterolateral leads",
    "CRBBB": "complete right bundle branch block",
    "CLBBB": "complete left bundle branch block",
    "ILMI": "inferolateral myocardial infarction",
    "LAO/LAE": "left atrial enlargement",
    "AMI": "anterior myocardial infarction",
    "ALMI": "anterolateral myocardial infarction",
    "ISCIN": "ischemic changes in inferior leads",
    "INJAS": "subendocardial injury in anteroseptal leads",
    "LMI": "lateral myocardial infarction",
    "ISCIL": "ischemic changes in inferolateral leads",
    "LPFB": "left posterior fascicular block",
    "ISCAS": "ischemic changes in anteroseptal leads",
    "INJAL": "subendocardial injury in anterolateral leads",
    "ISCLA": "ischemic changes in lateral leads",
    "RVH": "right ventricular hypertrophy",
    "ANEUR": "ST-T changes compatible with ventricular aneurysm",
    "RAO/RAE": "right atrial enlargement",
    "EL": "ST-T changes of electrolyte disturbance or drug effect",
    "WPW": "Wolff-Parkinson-White pattern",
    "ILBBB": "incomplete left bundle branch block",
    "IPLMI": "inferoposterolateral myocardial infarction",
    "ISCAN": "ischemic changes in anterior leads",
    "IPMI": "inferoposterior myocardial infarction",
    "SEHYP": "septal hypertrophy",
    "INJIN": "subendocardial injury in inferior leads",
    "INJLA": "subendocardial injury in lateral leads",
    "PMI": "posterior myocardial infarction",
    "3AVB": "third degree AV block",
    "INJIL": "subendocardial injury in inferolateral leads",
    "2AVB": "second degree AV block",
    "ABQRS": "abnormal QRS complexes",
    "PVC": "ventricular premature complexes",
    "STD_": "ST depression",
    "VCLVH": "voltage criteria for left ventricular hypertrophy",
    "QWAVE": "pathological Q waves",
    "LOWT": "low amplitude T waves",
    "NT_": "non-specific T wave changes",
    "PAC": "atrial premature complexes",
    "LPR": "prolonged PR interval",
    "INVT": "inverted T waves",
    "LVOLT": "low QRS voltage",
    "HVOLT": "high QRS voltage",
    "TAB_": "T wave abnormality",
    "STE_": "ST elevation",
    "PRC(S)": "premature complexes of unclear origin",
    "SR": "sinus rhythm",
    "AFIB": "atrial fibrillation",
    "STACH": "sinus tachycardia",
    "SARRH": "sinus arrhythmia",
    "SBRAD": "sinus bradycardia",
    "PACE": "pacemaker rhythm",
    "SVARR": "supraventricular arrhythmia",
    "BIGU": "bigeminal pattern",
    "AFLT": "atrial flutter",
    "SVTAC": "supraventricular tachycardia",
    "PSVT": "paroxysmal supraventricular tachycardia",
    "TRIGU": "trigeminal pattern",
}
_DE: Mapping[str, str] = {
    "NDT": "unspezifisch abnormes T",
    "NST_": "unspezifische ST-Veränderungen",
    "DIG": "Digitaliswirkung",
    "LNGQT": "verlängertes QT-Intervall",
    "NORM": "normales EKG",
    "IMI": "inferiorer Myokardinfarkt",
    "ASMI": "anteroseptaler Myokardinfarkt",
    "LVH": "linksventrikuläre Hypertrophie",
    "LAFB": "linksanteriorer Hemiblock",
    "ISC_": "unspezifische Ischämiezeichen",
    "IRBBB": "inkompletter Rechtsschenkelblock",
    "1AVB": "AV-Block I. Grades",
    "IVCD": "unspezifische intraventrikuläre Leitungsstörung",
    "ISCAL": "Ischämiezeichen anterolateral",
    "CRBBB": "kompletter Rechtsschenkelblock",
    "CLBBB": "kompletter Linksschenkelblock",
    "ILMI": "inferolateraler Myokardinfarkt",
    "LAO/LAE": "linksatriale Vergrößerung",
    "AMI": "anteriorer Myokardinfarkt",
    "ALMI": "anterolateraler Myokardinfarkt",
    "ISCIN": "Ischämiezeichen inferior",
    "INJAS": "subendokardiale Schädigung anteroseptal",
    "LMI": "lateraler Myokardinfarkt",
    "ISCIL": "Ischämiezeichen inferolateral",
    "LPFB": "linksposteriorer Hemiblock",
    "ISCAS": "Ischämiezeichen anteroseptal",
    "INJAL": "subendokardiale Schädigung anterolateral",
    "ISCLA": "Ischämiezeichen lateral",
    "RVH": "rechtsventrikuläre Hypertrophie",
    "ANEUR": "ST-T-Veränderungen wie bei Ventrikelaneurysma",
    "RAO/RAE": "rechtsatriale Vergrößerung",
    "EL": "Elektrolytstörung oder Medikamenteneffekt",
    "WPW": "WPW-Syndrom",
    "ILBBB": "inkompletter Linksschenkelblock",
    "IPLMI": "inferoposterolateraler Myokardinfarkt",
    "ISCAN": "Ischämiezeichen anterior",
    "IPMI": "inferoposteriorer Myokardinfarkt",
    "SEHYP": "Septumhypertrophie",
    "INJIN": "subendokardiale Schädigung inferior",
    "INJLA": "subendokardiale Schädigung lateral",
    "PMI": "posteriorer Myokardinfarkt",
    "3AVB": "AV-Block III. Grades",
    "INJIL": "subendokardiale Schädigung inferolateral",
    "2AVB": "AV-Block II. Grades",
    "ABQRS": "abnorme QRS-Komplexe",
    "PVC": "ventrikuläre Extrasystolen",
    "STD_": "ST-Senkung",
    "VCLVH": "Amplitudenkriterien für Linkshypertrophie",
    "QWAVE": "pathologische Q-Zacken",
    "LOWT": "niedrige T-Wellen",
    "NT_": "unspezifische T-Wellen-Veränderungen",
    "PAC": "supraventrikuläre Extrasystolen",
    "LPR": "verlängertes PQ-Intervall",
    "INVT": "T-Negativierung",
    "LVOLT": "Niederspannung",
    "HVOLT": "hohe QRS-Amplitude",
    "TAB_": "T-Wellen-Abnormität",
    "STE_": "ST-Hebung",
    "PRC(S)": "Extrasystolen unklaren Ursprungs",
    "SR": "Sinusrhythmus",
    "AFIB": "Vorhofflimmern",
    "STACH": "Sinustachykardie",
    "SARRH": "Sinusarrhythmie",
    "SBRAD": "Sinusbradykardie",
    "PACE": "Schrittmacherrhythmus",
    "SVARR": "supraventrikuläre Arrhythmie",
    "BIGU": "Bigeminus",
    "AFLT": "Vorhofflattern",
    "SVTAC": "supraventrikuläre Tachykardie",
    "PSVT": "paroxysmale supraventrikuläre Tachykardie",
    "TRIGU": "Trigeminus",
}
FINDINGS: Mapping[Language, Mapping[str, str]] = {"en": _EN, "de": _DE}

# From which probability on a finding is stated plainly, as probable, as possible; below that it cannot be excluded.
PLAIN_FROM, PROBABLE_FROM, POSSIBLE_FROM = 0.7, 0.6, 0.15
_HEDGES: Mapping[Language, tuple[str, str, str]] = {
    "en": ("probable {}", "possible {}", "cannot exclude {}"),
    "de": ("wahrscheinlich {}", "möglicherweise {}", "{} nicht auszuschließen"),
}

# Before the name of an infarction; German ones are all masculine.
_STAGES: Mapping[Language, Mapping[str, str]] = {
    "en": {"recent": "acute or recent", "old": "old"},
    "de": {"recent": "akuter oder frischer", "old": "alter"},
}
# Behind it what shows that it is fresh; alone where no wall is named.
SHOWN_BY: Mapping[Language, Mapping[str, str]] = {
    "en": {
        "raised": "ST raised by up to {most} mV in {leads}",
        "mirror": "ST lowered by up to {most} mV in {leads} as its mirror image",
    },
    "de": {
        "raised": "ST um bis zu {most} mV angehoben in {leads}",
        "mirror": "ST bis {most} mV unter der Nulllinie in {leads} als Spiegelbild",
    },
}
ACUTE: Mapping[Language, str] = {
    "en": "possible acute or recent infarction{wall} ({shown})",
    "de": "möglicherweise akuter oder frischer Infarkt{wall} ({shown})",
}
MAY_BE_ACUTE: Mapping[Language, str] = {
    "en": "possible acute or recent infarction{wall}",
    "de": "möglicherweise akuter oder frischer Infarkt{wall}",
}
# Where ST is raised. The words are none of a statement: no case is cited for them.
WALLS: Mapping[Language, Mapping[str, str]] = {
    "en": {
        "inferior": " of the inferior wall",
        "anterior": " of the anterior wall",
        "lateral": " of the lateral wall",
        "inferior+anterior": " of the inferior and anterior walls",
        "inferior+lateral": " of the inferior and lateral walls",
        "anterior+lateral": " of the anterior and lateral walls",
        "inferior+anterior+lateral": " of the inferior, anterior and lateral walls",
    },
    "de": {
        "inferior": " der unteren Wand",
        "anterior": " der vorderen Wand",
        "lateral": " der seitlichen Wand",
        "inferior+anterior": " der unteren und vorderen Wand",
        "inferior+lateral": " der unteren und seitlichen Wand",
        "anterior+lateral": " der vorderen und seitlichen Wand",
        "inferior+anterior+lateral": " der unteren, vorderen und seitlichen Wand",
    },
}
# What was measured that no flag names.
UNUSUAL: Mapping[Language, Mapping[str, str]] = {
    "en": {"qrs": "QRS {value} ms", "pr": "PR {value} ms", "t": "T down in {value}", "qtc": "QTc {value} ms"},
    "de": {"qrs": "QRS {value} ms", "pr": "PQ {value} ms", "t": "T abwärts in {value}", "qtc": "QTc {value} ms"},
}

ABSENT: Mapping[Language, Mapping[str, str]] = {
    "en": {
        "conduction": "No conduction disturbance.",
        "hypertrophy": "No sign of hypertrophy.",
        "st_t": "No ST-T abnormality.",
        "infarction": "No sign of infarction.",
    },
    "de": {
        "conduction": "Keine Erregungsleitungsstörung.",
        "hypertrophy": "Kein Hinweis auf Hypertrophie.",
        "st_t": "Keine ST-T-Veränderungen.",
        "infarction": "Kein Anhalt für Infarkt.",
    },
}
WORDS: Mapping[Language, Mapping[str, str]] = {
    "en": {
        "differential": "differential diagnosis",
        "rate": "rate {rate}/min",
        "ventricular_rate": "ventricular rate {rate}/min",
        "abnormal": "abnormal ECG ({percent} %): {findings}",
        "maybe_abnormal": "probably abnormal ECG ({percent} %): {findings}",
        "borderline": "borderline ECG (abnormal with {percent} %): {findings}",
        "long": "long",
        "rather_long": "borderline",
        "wide": "wide",
        "otherwise": "otherwise normal ECG.",
        "open": "not settled by the similar cases (any finding: {percent} %)",
        "few": "too few similar cases ({n})",
        "veiled": "not to be judged: the usual criteria do not hold where the ventricles are excited another way",
        "maybe_veiled": "left open: another way of excitation is not excluded, and the usual criteria would not hold",
        "flagged": "left open ({shown})",
        "flagged_alone": "left open by what was measured",
        "not_denied": "not ruled out: what was measured does not exclude it, and cases without it are no evidence",
        "interval_pr": "PR",
        "no_samples": "not measured: no signals could be read off the page",
        "not_measured": "not measured ({reason})",
        "nothing_similar": "No draft: the case base holds nothing similar enough to this ECG to base one on.",
        "unreadable": "No draft: this page could not be read well enough; take it again, or put right the misread.",
        "no_ecg": "No draft: these samples are no ECG of these leads; look at patient, electrodes and file.",
        "wrong_rate": "No draft: the intervals fit another sampling rate than the stated one; check it and ask again.",
        "measured_only": "Measured on this ECG alone",
        "no": "no evidence of {finding}",
        "agree": "similar cases and reading agree",
        "only_cases": "by the similar cases, unlike the reading of this ECG",
        "only_reading": "by the reading of this ECG, unlike most similar cases",
        "again_cases": "by the cases alone",
        "again_reading": "by the reading alone",
        "in_leads": "in {leads}",
    },
    "de": {
        "differential": "differenzialdiagnostisch",
        "rate": "Frequenz {rate}/min",
        "ventricular_rate": "Kammerfrequenz {rate}/min",
        "abnormal": "pathologisches EKG ({percent} %): {findings}",
        "maybe_abnormal": "wahrscheinlich pathologisches EKG ({percent} %): {findings}",
        "borderline": "grenzwertiges EKG (zu {percent} % pathologisch): {findings}",
        "long": "verlängert",
        "rather_long": "grenzwertig",
        "wide": "verbreitert",
        "otherwise": "sonst normales EKG.",
        "open": "aus den ähnlichen Fällen nicht zu beurteilen (irgendein Befund: {percent} %)",
        "few": "zu wenige ähnliche Fälle ({n})",
        "veiled": "nicht zu beurteilen: bei anderem Erregungsweg der Kammern gelten die üblichen Kriterien nicht",
        "maybe_veiled": "offen: ein anderer Erregungsweg ist nicht ausgeschlossen, übliche Kriterien gälten dann nicht",
        "flagged": "offen ({shown})",
        "flagged_alone": "nach den Messwerten offen",
        "not_denied": "nicht ausgeschlossen: Messwerte sprechen nicht dagegen, Fälle ohne den Befund sind kein Beleg",
        "interval_pr": "PQ",
        "no_samples": "nicht gemessen: von der Seite waren keine Signale zu lesen",
        "not_measured": "nicht gemessen ({reason})",
        "nothing_similar": "Kein Entwurf: die Fallsammlung enthält nichts, was diesem EKG ähnlich genug wäre.",
        "unreadable": "Kein Entwurf: diese Seite war nicht gut genug zu lesen; neu aufnehmen oder berichtigen.",
        "no_ecg": "Kein Entwurf: diese Werte sind kein EKG dieser Ableitungen; Patient, Elektroden, Datei ansehen.",
        "wrong_rate": "Kein Entwurf: die Intervalle passen zu einer anderen Abtastrate; diese prüfen, neu anfragen.",
        "measured_only": "Allein an diesem EKG gemessen",
        "no": "{finding} nicht nachweisbar",
        "agree": "ähnliche Fälle und Auswertung stimmen überein",
        "only_cases": "nach den ähnlichen Fällen, anders als die Auswertung dieses EKG",
        "only_reading": "nach der Auswertung dieses EKG, anders als die meisten ähnlichen Fälle",
        "again_cases": "nur nach den Fällen",
        "again_reading": "nur nach der Auswertung",
        "in_leads": "in {leads}",
    },
}


def capital(text: str) -> str:
    """The text with a capital first letter, the rest as it is.

    >>> capital("ST depression"), capital("sinus rhythm"), capital("AV-Block I. Grades")
    ('ST depression', 'Sinus rhythm', 'AV-Block I. Grades')
    """
    return text[:1].upper() + text[1:]


def finding(code: str, language: Language, probability: float = 1.0, stage: Stage = "") -> str:
    """A finding with the hedge that its probability asks for, without capital and full stop.

    Args:
        code: Of the statement.
        language: Of the words.
        probability: Of the finding.
        stage: Of an infarction.

    >>> finding("IMI", "en", 0.65), finding("IMI", "de", 0.3), finding("DIG", "en", 0.1), finding("AFIB", "de", 0.9)
    ('probable inferior myocardial infarction', 'möglicherweise inferiorer Myokardinfarkt', \
'cannot exclude ST-T changes of digitalis effect', 'Vorhofflimmern')
    """
    name = FINDINGS[language][code]
    if stage:
        name = f"{_STAGES[language]['old' if stage == 'old' else 'recent']} {name}"
    if probability >= PLAIN_FROM:
        return name
    return _HEDGES[language][(probability < PROBABLE_FROM) + (probability < POSSIBLE_FROM)].format(name)


def alternative(code: str, language: Language, probability: float = 0.3, *, differential: bool = True) -> str:
    """A finding that comes into question beside the one stated; never firmer than possible.

    >>> alternative("AFLT", "en"), alternative("SARRH", "de", differential=False)
    ('differential diagnosis: possible atrial flutter', 'möglicherweise Sinusarrhythmie')
    """
    hedged = finding(code, language, min(probability, PROBABLE_FROM - 0.01))
    return f"{WORDS[language]['differential']}: {hedged}" if differential and probability >= POSSIBLE_FROM else hedged


def polarity(probability: float) -> Polarity:
    """How `finding` speaks of a probability: "present", or "possible" where it hedges."""
    return "present" if probability >= PLAIN_FROM else "possible"
