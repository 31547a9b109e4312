"""Measuring an ECG: rate, intervals, axes, amplitudes by lead, kinds of beats."""

from ecgkin.generation.measures.measure import measure
from ecgkin.generation.measures.values import NAMES, Measurements, Reason, reason_text

__all__ = ["NAMES", "Measurements", "Reason", "measure", "reason_text"]
