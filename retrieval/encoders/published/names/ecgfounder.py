"""Names of ECGFounder's tensors and files; everything that comes from outside.

Source: repository PKUDigitalHealth/ECGFounder at commit 04edac7 (MIT), told in `../shared/docs/encoders.md`.
"""

from __future__ import annotations

from types import MappingProxyType

from ecgkin.retrieval.encoders.published.names.table import Names

SYSTEM = "ECGFounder"
SIGNATURE = ("first_conv.conv.weight", "stage_list.0.block_list.0.se_fc1.weight", "dense.weight")
STEM = "first_conv.conv.weight"
STAGE = "stage_list.{n}."
BLOCK = "stage_list.{s}.block_list.{{n}}."
BLOCK_PART = "stage_list.{s}.block_list.{b}.{part}.weight"
CLASSES = "dense.weight"
STRIDE = 2  # not in the file
TASKS_FILE = "tasks.txt"
"""One class a line, beside the checkpoint where the user put it."""

NAMES = Names(
    {
        "stem": "first_conv.conv",
        "stages.{s}.{b}.conv1": "stage_list.{s}.block_list.{b}.conv1.conv",
        "stages.{s}.{b}.conv2": "stage_list.{s}.block_list.{b}.conv2.conv",
        "stages.{s}.{b}.conv3": "stage_list.{s}.block_list.{b}.conv3.conv",
        "stages.{s}.{b}.squeeze": "stage_list.{s}.block_list.{b}.se_fc1",
        "stages.{s}.{b}.excite": "stage_list.{s}.block_list.{b}.se_fc2",
        "classify": "dense",
    },
    # The norms lie in the file and are switched off in the published setting (use_bn=False).
    ignored=(r"first_bn\..*", r"stage_list\.\d+\.block_list\.\d+\.bn[123]\..*"),
)
# 30,819,014 parameters and the statistics of the norms.
PUBLISHED_SIZES = {"tensors": 509, "values": 30_885_443, "dim": 1024}
# First ten logits of the real file for linspace(-1, 1, 60000) as (1, 12, 5000), as a public test of it says.
LINSPACE_TOLERANCE = 1e-3
LINSPACE_LOGITS = (8.3751, -4.1527, -6.7857, -2.8648, 4.4136, -2.2547, -5.3009, -6.1225, -1.0395, -1.8894)

N_CLASSES = 150
# Our reading of tasks.txt, not published: statement -> lines, from 1; of several the most certain one counts.
STATEMENT_LINES: MappingProxyType[str, tuple[int, ...]] = MappingProxyType(
    {
        "SR": (2, 4),
        "NORM": (3,),
        "SBRAD": (5,),
        "AFIB": (6,),
        "STACH": (7,),
        "PVC": (10,),
        "CRBBB": (12,),
        "LAO/LAE": (14,),
        "PAC": (16,),
        "LVOLT": (17,),
        "AMI": (18,),
        "IRBBB": (19,),
        "CLBBB": (21,),
        "LMI": (25,),
        "LVH": (27,),
        "AFLT": (33,),
        "LAFB": (37,),
        "ASMI": (41,),
        "ALMI": (55,),
        "RAO/RAE": (61,),
        "IMI": (62,),
        "ILBBB": (63,),
        "VCLVH": (64,),
        "LPFB": (71,),
        "1AVB": (80,),
        "LNGQT": (81,),
        "RVH": (83,),
        "IVCD": (90,),
        "BIGU": (92,),
        "WPW": (108,),
        "3AVB": (122,),
        "PMI": (133,),
    }
)
SERIAL_LINES: frozenset[int] = frozenset(
    (22, 23, 24, 28, 30, 31, 43, 46, 47, 48, 49, 54, 58, 67, 69, 72, 78, 98, 101, 112, 124, 126)
)
# Words that a name at a mapped line should hold, to tell another tasks.txt from the one that was read.
EXPECTED_WORDS: MappingProxyType[str, str] = MappingProxyType(
    {
        "NORM": "normal",
        "SBRAD": "bradycardia",
        "AFIB": "fibrillation",
        "STACH": "tachycardia",
        "CRBBB": "right bundle",
        "CLBBB": "left bundle",
        "LVH": "left ventricular hypertrophy",
        "AFLT": "flutter",
        "LVOLT": "voltage",
        "IMI": "inferior",
        "RVH": "right ventricular hypertrophy",
        "LNGQT": "qt",
        "3AVB": "block",
    }
)
# Lines that name nothing by themselves, as far as they are known.
FRAGMENTS: frozenset[str] = frozenset(("blocked", "acute", "anterolateral leads"))
