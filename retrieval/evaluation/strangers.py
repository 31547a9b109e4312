"""Queries that no case answers: pages without heartbeats, words without an ECG. Is "nothing similar" said of them?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.record import EcgRecord

KINDS: tuple[str, ...] = ("phases shuffled", "noise", "random walk", "tones", "steps")
WORDS = "signals without heartbeats, drawn as pages: " + ", ".join(KINDS)

# Sentences without anything of an ECG in them, English and German.
SENTENCES: tuple[str, ...] = (
    "two cups of flour and a pinch of salt",
    "the train to Hamburg leaves from platform nine",
    "heavy rain is expected in the west tomorrow",
    "how do I reset my password",
    "the chess game ended in a draw after forty moves",
    "a red bicycle leans against the garden wall",
    "quarterly revenue rose by eight percent",
    "fracture of the left distal radius",
    "please water the tomatoes twice a week",
    "the cat sleeps on the warm radiator",
    "select name from customers where city is Oslo",
    "her new novel is set in medieval Lisbon",
    "chest radiograph with a small pleural effusion",
    "the museum is closed on Mondays",
    "turn left after the second roundabout",
    "the recipe calls for fresh basil and lemon",
    "zwei Eier mit dem Zucker schaumig schlagen",
    "der Zug nach Köln hat zwanzig Minuten Verspätung",
    "morgen wird es im Norden sonnig und windig",
    "das Fahrrad steht seit Wochen im Keller",
    "die Mannschaft gewann das Spiel mit drei zu eins",
    "bitte die Blumen auf dem Balkon gießen",
    "Fraktur des rechten Sprunggelenks",
    "wie ändere ich die Sprache meines Telefons",
    "das Museum zeigt Bilder aus dem Barock",
    "die Miete ist zum ersten des Monats fällig",
    "ein Glas Wasser und ein Stück Brot",
    "im Herbst ziehen die Vögel nach Süden",
    "lorem ipsum dolor sit amet",
    "asdf qwer zxcv",
)


def stranger_records(records: Sequence[EcgRecord], seed: int = 4) -> list[EcgRecord]:
    """Signals that are no ECG, one for each record given, kinds in turn.

    "phases shuffled" keeps the power spectrum of every lead of that record, and nothing of its beats; the others
    take only its standard deviation, rate and length.
    """
    rng = np.random.default_rng(seed)
    out = []
    for i, record in enumerate(records):
        signal = np.nan_to_num(record.standard()).astype(np.float64)
        made = _make(KINDS[i % len(KINDS)], signal, record.fs_hz, rng)
        made -= made.mean(axis=1, keepdims=True)
        spread = made.std(axis=1, keepdims=True)
        target = np.clip(signal.std(axis=1, keepdims=True), 0.05, 1.0)
        scaled = made / np.where(spread > 0, spread, 1.0) * target
        out.append(EcgRecord(scaled.astype(np.float32), record.fs_hz, LEADS, record_id=f"stranger-{i}"))
    return out


def _make(kind: str, signal: NDArray[np.float64], fs_hz: float, rng: np.random.Generator) -> NDArray[np.float64]:
    leads, n = signal.shape
    t = np.arange(n) / fs_hz
    if kind == "phases shuffled":
        spectrum = np.fft.rfft(signal, axis=1)
        phases = np.exp(2j * np.pi * rng.random(spectrum.shape))
        return np.asarray(np.fft.irfft(np.abs(spectrum) * phases, n=n, axis=1))
    if kind == "noise":
        return rng.standard_normal((leads, n))
    if kind == "random walk":
        return np.asarray(np.cumsum(rng.standard_normal((leads, n)), axis=1))
    if kind == "tones":
        return np.asarray(np.sin(2 * np.pi * (rng.uniform(0.3, 12.0, (leads, 1)) * t + rng.random((leads, 1)))))
    edges = rng.random((leads, n)) < 2.0 / fs_hz
    return np.asarray(np.where(np.cumsum(edges, axis=1) % 2 == 0, 1.0, -1.0))
