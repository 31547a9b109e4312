"""Names of ECGFounder's tensors and files; everything that comes from outside.

Source: repository PKUDigitalHealth/ECGFounder at commit 04edac7 (MIT), told in `../shared/docs/encoders.md`.
"""

from __future__ import annotations

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
PUBLISHED_SIZES = {
    "tensors": 509,
    "parameters": 30_819_014,
    "dim": 1024,
    "widths": (64, 160, 160, 400, 400, 1024, 1024),
    "blocks": (2, 2, 2, 3, 3, 4, 4),
}
# First ten logits of the real file for linspace(-1, 1, 60000) as (1, 12, 5000), as a public test of it says.
LINSPACE_LOGITS = (8.3751, -4.1527, -6.7857, -2.8648, 4.4136, -2.2547, -5.3009, -6.1225, -1.0395, -1.8894)
