"""Words that deny or doubt a statement: English, German, Swedish, French, Italian, Spanish, Portuguese and Dutch.

In the manner of NegEx (Chapman 2001): cues before the statement, within a few tokens, and cues after it; where each
is looked for stands in `find`.
"""

from __future__ import annotations

import re

# All patterns below are for folded text (`fold`), in which "does" is "dos" and "erfüllt" is "erfullt".
NO_BEFORE = re.compile(
    r"\b(?:no|nil|not|cannot|\w+n['’]t|nothing|without|never|neither|nor|negative for|absence of|"
    r"lack(?:s|ing)?|lack of|free (?:of|from)|fail(?:s|ed)? to|"
    r"rules out|ruled out|(?:can|could|able to) (?:\w+ )?rule out|excludes?|insufficient|unlike|"
    r"(?:incorrect|untrue|false) that|denie[sd]|deny|denying|"
    r"rather than|instead of|as opposed to|"
    r"kein\w*|nicht|nichts|ohne|ausschluss|unzureichend\w*|anders als|im gegensatz zu[rm]?|"
    r"weder|fehlend\w*|fehlt|fehlen|nie|niemals|frei von|verneint|statt|anstatt|"
    r"anstelle|w/o|short of|mimic\w*|(?:argu\w*|speaks?|spoke|points?) against|neg\W{1,2}for|"
    r"no longer|(?:wrong(?:ly)?|erron\w*ly|mistaken(?:ly)?|incorrectly|falsely)(?! (?:plac|posit|connect)\w*)|"
    r"misread \w+|overcall\w*|"
    r"falschlich\w*|irrtumlich\w*|zu unrecht|wegfall|verschwinden|fehlanzeige|imitier\w*|"
    r"vare sig|aldrig|felaktig\w*|"
    r"ausgeschlossene[mnrs]?|unwahrscheinliche[mnrs]?|unlikely|"
    r"ingen|inga|inget|ej|inte|icke|utan|varken|saknar|avsaknad av|uteslut(?:en|et|na|er|ande av)|osannolik\w*|"
    # French, Italian, Spanish, Portuguese, Dutch
    r"pas (?:de|du|d)|(?:ne |n['\u2019 ])\w+ (?:pas|plus|jamais|guere|aucun\w*)|jamais|ni|a tort|ne(?= (?:un\w?|"
    r"il|la)\Z|\Z)|"
    r"(?<!en )(?<!de )plus d(?:e|u)?(?! ?\d)|(?:disparition|exclusion|elimination) d\w*|exclut|elimine|ecarte|"
    r"infirme|"
    r"ya no|tampoco|niega|descart[ao]|desaparicion d\w*|errone[ao]mente|"
    r"non (?:piu|si (?:osserv|rilev|riconosc|document|apprezz)\w*|mostr\w*|document\w*|sono|risult\w*)|esclude|"
    r"scomparsa d\w*|nem|nunca|afasta|exclui|desaparecimento d\w*|equivocadamente|"
    r"nooit|ten onrechte|niet langer|geen sprake van|sluit|absence d[eu]?|aucune?|sans|nessun\w*|non (?:e|ha|si|"
    r"ci|vi|evid\w*|segni|presenta\w*|rilev\w*)|"
    r"assenza d\w*|senza|sin|ausencia d\w*|ningun\w*|sem|nenhum\w*|nao|geen|niet|zonder|afwezigheid van)\b"
)
# A negation of something else than the statement that follows: "no change in the LBBB", "not only", "without doubt".
NO_OF_ELSE = re.compile(
    r"\b(?:not (?:only|just|merely)|nicht (?:nur|allein|bloss)|nothing (?:but|other than)|nichts anderes als|"
    r"inte bara|"
    r"no (?:\w+ )?changes? (?:in|of|to|from|since)|without (?:\w+ )?changes? (?:in|of)|"
    r"(?:kein\w*|ohne) (?:\w+ )?(?:befund|ver)?anderung\w* (?:des|der|im|in|bei|von|zum|gegenuber|seit)|"
    r"(?:not|nicht|ej|inte) (?:determin\w*|bestimm\w*|beurteil\w*|bestamm\w*|assess\w*)|"
    r"(?:kein\w*|no|inga|ingen|ohne|without) p ?-? ?(?:wel\w*|waves?|vag\w*)|"
    r"(?:no|without(?: any| a)?) (?:doubt|qustion)|(?:ohne|kein\w*) (?:jed\w+ |den geringsten )?(?:zweifel|frage)|"
    r"sans (?:aucun )?doute|utan (?:all )?(?:tvekan|tvivel)|sin (?:ninguna )?duda|senza (?:alcun )?dubbio|sem duvida|"
    r"zonder (?:enige )?twijfel|mai (?:document|descrit|osserv|vist)\w+ prima|pas (?:de )?(?:changement|"
    r"modification)\w*|"
    r"noch (?:immer|ein\w*|nicht|weiter\w*|vorhanden\w*|besteh\w*)|nicht (?:vor)?bekannt\w*|not previously known)\b"
)
# A heading over a list of what is not there: "Absent: AF, LBBB", "Nicht nachweisbar: Vorhofflimmern, WPW".
DENIED_LIST = re.compile(
    r"(?:^|[.;\n])\W*(?:absent|excluded|ruled out|negative|none|no|not|nicht|kein\w*|nej|inte|ej|non|pas|"
    r"absente?s?|exclus?|nao|geen|"
    r"no signs of|fehlend|verneint|negativ|"
    r"not (?:seen|present|found|detected|evident)|"
    r"ausgeschlossen|nicht (?:nachweisbar|vorhanden|erkennbar|nachgewiesen|gesehen))\s*:[^.;:\n]*$"
)
# From here on the words speak of a circumstance, not of what was denied: "no sign of infarction despite the LBBB".
ASIDE = re.compile(
    r"\b(?:bei|jetzt|nunmehr|trotz|aufgrund|wegen|"
    r"despite|because of|du to|in (?:the )?(?:presence|setting|context) of|given)\b"
)
_BE = (
    r"is|are|was|were|be|been|being|has|have|had|can|could|would|may|might|do|dos|did|"
    r"ist|sind|war|waren|wird|werden|wurden?|worden|kann|konnen|konnte\w*|hat|haben|hatte\w*|sich|ar|kan|har|gar|att|"
    r"n|est|sont|etait|a|ont|ete|etre|put|se|si|est[ao]|es|fu|ha|han|sido|ser|e|era|sono|stat[oaie]|vien\w*|foi|"
    r"wordt|werd"
)
_ADVERBS = (
    r"also|any|anymore|longer|now|currently|clearly|definitely|convincingly|reliably|safely|reasonably|thus|"
    r"therefore|"
    r"very|highly|quite|rather|completely|to|yet|mehr|sicher|eindeutig|zweifelsfrei|klar|langer|wirklich|sehr|eher|"
    r"jetzt|nun|hier|derzeit|aktull|damit|somit|inzwischen|weitgehend|auch|zu|piu|mai[s]?|langre|lange|meer|langer"
)
_KINDS = r"criteria|signs?|evidence|patterns?|changes|kriterien|zeichen|nachweis|hinweise?"
_SEEN = (
    r"seen|suggested|supported|indicated|likely|probable|present[ei]?|aanwezig|zichtbaar|visibles?|visibile|"
    r"evidente?|retrouve|found|detect(?:ed|able)|identif(?:ied|iable)|observed|noted|demonstra(?:ted|ble)|"
    r"appreciated|apparent|documented|confirmed|diagnosed|recorded|shown|recogni[sz]ed|discernible|met|fulfilled|"
    r"satisfied|the (?:case|diagnosis|rhythm)|what|there|"
    r"nachweisbar|nach(?:ge|zu)wiesen|nachweisen|nachzuweisen|vorhanden|vor|erkennbar|erkennen|erkannt|sichtbar|"
    r"gesehen|"
    r"sehen|ersichtlich|gefunden|finden|gegeben|erfullt|belegt|belegbar|belegen|bestatigt|bestatigen|feststellbar|"
    r"festgestellt|festzustellen|feststellen|darstellbar|abgrenzbar|darstellen|dokumentiert|registriert|"
    r"pavis(?:as|ad|at|ade|bar\w?)|ses|sedd|sett|synligt?|bekraft(?:as|ad|at)|nachvollzieh\w*|bewahrheitet|"
    r"retrouve\w*|vue?s?|constate\w*|observe\w*|objective\w*|mise? en evidence|confirme\w*|detecte\w*|identifie\w*|"
    r"decele\w*|reconnu\w*|apparente?|observad[oa]s?|observa|presentes?|vist[oa]s?|confirmad[oa]s?|detectad[oa]s?|"
    r"identificad[oa]s?|evidenciad[oa]s?|encontrad[oa]s?|evident\w*|aprecia\w*|rilevat[oa]|evidenziat[oa]|"
    r"riscontrat[oa]|"
    r"osservat[oa]|documentat[oa]|documentad[oa]s?|confermat[oa]|riconoscibile|visivel|gezien|aangetoond|zichtbaar|"
    r"waarneembaar|bevestigd|gevonden|aantoonbaar|te zien"
)
_GONE = (
    r"absente?s?|assent[ei]|ausentes?|afwezig|exclu[es]?|esclus[oaie]|descartad[oa]s?|excluid[oa]s?|uitgesloten|"
    r"excluded|ruled out|lacking|missing|(?:very |highly )?unlikely|improbable|resolved|disappeared|gone|terminated|"
    r"ausgeschlossen|auszuschliessen|unwahrscheinlich|verschwunden|weggefallen|verneint|uteslut\w*|osannolik\w*|"
    r"ecarte\w*|elimine\w*|infirme\w*|disparu\w*|desapareci\w*|desapareceu|scompars[oa]|verdwenen|forsvunn\w*|borta|"
    r"upphort|afastad[oa]s?|retiree?"
)
_NOT = r"not|no|non|nao|niet|geen|pas|ya no|nunca|nooit|cannot|never|no longer|\w+n['’]t|nicht|nie|niemals|ej|inte"
_VERBS_DE = (
    r"besteh(?:t|en)|bestand\w*|bestatig(?:t|en|te|ten)|zeig(?:t|en)|zeigte\w*|find(?:et|en)|fand\w*|lieg(?:t|en)|"
    r"lag|lagen|lass(?:t|en)|"
    r"liess\w*|ergibt|ergeben|ergab\w*|seh(?:e|en)|erkenn(?:e|en|t)|erschein(?:t|en)|imponier(?:t|en)|sieht|gibt|"
    r"ist|sind|war|waren|wird|werden|wurden?|"
    r"kann|konnen|konnte\w*"
)
# Nothing but a following hit (" >") may come after a value: "Sinusrhythmus: kein >" denies the next one.
_ENDS = r"[^\w>]*$"
NO_AFTER = re.compile(
    # "is not seen", "could not be identified", "criteria are not met", "nicht mehr nachweisbar"
    rf"^\W*(?:(?:{_KINDS})\W+)?(?:(?:{_BE})\W+){{0,2}}(?:(?:{_ADVERBS})\W+){{0,2}}(?:{_NOT})\W+"
    rf"(?:(?:{_BE}|{_ADVERBS})\W+){{0,3}}(?:{_SEEN})\b"
    # "has resolved", "konnte sicher ausgeschlossen werden"
    rf"|^\W*(?:(?:{_KINDS})\W+)?(?:(?:{_BE}|{_ADVERBS})\W+){{0,4}}(?:{_GONE})\b"
    # "liegt hier nicht vor", "zeigt sich im gesamten EKG nicht"
    rf"|^\W*(?:{_VERBS_DE})(?:\W+\w+){{0,5}}?\W+(?:nicht|nie|niemals)(?:\W+(?:{_ADVERBS})){{0,2}}"
    rf"(?:{_ENDS}|\W+(?:{_SEEN})\b)"
    # "besteht keines", "there is no evidence", "gibt es keinen Anhalt", "föreligger ej"
    rf"|^\W*(?:{_VERBS_DE})(?:\W+\w+){{0,3}}?\W+kein(?:e[rs]?|s)?{_ENDS}"
    rf"|^\W*(?:there (?:is|are|was|were)|{_VERBS_DE})(?:\W+(?:es|sich|{_ADVERBS})){{0,2}}\W+(?:no|kein\w*)\W+"
    r"(?:\w+\W+)?(?:evidence|signs?|indication|hinweise?|anhalt\w*|anzeichen|zeichen|nachweis|beleg\w*)\b"
    r"|^\W*(?:foreligger|finns|ses|syns)(?:\W+\w+){0,2}?\W+(?:ej|inte)\b"
    # "liegt nicht vor, ein LSB nicht", "fehlt"
    rf"|^\W*(?:hingegen\W+|dagegen\W+)?nicht(?:\W+mehr)?{_ENDS}"
    rf"|^\W*(?:{_KINDS})?\W*(?:fehlt|fehlen|fehlte|fehlten|entfallt|entfallen|saknas)\b"
    # "AF: negative", "AF = no", "AF (absent)", "LVH none"
    rf"|^\s*(?:{_KINDS})?\s*[:=–-]\W*(?:no|not|none|nil|neg|negative|absent|false|nein|nicht|kein\w*|negativ|"
    rf"falsch|nej|"
    rf"inga?|ingen|inte|ej|non|nee|nao|neen|niet|geen|nie|aucune?|ningun\w*|nessun\w*|nenhum\w*|"
    rf"negati[fv]\w*)\b(?:\s+\w+){{0,2}}{_ENDS}"
    r"|^\s*[:=]\s*0(?![\d.,]\d|\d)"
    r"|^\s*\(\s*(?:no|not present|neg|negative|negativ|absent|none|nein|nej|0)\s*\)"
    rf"|^\W*(?:none|nil|negative|negativ){_ENDS}"
    # "n'est plus visible", "ne se voit pas"
    r"|^\W*ne?\W+(?:\w+\W+){0,2}?(?:plus|pas|jamais|guere)\b(?!\W+(?:nouve|modif|chang|connu|significat|complet|"
    r"typiqu)\w*)"
    # "LBBB no longer", "LBBB not now"
    rf"|^\W*(?:no longer|no more|not now|not any ?more|nicht mehr|(?:inte|ej) (?:langre|nu)|niet (?:meer|langer)|"
    rf"ya no|"
    rf"non piu|nao mais|ne plus){_ENDS}"
    # "was wrongly diagnosed", "is wrong", "is a misreading": what is said of a reading that was not right
    rf"|^\W*(?:(?:{_BE}|{_ADVERBS})\W+){{0,3}}(?:(?:by|vom|von der|av|par|du) )?(?:(?:the |der |la |"
    rf"l )?\w+\W+){{0,2}}?"
    r"(?:wrong(?:ly)?|incorrect(?:ly)?|erron\w+|mistaken(?:ly)?|falsely|falschlich\w*|irrtumlich\w*|zu unrecht|"
    r"unzutreffend|felaktig\w*|a tort|fau(?:x|sse)|sbagliat[oa]|ten onrechte|onjuist)\b(?! (?:plac|position|"
    r"connect)\w*)"
    rf"|^\W*(?:{_BE})\W+(?:(?:an?|ein\w*|en|une?) )?(?:misread\w*|mistake|error|misinterpretation|fehler|fehldeutung|"
    rf"falsch|artefa[ck]t\w*|feltolkning|erreur|error|errore|fel){_ENDS}"
    r"|^\s*\(\s*[-\u2013\u2212]\s*\)"  # "AF (-)"
)
# "not seen before" says that it is there now.
EARLIER = re.compile(
    r"\b(?:previous\w*|prior|earlier|before|vorher\w*|zuvor|bisher\w*|fruher\w*|vorbekannt|voraufnahme\w*|tidigare)\b"
)
MAYBE_BEFORE = re.compile(
    r"\b(?:possibl[ey]|probabl[ey]|suspected|suspicion of|suggest\w*|consider|questionable|may be|might|could be|"
    r"likely|borderline|compatible with|consistent with|qury|query|r/o|doubtful|dubious|equivocal|rule out|"
    r"to exclude|"
    r"if|falls|in case of|zweifelhaft\w*|zum ausschluss|tveksam\w*|"
    r"(?:cannot|can not|can't|unable to|dos not|dosn't|do not) (?:\w+ )?(?:exclude|rule out)|"
    r"(?:can ?not|can['\u2019]t|could not|couldn['\u2019]t) be (?:\w+ )?(?:excluded|ruled out)|"
    r"(?:ne|n['\u2019]) ?(?:\w+ ){0,3}?(?:d['\u2019] ?)?(?:exclure|eliminer|ecarter)|impossible (?:de |"
    r"d['\u2019] ?)(?:exclure|"
    r"eliminer|ecarter)|a (?:exclure|eliminer|confirmer)|no (?:se )?(?:pude\w*|pod\w*|"
    r"logra\w*) (?:\w+ )?(?:descartar|excluir)|"
    r"non (?:si )?(?:pu\w?|posso\w*|e possibile) (?:\w+ )?escludere|nao (?:se )?(?:pode\w*|"
    r"e possivel) (?:\w+ )?(?:excluir|"
    r"descartar|afastar)|niet (?:uit te sluiten|uitgesloten|uitsluiten)|"
    r"n['\u2019 ]?e?(?:xclut|limine|carte) pas|no (?:descarta|excluye)|non esclude|nao (?:exclui|descarta|afasta)|"
    r"not (?:be )?(?:excluded|ruled out)|(?:inte|ej|icke) (?:\w+ )?uteslut(?:as?|en|et|na)|"
    r"nicht (?:\w+ )?(?:auszuschliessen|ausgeschlossen(?:e[mnrs]?)?|ausschliessbar|unwahrscheinlich\w*)|"
    r"not (?:\w+ )?unlikely|(?:inte|ej|icke) (?:\w+ )?osannolik\w*|"
    r"v\.? ?a\.?|verdacht\w*|fraglich\w*|moglich\w*|wahrscheinlich\w*|vermutlich\w*|evtl|eventuell\w*|dd|"
    r"possibile|probabile|posible|possivel|provavel|sospett\w*|sospecha de|suspicion de|suspeita de|mogelijke?|"
    r"waarschijnlijke?|vermoeden van|verdenking (?:van|op)|douteu\w*|"
    r"hinweis\w* (?:auf|fur)|vereinbar mit|zeichen einer|misstank\w*|mojlig\w*|trolig\w*|sannolik\w*)(?=\W|$)"
)
# German and Swedish doubt follows bare ("inferiorer infarkt möglich"), English with a verb or at the clause's end.
MAYBE_AFTER = re.compile(
    r"^.{0,40}?(?:\?|\b(?:(?:can ?not|can't|not|could not|couldn't) be (?:\w+ )?(?:excluded|ruled out)|"
    r"(?:can|could)n?['\u2019]?t be (?:\w+ )?(?:excluded|ruled out)|"
    r"(?:non|pas|not|nao|niet) (?:\w+ )?(?:exclu[es]*|elimine\w*|ecarte\w*|esclus[oa]|escludibile|exclui\w*|"
    r"descartad\w*|"
    r"afastad\w*|uitgesloten|uit te sluiten)\b|no (?:se )?(?:pude )?(?:descart\w*|exclui\w*)|"
    r"ne (?:\w+ ){0,2}?(?:etre )?(?:\w+ )?(?:exclu|elimine|ecarte)\w*|niet (?:\w+ ){0,2}uitgesloten|gar (?:inte|"
    r"ej) att utesluta|"
    r"a (?:discuter|confirmer)|nao pode ser (?:\w+ )?(?:excluid|descartad|afastad)\w*|"
    r"(?:possible|probable|possibile|probabile|posible|possivel|provavel|mogelijk|waarschijnlijk|douteu\w+)\W*$|"
    r"not (?:\w+ )?(?:excluded|ruled out)|should be considered|neither (?:be )?confirmed nor|weder \w+ noch ausge\w+|"
    r"(?:is|are|seems?|remains?) (?:possible|probable|suspected|likely|doubtful|dubious|equivocal|questionable)|"
    r"(?:ist|bleibt) (?:zweifelhaft|unsicher)|(?:possible|probable|suspected|likely)\W*$|"
    r"mogl(?:ich)?|wahrscheinlich(?= alt|\W*$)|fraglich|nicht (?:\w+ ){0,2}?(?:auszuschliessen|ausschliessen|"
    r"ausgeschlossen|ausschliessbar)|zu erwagen|denkbar|kan (?:ej|inte) uteslutas|bor overvagas|sannolikt)\b)"
)
# Signs, of the text as it is: "WPW: \u00d8", "\u00d8 WPW", "-ve for AF".
EMPTY_BEHIND = re.compile(r"\s{0,3}[:=]?\s{0,3}[\u00d8\u2205\u2300](?!\w)")
EMPTY_BEFORE = re.compile(r"(?:(?<!\w)[\u00d8\u2205\u2300]|(?<!\w)-ve(?: for)?)\s{0,3}\Z", re.IGNORECASE)
# What the next sentence says of this one: "Computer: LBBB. I disagree."
REFUSED = re.compile(
    r"\s{0,3}\?\s{0,3}(?:nein|no|nej|non|nee|n\u00e3o|eher nicht|wohl nicht|(?:i )?don['\u2019]t think so|"
    r"probably not)\s{0,3}(?:[.;!,\n]|\Z)|"
    r"\s{0,3}[.;,:\u2013-]{1,2}\s{0,3}(?:(?:i|we|ich)\s)?(?:disagree\w*|do not agree|don['\u2019]t agree|"
    r"not confirmed|overruled|rejected|"
    r"nicht best\u00e4tigt|stimmt nicht|trifft nicht zu|kann ich nicht (?:nachvollziehen|best\u00e4tigen)|"
    r"non confirm\u00e9\w*|"
    r"pas d['\u2019]accord|inte bekr\u00e4ftat|no confirmad[oa]|non confermat[oa]|niet bevestigd)\b",
    re.IGNORECASE,
)
AGAINST_BEFORE = re.compile(r"\b(?:gegen|contre|contra|contro|tegen|mot|against)(?: \w+)?\Z")
AGAINST_BEHIND = re.compile(
    r"^\W*(?:\w+\W+){0,4}?(?:sprech\w*|sprich\w*|sprach\w*|plaid\w*|parl\w*|habla\w*|pleit\w*|speaks?|talar|taler)\b"
)
