"""Every word that the page shows, in English and German; `words` picks the language."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

Lang = Literal["en", "de"]
LANGS: tuple[Lang, ...] = ("en", "de")
Words: TypeAlias = Callable[..., str]

TEXTS: dict[str, tuple[str, str]] = {
    "title": ("Similar ECGs", "Ähnliche EKGs"),
    "notice": (
        "Supports and does not replace a clinician. For research and education, not for diagnosis.",
        "Unterstützt und ersetzt keine ärztliche Befundung. Für Forschung und Lehre, nicht zur Diagnose.",
    ),
    "simulated": (
        "The cases here are SIMULATED: made by ecgkin, no patient has had them.",
        "Die Fälle hier sind SIMULIERT: von ecgkin erzeugt, kein Patient hatte sie.",
    ),
    "base": ("{n} cases · encoder {encoder}", "{n} Fälle · Encoder {encoder}"),
    "by_ecg": ("By ECG", "Mit EKG"),
    "drop": ("or drop a page, a photo or a recording", "oder Ausdruck, Foto, Aufzeichnung ablegen"),
    "by_words": ("By words", "Mit Worten"),
    "upload": (
        "Drop a page, a photo or a recording here",
        "Ausdruck, Foto oder Aufzeichnung hier ablegen",
    ),
    "example": ("or an ECG of the demo", "oder ein EKG der Demo"),
    "gallery": ("ECGs of the demo, not among the cases", "EKGs der Demo, nicht unter den Fällen"),
    "as_page": ("page", "Ausdruck"),
    "as_record": ("recording", "Aufzeichnung"),
    "words_label": (
        "Finding, abbreviation or a whole report",
        "Befund, Abkürzung oder ein ganzer Befundtext",
    ),
    "words_example": ("e.g. left bundle branch block", "z. B. Linksschenkelblock"),
    "search": ("Search", "Suchen"),
    "filters": ("Filters", "Filter"),
    "filters_on": ("Filters ({n})", "Filter ({n})"),
    "age": ("Age, years", "Alter, Jahre"),
    "sex": ("Sex", "Geschlecht"),
    "female": ("female", "weiblich"),
    "male": ("male", "männlich"),
    "statement": ("Cases must carry", "Fälle müssen tragen"),
    "source": ("Source", "Quelle"),
    "how_many": ("Neighbours", "Nachbarn"),
    "drafter": ("Drafter", "Entwurf durch"),
    "retrieval": ("Show it the neighbours", "Nachbarn zeigen"),
    "retrieval_help": (
        "Off: the drafter writes from the ECG alone.",
        "Aus: der Entwurf entsteht aus dem EKG allein.",
    ),
    "drafters": ("Compare drafters", "Entwürfe vergleichen"),
    "one_drafter": (
        "Only the consensus of the neighbours writes drafts here. Others (PULSE, a model behind an endpoint) are set "
        "up with the server's setting api_drafters; each can then be compared with and without the neighbours.",
        "Hier schreibt nur der Konsens der Nachbarn. Weitere (PULSE, ein Modell hinter einem Endpunkt) richtet die "
        "Einstellung api_drafters des Servers ein; jedes lässt sich dann mit und ohne Nachbarn vergleichen.",
    ),
    "with_cases": ("with neighbours", "mit Nachbarn"),
    "without_cases": ("without neighbours", "ohne Nachbarn"),
    "write_them": ("Write these drafts", "Diese Entwürfe schreiben"),
    "wrote": ("written in {s} s", "geschrieben in {s} s"),
    "statement_said": ("Statement", "Aussage"),
    "vote_short": ("Vote", "Votum"),
    "not_said": ("not mentioned", "nicht erwähnt"),
    "none_said": ("No draft makes a statement that can be compared.", "Kein Entwurf macht eine vergleichbare Aussage."),
    "is_present": ("present", "vorhanden"),
    "is_possible": ("possible", "möglich"),
    "is_absent": ("absent", "nicht vorhanden"),
    "fs_hz": ("Samples a second, where the table does not say", "Abtastrate in Hz, falls die Tabelle sie nicht nennt"),
    "rate_hint": (
        "Fill in the samples a second above, or give the table a column of seconds.",
        "Oben die Abtastrate eintragen, oder der Tabelle eine Spalte mit Sekunden geben.",
    ),
    "ecg": ("ECG", "EKG"),
    "choose_file": ("Upload", "Hochladen"),
    "years": ("{n} years", "{n} Jahre"),
    "start": (
        "Drop an ECG above (a page, a photo, a recording) or search by words. The most similar recorded cases come "
        "with their reports, and a draft that cites them.",
        "EKG oben ablegen (Ausdruck, Foto, Aufzeichnung) oder mit Worten suchen. Die ähnlichsten aufgezeichneten Fälle "
        "kommen mit ihren Befunden, dazu ein Entwurf, der sie zitiert.",
    ),
    "query": ("Query", "Anfrage"),
    "understood": ("What was understood", "Was erkannt wurde"),
    "kind_image": ("Read from a picture", "Aus einem Bild gelesen"),
    "kind_record": ("Recording", "Aufzeichnung"),
    "kind_text": ("Words", "Worte"),
    "kind_refined": ("Refined by your marks", "Nach Ihren Markierungen verfeinert"),
    "layout": ("Layout", "Anordnung"),
    "layout_other": ("not known", "nicht erkannt"),
    "rows": ("{n} rows", "{n} Zeilen"),
    "leads": ("Leads", "Ableitungen"),
    "leads_unknown": ("names not read", "Namen nicht gelesen"),
    "scale": ("Scale", "Maßstab"),
    "scale_unknown": ("no grid found: calipers cannot say ms and mV", "kein Raster erkannt: Zirkel ohne ms und mV"),
    "turned": ("turned by {n}°", "um {n}° gedreht"),
    "quality": ("Quality", "Qualität"),
    "quality_good": ("good", "gut"),
    "quality_fair": ("fair", "mäßig"),
    "quality_poor": ("poor", "schlecht"),
    "rate_hz": ("{fs} Hz, {s} s", "{fs} Hz, {s} s"),
    "sampled": ("Sampled", "Abtastung"),
    "paper": ("{speed} mm/s, {gain} mm/mV", "{speed} mm/s, {gain} mm/mV"),
    "paper_assumed": ("{speed} mm/s, {gain} mm/mV (assumed)", "{speed} mm/s, {gain} mm/mV (angenommen)"),
    "took": ("Found", "Gefunden"),
    "seconds": ("in {s} s", "in {s} s"),
    "neighbours": ("Nearest cases", "Nächste Fälle"),
    "neighbours_far": ("Nearest cases, none of them similar", "Nächste Fälle, keiner davon ähnlich"),
    "no_hits": ("No case passes the filters.", "Kein Fall passt zu den Filtern."),
    "nothing_similar": (
        "Nothing similar was found. The best case reaches {best}, below the threshold of {threshold}: "
        "the cases below are the nearest there are, not similar ones.",
        "Es wurde nichts Ähnliches gefunden. Der beste Fall erreicht {best}, unter der Schwelle von {threshold}: "
        "Die Fälle unten sind die nächsten, aber keine ähnlichen.",
    ),
    "not_carried": (
        "{why}. The cases below come nearest to your words.",
        "{why}. Die Fälle unten kommen Ihren Worten am nächsten.",
    ),
    "none_carries": ("No case carries what you asked for", "Kein Fall trägt, wonach Sie gefragt haben"),
    "not_understood": (
        "Too little of these words is about ECGs: the cases below are not an answer to them.",
        "Zu wenige dieser Wörter handeln von EKGs: die Fälle unten sind keine Antwort darauf.",
    ),
    "words_understood": ("Understood:", "Verstanden:"),
    "take_away": ("Take away: {part}", "Wegnehmen: {part}"),
    "turn_round": ("Ask for it, or leave such cases out", "Danach fragen, oder solche Fälle auslassen"),
    "as_typed": ("As typed", "Wie getippt"),
    "part_spelling": ("{text}: read as {read}", "{text}: gelesen als {read}"),
    "part_unknown": ("{text}: not known", "{text}: unbekannt"),
    "part_unused": ("{text}: not used", "{text}: nicht verwendet"),
    "no_ecg": (
        "These samples show no ECG of these leads: no heartbeats, or one curve in all leads. Look at the patient, the "
        "electrodes and the file. The cases below are not an answer.",
        "Diese Werte zeigen kein EKG dieser Ableitungen: keine Herzschläge, oder eine Kurve in allen Ableitungen. "
        "Patient, Elektroden und Datei ansehen. Die Fälle unten sind keine Antwort.",
    ),
    "unreadable": (
        "This page cannot be read well enough to compare it. Photograph it again, flat, in focus and filling the "
        "picture; or put right below the picture what was misread. The cases are the nearest to what was seen.",
        "Diese Seite ist für einen Vergleich nicht gut genug lesbar. Noch einmal aufnehmen, flach, scharf und "
        "formatfüllend; oder unter dem Bild berichtigen, was falsch gelesen wurde. Die Fälle sind die nächsten zu dem, "
        "was zu sehen war.",
    ),
    "check_curves": ("Show what was read", "Gelesenes zeigen"),
    "check_help": (
        "Draws the curves that were followed over the picture, a colour a lead; doubtful parts are red.",
        "Zeichnet die verfolgten Kurven über das Bild, je Ableitung eine Farbe; zweifelhafte Stellen sind rot.",
    ),
    "put_right": ("Put right", "Berichtigen"),
    "as_read": ("As it was read", "Wie gelesen"),
    "as_it_is": ("not known", "nicht bekannt"),
    "read_again": ("Read again", "Neu lesen"),
    "fix_speed": ("Paper speed", "Papiervorschub"),
    "fix_gain": ("Gain", "Verstärkung"),
    "fix_swap": ("Leads that are swapped (two)", "Vertauschte Ableitungen (zwei)"),
    "fix_corners": ("Corners of what to read, px", "Ecken dessen, was gelesen wird, px"),
    "corners_help": (
        "x,y of top left, top right, bottom right, bottom left; empty: the whole picture. The numbers shown are those "
        "of the curves that were found.",
        "x,y von links oben, rechts oben, rechts unten, links unten; leer: das ganze Bild. Gezeigt sind die Zahlen der "
        "gefundenen Kurven.",
    ),
    "two_to_swap": ("Choose two leads to swap.", "Zwei Ableitungen zum Tauschen wählen."),
    "eight_numbers": ("Give eight numbers: x,y of four corners.", "Acht Zahlen angeben: x,y von vier Ecken."),
    "not_read_as_numbers": (
        "The curves could not be read as numbers: the picture alone was searched.",
        "Die Kurven ließen sich nicht als Messwerte lesen: nur das Bild wurde gesucht.",
    ),
    "least_sure": ("least sure: {lead} ({percent} %)", "am wenigsten sicher: {lead} ({percent} %)"),
    "law": ("limb leads agree to {db} dB", "Extremitätenableitungen stimmen auf {db} dB überein"),
    "law_unknown": ("limb leads cannot be checked", "Extremitätenableitungen nicht prüfbar"),
    "doubtful_red": ("doubtful parts are red", "zweifelhafte Stellen sind rot"),
    "digitised_case": ("read off a picture", "aus einem Bild gelesen"),
    "similarity": ("similarity", "Ähnlichkeit"),
    "shared": ("shared with the vote", "auch im Votum"),
    "report": ("Report", "Befund"),
    "more": ("more", "mehr"),
    "no_report": ("no report", "kein Befund"),
    "says_nothing": ("this report describes no finding", "dieser Bericht beschreibt keinen Befund"),
    "gloss": ("In English, word for word", "Deutsch, Wort für Wort"),
    "gloss_help": (
        "Made from a glossary to help reading; the original counts. Words in italics are not known.",
        "Aus einem Glossar, als Lesehilfe; es gilt das Original. Kursive Wörter sind nicht bekannt.",
    ),
    "support_cases": ("similar cases, not the reading", "ähnliche Fälle, nicht die Auswertung"),
    "support_reading": ("reading, few similar cases", "Auswertung, wenige ähnliche Fälle"),
    "support_both": ("similar cases and reading agree", "ähnliche Fälle und Auswertung stimmen überein"),
    "no_samples": (
        "no drawing: the case was stored without samples",
        "keine Zeichnung: der Fall liegt ohne Messwerte vor",
    ),
    "compare": ("Compare", "Vergleichen"),
    "like": ("similar", "ähnlich"),
    "unlike": ("not similar", "nicht ähnlich"),
    "again": ("Search again like these", "Noch einmal wie diese suchen"),
    "again_help": (
        "Moves the query towards cases marked as similar and away from the others.",
        "Rückt die Anfrage zu den als ähnlich markierten Fällen und von den anderen weg.",
    ),
    "marked": ("{yes} similar, {no} not", "{yes} ähnlich, {no} nicht"),
    "mark_first": ("Mark cases with the thumbs first.", "Zuerst Fälle mit den Daumen markieren."),
    "back": ("Back to the neighbours", "Zurück zu den Nachbarn"),
    "nth": ("{n} of {of}", "{n} von {of}"),
    "before": ("Nearer", "Näher"),
    "after": ("Farther", "Ferner"),
    "back_original": ("Back to the first search", "Zurück zur ersten Suche"),
    "side": ("Side by side", "Nebeneinander"),
    "overlay": ("Overlaid", "Übereinander"),
    "no_overlay": (
        "Leads can be overlaid where samples are at hand; the curves of this picture could not be read.",
        "Übereinander geht es nur mit Messwerten; die Kurven dieses Bildes ließen sich nicht lesen.",
    ),
    "draft": ("Draft", "Entwurf"),
    "drafting": ("Writing ...", "Schreibt ..."),
    "preliminary": ("preliminary", "vorläufig"),
    "draft_needs_ecg": ("A draft needs an ECG; this search was by words.", "Ein Entwurf braucht ein EKG."),
    "draft_of_first": (
        "The draft belongs to the first search, before it was refined.",
        "Der Entwurf gehört zur ersten Suche, vor der Verfeinerung.",
    ),
    "own_earlier": ("This person's earlier ECGs", "Frühere EKGs dieser Person"),
    "previous": ("Earlier ECG of this person", "Früheres EKG dieser Person"),
    "previous_help": (
        "Case id of an earlier ECG, or the patient id under which it was stored: what has changed is said, and the"
        " person's own ECGs do not vote.",
        "Fall-ID eines früheren EKGs oder die Patienten-ID, unter der es gespeichert ist: Änderungen werden benannt,"
        " und eigene EKGs der Person stimmen nicht mit ab.",
    ),
    "value": ("value", "Wert"),
    "before_then": ("before", "vorher"),
    "now": ("now", "jetzt"),
    "difference": ("change", "Änderung"),
    "values_of_both": ("Values of both", "Werte beider EKGs"),
    "report_flags": ("Measured by software, to be checked", "Von Software gemessen, zu prüfen"),
    "evidence": ("evidence", "Belege"),
    "basis_measurement": ("measured", "gemessen"),
    "basis_picture": ("from the picture", "aus dem Bild"),
    "basis_nothing": ("unsupported", "ohne Beleg"),
    "vote": ("Vote of {n} neighbours", "Votum von {n} Nachbarn"),
    "vote_calibrated": ("calibrated probability", "kalibrierte Wahrscheinlichkeit"),
    "vote_share": ("weighted share of the neighbours", "gewichteter Anteil der Nachbarn"),
    "classes": ("Superclasses", "Oberklassen"),
    "findings": ("Statements", "Aussagen"),
    "edit": ("Your report", "Ihr Befund"),
    "verdict": ("Sentence {n}: accept or reject", "Satz {n}: übernehmen oder verwerfen"),
    "accept": ("Accept", "Übernehmen"),
    "reject": ("Reject", "Verwerfen"),
    "accept_first": (
        "Nothing is in the report yet: accept sentences, change them, or write your own.",
        "Noch steht nichts im Befund: Sätze übernehmen, ändern oder selbst schreiben.",
    ),
    "reviewed": ("{n} of {of} sentences reviewed", "{n} von {of} Sätzen geprüft"),
    "add_statement": ("Add statements", "Aussagen hinzufügen"),
    "choose": ("choose", "auswählen"),
    "sentence": ("Sentence {n}", "Satz {n}"),
    "own": ("Your own words", "Eigene Worte"),
    "text_file": ("Text", "Text"),
    "pdf_file": ("PDF", "PDF"),
    "fhir_file": ("FHIR JSON", "FHIR-JSON"),
    "report_head": ("ECG report, preliminary", "EKG-Befund, vorläufig"),
    "report_cases": ("Similar cases that it stands on", "Ähnliche Fälle, auf denen er beruht"),
    "unreachable": ("The server does not answer.", "Der Server antwortet nicht."),
    "problem": ("That did not work.", "Das hat nicht geklappt."),
    "map": ("Map of the case base", "Karte der Fallsammlung"),
    "map_rank": ("neighbour (0: none)", "Nachbar (0: keiner)"),
    "map_help": (
        "Each point is a case, near where the encoder sees it alike; the star is the query, ringed cases are its "
        "neighbours. Click a point to open the case.",
        "Jeder Punkt ist ein Fall, nah beieinander, was der Encoder ähnlich sieht; der Stern ist die Anfrage, umrandet "
        "sind ihre Nachbarn. Ein Klick öffnet den Fall.",
    ),
    "map_share": ("The two axes carry {share} % of the differences.", "Die Achsen tragen {share} % der Unterschiede."),
    "map_query": ("query", "Anfrage"),
    "map_other": ("other", "andere"),
    "why": ("Why similar?", "Warum ähnlich?"),
    "why_help": (
        "Stretches of the query are flattened one by one: the stronger the colour, the more similarity goes with it.",
        "Abschnitte der Anfrage werden einzeln geglättet: je kräftiger die Farbe, desto mehr Ähnlichkeit geht mit.",
    ),
    "why_running": ("Flattening one stretch after the other ...", "Glättet einen Abschnitt nach dem anderen ..."),
    "why_top": ("Most of it: {parts}.", "Am meisten: {parts}."),
    "why_row": ("row {part}", "Zeile {part}"),
    "why_none": ("No stretch alone makes this case near.", "Kein Abschnitt allein macht diesen Fall ähnlich."),
    "retry": ("Try again", "Noch einmal versuchen"),
    "answer": ("Answer", "Antwort"),
    "m_rate": ("Rate", "Frequenz"),
    "m_pr": ("PR", "PQ"),
    "m_qrs": ("QRS", "QRS"),
    "m_qtc": ("QTc", "QTc"),
    "m_axis": ("Axis", "Achse"),
    "m_st": ("ST, mV", "ST, mV"),
    "unknown": ("unknown", "unbekannt"),
    "unknown_short": ("?", "?"),
    "from_picture": ("Read from the picture", "Aus dem Bild gelesen"),
    "from_recording": ("Measured on the recording", "An der Aufzeichnung gemessen"),
    "from_print": (
        "Read from the print, at {speed} mm/s and {gain} mm/mV",
        "Vom Ausdruck gelesen, bei {speed} mm/s und {gain} mm/mV",
    ),
    "from_print_assumed": (
        "Read from the print; {speed} mm/s and {gain} mm/mV are assumed, the print does not say",
        "Vom Ausdruck gelesen; {speed} mm/s und {gain} mm/mV sind angenommen, der Ausdruck nennt sie nicht",
    ),
    "from_nothing": ("Nothing could be measured on this recording", "An dieser Aufzeichnung war nichts messbar"),
    "from_nothing_page": (
        "No curves could be read from this print: values are unknown",
        "Von diesem Ausdruck ließen sich keine Kurven lesen: Werte unbekannt",
    ),
    "skip": ("To the nearest cases", "Zu den nächsten Fällen"),
    "camera": ("Take a photo", "Foto aufnehmen"),
    "crop": ("Crop the photo", "Foto zuschneiden"),
    "crop_hint": ("Drag the corners around the ECG.", "Ecken um das EKG ziehen."),
    "crop_corner": ("Corner", "Ecke"),
    "crop_use": ("Use this part", "Diesen Teil verwenden"),
    "crop_whole": ("Use the whole photo", "Ganzes Foto verwenden"),
    "crop_cancel": ("Cancel", "Abbrechen"),
    "which": ("{n} ECGs were dropped; this one is shown:", "{n} EKGs wurden abgelegt; gezeigt wird:"),
    "several": ("{n} ECGs dropped together", "{n} EKGs zusammen abgelegt"),
    "several_done": ("{n} of {of} looked at", "{n} von {of} angesehen"),
    "several_waits": ("waiting", "wartet"),
    "several_none": ("nothing similar", "nichts Ähnliches"),
    "no_longer_kept": (
        "This question is no longer kept here. Drop the ECG again.",
        "Diese Anfrage ist hier nicht mehr gespeichert. Bitte das EKG noch einmal ablegen.",
    ),
    "rate_missing": (
        "{file} does not say how many samples a second it holds. Which sampling rate does it have?",
        "{file} nennt seine Abtastrate nicht. Welche Abtastrate hat die Aufzeichnung?",
    ),
    "fs_other": ("another rate, Hz", "andere Rate, Hz"),
    "leave_out": ("Leave out this person's cases", "Fälle dieser Person auslassen"),
    "leave_out_help": (
        "Patient id: the person's own cases are neither found nor do they vote, as in a test that leaves patients out.",
        "Patienten-ID: eigene Fälle der Person werden weder gefunden noch stimmen sie ab, wie in einem Test, der "
        "Patienten auslässt.",
    ),
    "first_score": ("first {score}", "zuerst {score}"),
    "marked_like": ("marked similar", "als ähnlich markiert"),
    "marked_unlike": ("marked not similar", "als nicht ähnlich markiert"),
    "away": (
        "The server does not answer. {file} is kept and is asked again as soon as it does.",
        "Der Server antwortet nicht. {file} bleibt gespeichert und wird erneut angefragt, sobald er antwortet.",
    ),
    "looking": ("Looking again every {s} seconds.", "Neuer Versuch alle {s} Sekunden."),
    "sign_each": ("Sign off sentence by sentence.", "Satz für Satz abzeichnen."),
    "report_added": ("Added", "Ergänzt"),
    "signed_off": (
        "Signed off sentence by sentence: {n} of the draft accepted, {changed} changed, {rejected} rejected, "
        "{left} not decided and left out.",
        "Satz für Satz abgezeichnet: {n} des Entwurfs übernommen, {changed} geändert, {rejected} verworfen, "
        "{left} nicht entschieden und weggelassen.",
    ),
    "problem_malformed": ("The request could not be read.", "Die Anfrage war nicht lesbar."),
    "problem_unauthorized": ("The server asks for a valid token.", "Der Server verlangt ein gültiges Token."),
    "problem_forbidden": ("The server does not allow this.", "Der Server erlaubt das nicht."),
    "problem_not_found": ("The server does not have this.", "Das gibt es auf dem Server nicht."),
    "problem_slow_body": ("The upload took too long.", "Das Hochladen dauerte zu lange."),
    "problem_too_large": ("The file is too large for the server.", "Die Datei ist zu groß für den Server."),
    "problem_media_type": (
        "Files of this kind cannot be read here.",
        "Dateien dieser Art können hier nicht gelesen werden.",
    ),
    "problem_input": (
        "This file cannot be used. Send a page, a photo or a recording of an ECG.",
        "Diese Datei ist nicht verwendbar. Bitte Ausdruck, Foto oder Aufzeichnung eines EKGs senden.",
    ),
    "problem_record": (
        "This recording cannot be used: it is damaged, incomplete, or no ECG.",
        "Diese Aufzeichnung ist nicht verwendbar: beschädigt, unvollständig, oder kein EKG.",
    ),
    "problem_image": (
        "This picture cannot be used: it is damaged, too small, or shows no ECG.",
        "Dieses Bild ist nicht verwendbar: beschädigt, zu klein, oder kein EKG darauf.",
    ),
    "problem_query": (
        "This question cannot be used as it stands; see the filters.",
        "Diese Anfrage ist so nicht verwendbar; bitte die Filter prüfen.",
    ),
    "problem_case_base": (
        "The case base cannot answer at the moment.",
        "Die Fallsammlung kann gerade nicht antworten.",
    ),
    "problem_model": ("The encoder cannot answer at the moment.", "Der Encoder kann gerade nicht antworten."),
    "problem_generation": ("The drafter failed.", "Der Entwurf ist fehlgeschlagen."),
    "problem_generation_timeout": ("The drafter did not answer in time.", "Der Entwurf kam nicht rechtzeitig."),
    "problem_busy": ("The server is busy.", "Der Server ist ausgelastet."),
    "problem_storage_full": ("The server has no room for the upload.", "Der Server hat keinen Platz für die Datei."),
    "problem_deadline": ("The answer took too long.", "Die Antwort dauerte zu lange."),
    "problem_internal": ("A fault of the server.", "Ein Fehler des Servers."),
    "values_both": ("Values of both", "Werte beider"),
    "findings_both": ("Findings of both", "Befunde beider"),
    "beats_both": ("Median beats of both, at the onset of QRS", "Mittlere Schläge beider, am Beginn von QRS"),
    "query_less": ("query less case", "Anfrage minus Fall"),
    "not_measured_both": ("Neither could be measured.", "Keines der beiden war messbar."),
    "concept": ("Near in", "Nah in"),
    "concept_all": ("everything", "allem"),
    "concept_rhythm": ("rhythm", "Rhythmus"),
    "concept_qrs": ("QRS", "QRS"),
    "concept_st_t": ("ST-T", "ST-T"),
    "concept_not_rate": ("all but rate", "allem außer Frequenz"),
    "concept_help": (
        "Puts the {n} nearest cases in another order: first those whose statements fit best what is probable for this "
        "ECG in that respect. One part of one lead: Frame, above the ECG.",
        "Ordnet die {n} nächsten Fälle neu: zuerst die, deren Aussagen in dieser Hinsicht am besten zu dem passen, was "
        "für dieses EKG wahrscheinlich ist. Ein Stück einer Ableitung: Rahmen, über dem EKG.",
    ),
    "concept_said": (
        "The {n} nearest cases, those first whose statements fit best in this respect; similarity is as it was.",
        "Die {n} nächsten Fälle, zuerst die, deren Aussagen in dieser Hinsicht am besten passen; die Ähnlichkeit ist "
        "dieselbe.",
    ),
    "region": ("Frame on a lead", "Rahmen auf einer Ableitung"),
    "region_example": ("Frame, e.g. V2 1.2-1.6", "Rahmen, z. B. V2 1,2-1,6"),
    "region_help": (
        'Lead and seconds. "Frame" above the ECG writes them; on a picture after "Show what was read". Puts the {n} '
        "nearest cases in another order: first those whose usual beat is most alike there. Empty: as before.",
        'Ableitung und Sekunden. "Rahmen" über dem EKG schreibt sie; auf einem Bild nach "Gelesenes zeigen". Ordnet '
        "die {n} nächsten Fälle neu: zuerst die, deren üblicher Schlag dort am ähnlichsten ist. Leer: wie zuvor.",
    ),
    "region_said": (
        "The {n} nearest cases, those first that are most alike in {lead} from {begin} to {end} ms after the onset of "
        "QRS (1 is equal); similarity is as it was.",
        "Die {n} nächsten Fälle, zuerst die ähnlichsten in {lead} von {begin} bis {end} ms nach dem Beginn von QRS "
        "(1 ist gleich); die Ähnlichkeit ist dieselbe.",
    ),
    "region_wrong": (
        "Write a lead and two times in seconds: V2 1.2-1.6",
        "Eine Ableitung und zwei Zeiten in Sekunden schreiben: V2 1,2-1,6",
    ),
    "region_no_beat": (
        "That part shows no usual beat that could be compared: frame 40 ms and more of a usual beat.",
        "Dort ist kein üblicher Schlag, der sich vergleichen ließe: 40 ms und mehr eines üblichen Schlags umrahmen.",
    ),
    "near_in": ("{lead}: {alike}", "{lead}: {alike}"),
    "quiz": ("Quiz", "Quiz"),
    "quiz_help": (
        "Findings stay hidden until you have committed your own.",
        "Befunde bleiben verborgen, bis Sie Ihre eigenen festgelegt haben.",
    ),
    "quiz_ask": ("What do you see on this ECG?", "Was sehen Sie auf diesem EKG?"),
    "quiz_commit": ("Commit and show", "Festlegen und zeigen"),
    "quiz_empty": ("Choose a statement or write what you see.", "Eine Aussage wählen oder schreiben, was Sie sehen."),
    "quiz_yours": ("Your findings and the draft's", "Ihre Befunde und die des Entwurfs"),
    "quiz_both": ("Both", "Beide"),
    "quiz_own": ("You alone", "Nur Sie"),
    "quiz_draft": ("The draft alone", "Nur der Entwurf"),
    "quiz_note": (
        "The draft is made by software and may be wrong.",
        "Der Entwurf stammt von Software und kann falsch sein.",
    ),
    "contrast": ("Looks alike, other diagnosis", "Sieht ähnlich aus, andere Diagnose"),
    "contrast_help": (
        "Among the {n} nearest cases, the nearest of each other group of diagnoses: compare what tells them apart.",
        "Unter den {n} nächsten Fällen der jeweils nächste jeder anderen Diagnosegruppe: vergleichen, was sie trennt.",
    ),
    "contrast_none": (
        "None of the {n} nearest cases has another diagnosis, or this ECG has none.",
        "Keiner der {n} nächsten Fälle hat eine andere Diagnose, oder dieses EKG hat keine.",
    ),
    "take_hits": ("Save, share", "Sichern, teilen"),
    "hits_csv": ("Cases as CSV", "Fälle als CSV"),
    "hits_json": ("Cases as JSON", "Fälle als JSON"),
    "copy_link": ("Copy the address of this question", "Adresse dieser Anfrage kopieren"),
    "copied": ("Copied", "Kopiert"),
    "link_note": (
        "Whoever has the address, and can reach this server, sees the ECG and the review for up to 12 hours.",
        "Wer die Adresse hat und diesen Server erreicht, sieht EKG und Befund bis zu 12 Stunden lang.",
    ),
    # The viewer: its language, and its buttons.
    "v_lang": ("en", "de"),
    "v_calipers": ("Calipers", "Zirkel"),
    "v_fit": ("Fit", "Einpassen"),
    "v_in": ("Zoom in", "Vergrößern"),
    "v_out": ("Zoom out", "Verkleinern"),
    "v_hint": (
        "drag to move, Ctrl + wheel to zoom",
        "ziehen zum Bewegen, Strg + Rad zum Vergrößern",
    ),
    "v_hint_calipers": (
        "drag to measure; arrow keys move the end",
        "ziehen zum Messen; Pfeiltasten bewegen das Ende",
    ),
    "v_stack": ("One above the other", "Untereinander"),
    "v_assumed": ("assumed", "angenommen"),
    "v_region": ("Frame", "Rahmen"),
    "v_hint_region": (
        "draw a frame on a lead: cases alike there come first",
        "einen Rahmen auf eine Ableitung ziehen: dort ähnliche Fälle zuerst",
    ),
    "v_bpm": ("/min", "/min"),
    "v_shift": ("Shift the case", "Fall verschieben"),
    "v_query": ("query", "Anfrage"),
    "v_case": ("case", "Fall"),
    "case": ("Case", "Fall"),
}


def words(lang: Lang) -> Words:
    """What looks up a text by its name and fills it in.

    >>> words("de")("years", n=62)
    '62 Jahre'
    """
    column = LANGS.index(lang)

    def word(name: str, **values: object) -> str:
        return TEXTS[name][column].format(**values)

    return word


def lang_of(tag: str | None) -> Lang:
    """The page's language for a browser's.

    >>> lang_of("de-AT"), lang_of("fr"), lang_of(None)
    ('de', 'en', 'en')
    """
    return "de" if (tag or "").lower().startswith("de") else "en"


def name_of(code: str, lang: Lang) -> str:
    """Name of a statement or superclass; the code itself where it is neither.

    Args:
        code: "AFIB", "MI" ...
        lang: "en" or "de".

    Returns:
        The name.
    """
    from ecgkin.retrieval.ecg.statements.catalogue import CODES, SUPERCLASS_NAMES, statement

    if code in CODES:
        return statement(code).name(lang)
    return SUPERCLASS_NAMES[code][LANGS.index(lang)] if code in SUPERCLASS_NAMES else code


def person(age_years: float | None, sex: str | None, lang: Lang) -> str:
    """Age and sex in words.

    Args:
        age_years: None where unknown.
        sex: "F", "M" or None.
        lang: "en" or "de".

    Returns:
        "63 J., w", or what of it is known.

    >>> person(62.0, "F", "en"), person(None, "M", "de"), person(None, None, "en")
    ('62 years, female', 'männlich', '')
    """
    word = words(lang)
    parts = [word("years", n=f"{age_years:.0f}")] if age_years is not None else []
    if sex in ("F", "M"):
        parts.append(word("female" if sex == "F" else "male"))
    return ", ".join(parts)
