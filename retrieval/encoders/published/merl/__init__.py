"""MERL (ICML 2024): ECG and report in one space of 256 dimensions."""
