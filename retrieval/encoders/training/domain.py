"""Domain randomisation of signals: one recording as other machines, electrodes and pages would have delivered it.

Everything works on batches of samples in mV, draws from torch's global generator (seed it for the same batch) and
leaves the diagnosis alone: limb leads are never exchanged, rates change by less than a tenth, amplitudes by less than
a half.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

# Corner frequencies of high-pass filters in Hz: IEC 60601-2-25 asks for .05, monitors use .5, and some print at .67.
HIGH_PASS_HZ = (0.05, 0.67)
# Low-pass filters in Hz: "muscle" filters of machines begin at 25.
LOW_PASS_HZ = (25.0, 150.0)
STRETCH = 0.08
# Columns of a page with three rows of four leads, and the leads that stand as a strip below them (II, or V1, or V5).
PAGE_COLUMNS = ((0, 1, 2), (3, 4, 5), (6, 7, 8), (9, 10, 11))
STRIPS = (1, 1, 1, 6, 10)


def other_machine(signals: Tensor, fs_hz: float, share: float = 0.7) -> Tensor:
    """The recordings with the traits of other machines.

    Each trait comes to a part of the batch: filters, gain, hum, muscle noise, wander, baseline steps, clipping, small
    electrode displacement, heart rate stretched, leads missing, leads shown for a column of a page alone.

    Args:
        signals: mV, (n, 12, t), standard lead order, 0 where nothing was recorded.
        fs_hz: Samples a second.
        share: Part of the batch that is changed at all.

    Returns:
        mV, (n, 12, t), 0 where nothing is left.
    """
    chosen = torch.rand(len(signals)) < share
    if not bool(chosen.any()):
        return signals
    part = signals[chosen]
    part = displaced(part)
    part = stretched(part)
    part = filtered(part, fs_hz)
    part = disturbed(part, fs_hz)
    part = partly_shown(part, fs_hz)
    out = signals.clone()
    out[chosen] = part
    return out


def filtered(signals: Tensor, fs_hz: float) -> Tensor:
    """Through a single-pole high-pass filter, whose phase bends ST segments as analogue ones do, and a low-pass filter.

    Args:
        signals: mV, (n, 12, t).
        fs_hz: Samples a second.

    Returns:
        mV, (n, 12, t).
    """
    n, _, samples = signals.shape
    frequency = torch.fft.rfftfreq(samples, 1 / fs_hz)
    low, high = (math.log(hz) for hz in HIGH_PASS_HZ)
    corner = torch.exp(low + (high - low) * torch.rand(n, 1, 1))
    ratio = torch.complex(torch.zeros(n, 1, len(frequency)), (frequency / corner).expand(n, 1, -1))
    passed = torch.where(torch.rand(n, 1, 1) < 0.6, ratio / (1 + ratio), torch.ones_like(ratio))
    low, high = (math.log(hz) for hz in LOW_PASS_HZ)
    corner = torch.exp(low + (high - low) * torch.rand(n, 1, 1))
    damping = torch.where(torch.rand(n, 1, 1) < 0.5, 1 / torch.sqrt(1 + (frequency / corner) ** 4), torch.ones(1))
    out: Tensor = torch.fft.irfft(torch.fft.rfft(signals) * passed * damping, n=samples)
    return out


def disturbed(signals: Tensor, fs_hz: float) -> Tensor:
    """With gain errors, mains hum, muscle noise in bursts, wander, baseline steps and clipped peaks.

    Args:
        signals: mV, (n, 12, t).
        fs_hz: Samples a second.

    Returns:
        mV, (n, 12, t).
    """
    n, leads, samples = signals.shape
    time = torch.arange(samples) / fs_hz
    out = signals * (1 + 0.15 * torch.randn(n, 1, 1)).clamp(0.6, 1.5) * (1 + 0.04 * torch.randn(n, leads, 1))
    mains = torch.where(torch.rand(n, 1, 1) < 0.5, 50.0, 60.0).clamp(max=0.49 * fs_hz)
    hum = torch.sin(2 * math.pi * mains * time + 2 * math.pi * torch.rand(n, leads, 1))
    out = out + (torch.rand(n, 1, 1) < 0.2) * 0.05 * torch.rand(n, leads, 1) * hum
    burst = (
        torch.sin(2 * math.pi * (0.05 + 0.3 * torch.rand(n, leads, 1)) * time + 6.3 * torch.rand(n, leads, 1)) > 0
    ).float()
    out = out + (torch.rand(n, 1, 1) < 0.5) * 0.05 * torch.rand(n, leads, 1) * burst * torch.randn_like(out)
    slow = torch.sin(2 * math.pi * (0.08 + 0.4 * torch.rand(n, 1, 1)) * time + 2 * math.pi * torch.rand(n, leads, 1))
    out = out + 0.2 * torch.rand(n, 1, 1) ** 2 * torch.rand(n, leads, 1) * slow
    since = time - torch.rand(n, 1, 1) * samples / fs_hz
    step = torch.where(since > 0, torch.exp(-since.clamp(min=0) / 0.4), torch.zeros(1))
    out = out + (torch.rand(n, leads, 1) < 0.05) * torch.randn(n, leads, 1) * 0.6 * step
    limit = torch.where(torch.rand(n, 1, 1) < 0.06, 0.7 + 1.5 * torch.rand(n, 1, 1), torch.full((1,), 20.0))
    return torch.minimum(torch.maximum(out, -limit), limit)


def displaced(signals: Tensor) -> Tensor:
    """Chest electrodes a little off their place: each chest lead takes up to a third of a neighbour's.

    Args:
        signals: mV, (n, 12, t).

    Returns:
        mV, (n, 12, t).
    """
    n = len(signals)
    chest = signals[:, 6:]
    after = torch.cat([chest[:, 1:], chest[:, -1:]], dim=1)
    before = torch.cat([chest[:, :1], chest[:, :-1]], dim=1)
    weight = (torch.rand(n, 1, 1) < 0.4) * 0.33 * torch.rand(n, 6, 1)
    toward = torch.where(torch.rand(n, 1, 1) < 0.5, after, before)
    # A lead that is missing lends nothing and gets nothing.
    there = (chest.abs().sum(2, keepdim=True) > 0) & (toward.abs().sum(2, keepdim=True) > 0)
    return torch.cat([signals[:, :6], chest + weight * there * (toward - chest)], dim=1)


def stretched(signals: Tensor) -> Tensor:
    """Heart rate and intervals up to 8 % faster or slower; what is missing at the end is mirrored.

    Args:
        signals: mV, (n, 12, t).

    Returns:
        mV, (n, 12, t).
    """
    n, _, samples = signals.shape
    factor = 1 + STRETCH * (2 * torch.rand(n, 1) - 1) * (torch.rand(n, 1) < 0.5)
    place = (torch.arange(samples)[None] * factor) / (samples - 1) * 2 - 1
    grid = torch.stack([place, torch.zeros_like(place)], dim=2)[:, None]
    moved = F.grid_sample(signals[:, :, None], grid, mode="bilinear", padding_mode="reflection", align_corners=True)
    return moved[:, :, 0]


def partly_shown(signals: Tensor, fs_hz: float) -> Tensor:
    """Leads lost, and pages: in a fifth of the batch each lead lasts for its column of 2.5 s, one strip for the whole.

    Args:
        signals: mV, (n, 12, t).
        fs_hz: Samples a second.

    Returns:
        mV, (n, 12, t), 0 where nothing is shown.
    """
    n, leads, samples = signals.shape
    keep = (torch.rand(n, leads, 1) > 0.03).float().expand(n, leads, samples).clone()
    keep[:, 6:] *= (torch.rand(n, 1, 1) > 0.03).float()
    quarter = round(2.5 * fs_hz)
    page = torch.zeros(leads, samples)
    for column, names in enumerate(PAGE_COLUMNS):
        for lead in names:
            page[lead, column * quarter : (column + 1) * quarter] = 1
    for i in torch.nonzero(torch.rand(n) < 0.2).flatten().tolist():
        shown = page.clone()
        if torch.rand(1) < 0.8:
            shown[STRIPS[int(torch.randint(0, len(STRIPS), (1,)))]] = 1
        keep[i] = shown
    return signals * keep
