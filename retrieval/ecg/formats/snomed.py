"""SNOMED CT codes of findings, as the PhysioNet Challenges write them (`#Dx`), to statements of the 71.

Only codes whose meaning is that of one statement are mapped. Left out on purpose: 164865005 (any infarction, wherever),
39732003, 47665007, 251200008 (axis: no statement), 426627000 (bradycardia of whatever origin), 266249003 (ventricular
hypertrophy, whichever). Pairs that the Challenge of 2021 scores as one class share a statement.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_CODES = {
    "SR": "426783006",
    "AFIB": "164889003 282825002 426749004 314208002",
    "AFLT": "164890007",
    "STACH": "427084000",
    "SBRAD": "426177001",
    "SARRH": "427393009",
    "PACE": "10370003 251266004 251268003",
    "SVTAC": "426761007",
    "PSVT": "67198005",
    "BIGU": "11157007 251168009 251173003",
    "TRIGU": "251180001",
    "IRBBB": "713426002",
    "CRBBB": "713427006 59118001",
    "CLBBB": "164909002 733534002",
    "ILBBB": "251120003",
    "IVCD": "698252002",
    "LAFB": "445118002",
    "LPFB": "445211001",
    "1AVB": "270492004",
    "2AVB": "195042002 54016002 426183003",
    "3AVB": "27885002",
    "WPW": "74390002 195060002",
    "LVH": "164873001",
    "VCLVH": "55827005",
    "RVH": "89792004",
    "LAO/LAE": "67741000119109 446813000",
    "RAO/RAE": "446358003",
    "ABQRS": "164951009",
    "PVC": "164884008 427172004 17338001 251182009",
    "PAC": "284470004 63593006",
    "STD_": "429622005 704997005",
    "STE_": "164931005",
    "LVOLT": "251146004",
    "QWAVE": "164917005",
    "TAB_": "164934002",
    "INVT": "59931005",
    "LPR": "164947007",
    "LNGQT": "111975006",
    "NST_": "55930002 428750005",
    "ISC_": "164861001 413444003 413844008",
    "ISCIN": "425419005",
    "ISCLA": "425623009",
    "ISCAN": "426434006",
    "AMI": "54329005",
}
STATEMENT_OF: dict[str, str] = {code: name for name, codes in _CODES.items() for code in codes.split()}
_CODE = re.compile(r"(?<!\d)\d{5,18}(?!\d)")
_LONGEST_LINE = 10_000


def codes_in(comments: str) -> tuple[str, ...]:
    """SNOMED codes of the `Dx` lines of a WFDB header, in their order.

    >>> codes_in("Age: 59\\nDx: 426783006,164889003\\nRx: Unknown")
    ('426783006', '164889003')
    """
    found: list[str] = []
    for line in comments.split("\n"):
        word, mark, rest = line[:_LONGEST_LINE].replace("=", ":", 1).partition(":")
        if mark and word.strip(" \t#").lower() == "dx":
            found += _CODE.findall(rest)
    return tuple(dict.fromkeys(found))


def statements_of(codes: Iterable[str]) -> dict[str, float]:
    """Labels of a case (statement to likelihood in percent); codes that mean no single statement are left out.

    >>> statements_of(["426783006", "164865005"])
    {'SR': 100.0}
    """
    return {STATEMENT_OF[code]: 100.0 for code in codes if code in STATEMENT_OF}
