"""Checkpoints whose tensors follow from their names (the recipe of the fixtures' READMEs), and files that are wrong."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.record import EcgRecord

FIXTURES = Path(__file__).parent / "fixtures" / "published"


def tensor_of(name: str, shape: tuple[int, ...]) -> Tensor:
    """The tensor that belongs to a name and a shape."""
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "num_batches_tracked":
        return torch.zeros(shape, dtype=torch.int64)
    seed = np.random.RandomState(zlib.crc32(name.encode()))
    x = seed.standard_normal(int(np.prod(shape, dtype=int))).reshape(shape)
    if leaf == "running_var":
        x = 0.5 + np.abs(x)
    elif leaf == "running_mean":
        x = 0.2 * x
    elif "embed" in leaf or leaf in ("cls_token", "mask_token", "mask_emb"):
        x = 0.3 * x
    elif len(shape) == 1:
        x = 1 + 0.1 * x if leaf.startswith("weight") else 0.1 * x
    elif leaf == "weight_g":
        x = 1 + 0.1 * x
    else:
        if len(shape) == 3 and shape[1] in (1, 12):
            x = 6 * (x - 0.9 * x.mean(axis=-1, keepdims=True))
        x = x * np.sqrt((2 if len(shape) == 3 else 1) / np.prod(shape[1:]))
    if name.endswith("conv3.conv.weight"):
        x = 0.25 * x
    return torch.from_numpy(np.asarray(x, dtype=np.float32))


def state_of(shapes: Mapping[str, Any]) -> dict[str, Tensor]:
    """A state dict from names and shapes."""
    return {name: tensor_of(name, tuple(shape)) for name, shape in shapes.items()}


def shapes_in(file: str) -> dict[str, Any]:
    """Names and shapes of a fixture."""
    shapes: dict[str, Any] = json.loads((FIXTURES / file).read_text())
    return shapes


def folders(root: Path) -> dict[str, Path]:
    """The four systems' folders or files as a user would have them, under `root`; two are made from their shapes."""
    import shutil

    merl, vit, more = root / "merl", root / "merl-vit", root / "more"
    shutil.copytree(FIXTURES / "merl", merl)
    vit.mkdir()
    shutil.copytree(FIXTURES / "merl" / "text_model", vit / "text_model")
    torch.save(state_of(shapes_in("merl/vit_tiny_shapes.json")), vit / "vit_tiny_best_ckpt.pth")
    shutil.copytree(FIXTURES / "more", more)
    torch.save(state_of(shapes_in("more/shapes.json")), more / "best_multimodel.pth")
    d_beta, founder = root / "d-beta", root / "ecgfounder"
    shutil.copytree(FIXTURES / "d-beta", d_beta)
    shutil.copytree(FIXTURES / "ecgfounder", founder)
    return {"merl": merl, "merl-vit": vit, "d-beta": d_beta, "ecgfounder": founder, "more": more}


def names_of(places: Mapping[str, Path]) -> dict[str, str]:
    """What `load_encoder` is given for each of them."""
    return {
        "merl": f"merl:{places['merl']}",
        "merl-vit": f"merl:{places['merl-vit']}",
        "d-beta": f"d-beta:{places['d-beta']}",
        "ecgfounder": f"ecgfounder:{places['ecgfounder'] / '12_lead_ECGFounder.pth'}",
        "ecgfounder-unfiltered": f"ecgfounder:{places['ecgfounder'] / '12_lead_ECGFounder.pth'}?filter=off",
        "more": f"more:{places['more']}?heads=4",
    }


@cache
def record(case: str) -> EcgRecord:
    """One of the stored signals; `sinus_5s_padded` is the first half of `sinus`."""
    stored = np.load(FIXTURES / "inputs.npz")
    samples = stored["sinus" if case == "sinus_5s_padded" else case]
    mv = np.where(samples == -32768, np.nan, samples / 1000.0)
    if case == "sinus_5s_padded":
        mv = mv[:, : mv.shape[1] // 2]
    return EcgRecord(mv.astype(np.float32), 100.0 if case == "lowrate" else 500.0, LEADS)


@cache
def expected(system: str) -> dict[str, Any]:
    """The stored outputs of a system."""
    return dict(np.load(FIXTURES / system.split("-vit")[0].split("-unf")[0] / "expected.npz"))


# Smallest tolerances that leave float32 four times the room it was seen to need; the fixtures' READMEs ask for 2e-5 on
# unit rows, 1e-4 on dot products and ECGFounder's features.
UNIT, UNIT_MORE, RAW, D_BETA, DOT, FOUNDER = 2e-6, 1e-6, 4e-5, 2e-5, 1e-4, 1e-4

Stage = Callable[[Any], "list[tuple[Any, Any]]"]


def stages(system: str) -> dict[str, tuple[float, Stage]]:
    """Stage -> (tolerance, function of the door that gives pairs of computed and stored arrays)."""
    want = expected(system)
    texts = [str(text) for text in want.get("prompts", ())]
    if system.startswith("merl"):
        return _merl_stages(want, texts, "vit_tiny" if system == "merl-vit" else "res18")
    if system == "d-beta":
        return _d_beta_stages(want, texts)
    if system == "more":
        return _more_stages(want, texts)
    return _founder_stages(want, system == "ecgfounder")


def deviations(door: Any, system: str, *, first: bool = False) -> dict[str, float]:
    """Stage -> largest deviation from what is stored, in tolerances; above 1 is wrong, also where shapes differ.

    Args:
        door: The encoder.
        system: Whose outputs it should give.
        first: Stop at the first stage that is wrong.
    """
    out: dict[str, float] = {}
    for stage, (tolerance, compute) in stages(system).items():
        worst = 0.0
        for mine, stored in compute(door):
            mine = np.asarray(mine)
            if mine.shape != np.shape(stored) or not np.isfinite(mine).all():
                worst = float("inf")
                break
            worst = max(worst, float(np.abs(mine.astype(np.float64) - stored).max()) / max(tolerance, 1e-300))
        out[stage] = worst
        if first and worst > 1:
            break
    return out


def inputs_of(door: Any, cases: Any) -> list[Any]:
    """Prepared samples of stored cases."""
    return [door.prepare(record(str(case))).samples for case in cases]


def batch_of(door: Any, cases: Any) -> Tensor:
    """The same as one batch."""
    return torch.from_numpy(np.stack(inputs_of(door, cases)))


def _records(cases: Any) -> list[EcgRecord]:
    return [record(str(case)) for case in cases]


@torch.inference_mode()
def _run(work: Callable[[], Tensor]) -> Any:
    return work().numpy()


def _merl_stages(want: dict[str, Any], texts: list[str], kind: str) -> dict[str, tuple[float, Stage]]:
    cases = want["cases"]
    stored = {name.removeprefix(f"{kind}__"): value for name, value in want.items()}

    def backbone(door: Any) -> list[tuple[Any, Any]]:
        made = _run(lambda: door.network.backbone(batch_of(door, cases)))
        return [(made if kind == "vit_tiny" else made[:, :, ::16], stored["backbone"])]

    def narrowed(door: Any) -> list[tuple[Any, Any]]:
        x = batch_of(door, cases)
        return [(_run(lambda: door.network.narrow(door.network.backbone(x)))[:, :, ::16], stored["downconv"])]

    def pooler(door: Any) -> list[tuple[Any, Any]]:
        ids, mask = door.text_folder.padded(texts, 256)
        made = _run(lambda: door.network.pooled_words(torch.from_numpy(ids), torch.from_numpy(mask)))
        return [(made, stored["text_pooler"])]

    table: dict[str, tuple[float, Stage]] = {
        "input": (
            1e-6,
            lambda door: [
                (x[:, ::25], want[f"prep__{case}"]) for x, case in zip(inputs_of(door, cases), cases, strict=True)
            ],
        ),
        "backbone": (RAW, backbone),
        "ecg_raw": (RAW, lambda door: [(door.raw_records(_records(cases)), stored["ecg_raw"])]),
        "ecg": (UNIT, lambda door: [(door.encode_records(_records(cases)), stored["ecg"])]),
        "input_ids": (0.0, lambda door: [(door.text_folder.padded(texts, 256)[0], want["input_ids"])]),
        "text_pooler": (RAW, pooler),
        "text_raw": (RAW, lambda door: [(door.raw_texts(texts), stored["text_raw"])]),
        "text": (UNIT, lambda door: [(door.encode_texts(texts), stored["text"])]),
        "similarity": (
            UNIT,
            lambda door: [(door.encode_records(_records(cases)) @ door.encode_texts(texts).T, stored["similarity"])],
        ),
    }
    if kind == "res18":
        table["downconv"] = (RAW, narrowed)
    return table


def _d_beta_stages(want: dict[str, Any], texts: list[str]) -> dict[str, tuple[float, Stage]]:
    cases = want["cases"]

    def conv(door: Any) -> list[tuple[Any, Any]]:
        return [(_run(lambda: door.network.convolve(batch_of(door, cases)))[:, :, ::8], want["conv"])]

    def embedded(door: Any) -> Tensor:
        steps: Tensor = door.network.embed(door.network.convolve(batch_of(door, cases)))
        return steps

    def last_hidden(door: Any) -> list[tuple[Any, Any]]:
        pairs = []
        for text, row in zip(texts, want["text_last_hidden"], strict=True):
            ids, mask = door.text_folder.padded([text.lower()], None)
            made = _run(partial(door.network.text_tokens, torch.from_numpy(ids), torch.from_numpy(mask)))
            pairs.append((made[0, 0], row))
        return pairs

    def encoded(door: Any) -> Tensor:
        tokens: Tensor = door.network.encode(embedded(door))
        return tokens

    def dot(door: Any) -> Any:
        return door.raw_records(_records(cases)) @ door.raw_texts(texts).T

    def cosine(door: Any) -> Any:
        return door.encode_records(_records(cases)) @ door.encode_texts(texts).T

    return {
        "conv": (D_BETA, conv),
        "embeddings": (D_BETA, lambda d: [(_run(lambda: embedded(d))[:, ::8], want["embeddings"])]),
        "encoder": (D_BETA, lambda d: [(_run(lambda: encoded(d))[:, ::8], want["encoder"])]),
        "projected": (
            D_BETA,
            lambda d: [(_run(lambda: d.network.ecg_project(encoded(d)))[:, 0], want["projected"])],
        ),
        "ecg": (D_BETA, lambda d: [(d.raw_records(_records(cases)), want["ecg"])]),
        "ids": (
            0.0,
            lambda d: [(d.text_folder.ids([t.lower()])[0], want[f"ids_{n}"]) for n, t in enumerate(texts)],
        ),
        "text_last_hidden": (D_BETA, last_hidden),
        "text": (D_BETA, lambda d: [(d.raw_texts(texts), want["text"])]),
        "similarity_dot": (DOT, lambda d: [(dot(d), want["similarity_dot"])]),
        "similarity_cos": (D_BETA, lambda d: [(cosine(d), want["similarity_cos"])]),
        "five_seconds": (
            D_BETA,
            lambda d: [(d.raw_records([record("sinus_5s_padded")]), want["ecg_sinus_first_5s"])],
        ),
        "missing": (D_BETA, lambda d: [(d.raw_records([record("nan")]), want["ecg_nan_case_nan_as_0"])]),
    }


def _founder_stages(want: dict[str, Any], filtered: bool) -> dict[str, tuple[float, Stage]]:
    rule = "filtered" if filtered else "unfiltered"
    cases = want["cases"][:4] if filtered else ["sinus", "wander", "flat", "lowrate"]

    def linspace(door: Any) -> list[tuple[Any, Any]]:
        x = torch.linspace(-1, 1, 60000).view(1, 12, 5000)
        return [(_run(lambda: door.network.logits(x)), want["logits_linspace"])]

    def stage(number: int) -> Stage:
        def compute(door: Any) -> list[tuple[Any, Any]]:
            def run() -> Tensor:
                x = torch.nn.functional.silu(door.network.stem(batch_of(door, cases)))
                for blocks in door.network.stages[: number + 1]:
                    for block in blocks:
                        x = block(x)
                return x

            made = _run(run)
            step = max(1, made.shape[2] // 20)
            return [(made[:, ::4, ::step], want[f"stage{number}"])]

        return compute

    def stem(door: Any) -> list[tuple[Any, Any]]:
        made = _run(lambda: torch.nn.functional.silu(door.network.stem(batch_of(door, cases))))
        return [(made[:, ::4, ::50], want["stem"])]

    table: dict[str, tuple[float, Stage]] = {
        "input": (
            3e-5,
            lambda d: [
                (x[:, ::25], want[f"prep_{rule}__{case}"]) for x, case in zip(inputs_of(d, cases), cases, strict=True)
            ],
        ),
        "features": (FOUNDER, lambda d: [(d.raw_records(_records(cases)), want[f"features_{rule}"])]),
        "unit": (
            UNIT,
            lambda d: [(d.encode_records(_records(cases)), unit(want[f"features_{rule}"]))],
        ),
        "logits": (FOUNDER, lambda d: [(d.logits(_records(cases)), want[f"logits_{rule}"])]),
        "linspace": (FOUNDER, linspace),
    }
    if filtered:
        table["stem"] = (FOUNDER, stem)
        table |= {f"stage{number}": (FOUNDER, stage(number)) for number in range(7)}
    return table


def _more_stages(want: dict[str, Any], texts: list[str]) -> dict[str, tuple[float, Stage]]:
    cases = want["cases"]

    def mean(door: Any) -> list[tuple[Any, Any]]:
        ids, mask = door.text_folder.padded(texts, 128)
        made = _run(lambda: door.network.mean_words(torch.from_numpy(ids), torch.from_numpy(mask)))
        return [(made, want["text_mean"])]

    return {
        "input": (
            1e-6,
            lambda d: [(x[:, ::5], want[f"prep__{case}"]) for x, case in zip(inputs_of(d, cases), cases, strict=True)],
        ),
        "patches": (
            RAW,
            lambda d: [(_run(lambda: d.network.vit.patches(batch_of(d, cases)))[:, ::14], want["patches"])],
        ),
        "vit": (RAW, lambda d: [(_run(lambda: d.network.vit(batch_of(d, cases))), want["vit"])]),
        "ecg_raw": (RAW, lambda d: [(d.raw_records(_records(cases)), want["ecg_raw"])]),
        "ecg": (UNIT_MORE, lambda d: [(d.encode_records(_records(cases)), want["ecg"])]),
        "input_ids": (0.0, lambda d: [(d.text_folder.padded(texts, 128)[0], want["input_ids"])]),
        "text_mean": (RAW, mean),
        "text_raw": (RAW, lambda d: [(d.raw_texts(texts), want["text_raw"])]),
        "text": (UNIT_MORE, lambda d: [(d.encode_texts(texts), want["text"])]),
        "similarity": (
            UNIT_MORE,
            lambda d: [(d.encode_records(_records(cases)) @ d.encode_texts(texts).T, want["similarity"])],
        ),
    }


def unit(rows: Any) -> Any:
    """Rows scaled to length 1."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
