"""D-BETA (first published as C-MELT): ECG and report in one space of 768 dimensions."""
