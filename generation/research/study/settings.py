"""`ecgkin evaluate run CONFIG`: the settings of a whole comparison in one YAML file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from ecgkin.generation.research.retrieval.arms import ENCODER, check_arm
from ecgkin.retrieval.errors import InputError, QueryError, why

# In the order in which they are run and reported.
TASKS: tuple[str, ...] = (
    "retrieval", "part", "vote", "cross_modal", "aligned", "zero_shot", "text_search", "photo_identity", "robustness",
    "out_of_domain", "printouts", "map", "drafts", "mini", "ecgbench",
)  # fmt: skip
# Tasks that ask pictures alone: another text tower leaves their figures where they are.
WORDLESS: frozenset[str] = frozenset(
    {"retrieval", "part", "vote", "aligned", "photo_identity", "robustness", "out_of_domain", "printouts", "map"}
)
# Options that a task knows, besides none at all.
OPTIONS: Mapping[str, frozenset[str]] = {
    "retrieval": frozenset({"pairs"}),
    "part": frozenset({"arms", "limit", "pairs"}),
    "aligned": frozenset({"arms", "pairs"}),
    "robustness": frozenset({"limit", "damages", "strengths"}),
    "out_of_domain": frozenset({"root", "limit", "pages"}),
    "printouts": frozenset({"root"}),
    "photo_identity": frozenset({"limit"}),
    "map": frozenset({"limit"}),
    "drafts": frozenset({"arms", "limit"}),
    "mini": frozenset({"arms", "limit", "model", "without"}),
    "ecgbench": frozenset({"files", "rebuild", "limit", "models", "base", "k"}),
}


@dataclass(frozen=True, slots=True)
class StudySettings:
    """One comparison.

    Attributes:
        out: Folder for report.md, report.json, figures, run files; a run that was stopped goes on with the next task.
        tasks: Name to options, some of `TASKS`.
        train: Trainings whose results the arms need: each a mapping with `config`, a training's YAML file (relative to
            the study's own file), and settings in place of that file's. Those that ended before are taken as they are.
        arms: Of the retrieval task, the first one is what the others are tested against.
        encoder, device: What the other tasks look through.
        ptbxl: Folder; "" takes the environment variable ECGKIN_PTBXL.
        cache: Folder of embeddings; "" takes `out`/cache.
        query_folds, gallery_folds: PTB-XL folds.
        limit: At most this many gallery records and a quarter as many queries (0: all); for trials.
        resamples: Of every bootstrap, over patients.
        permutations: Of every permutation test.
        figures: Whether pictures are drawn (needs matplotlib).
    """

    out: str
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    train: tuple[dict[str, Any], ...] = ()
    arms: tuple[str, ...] = (ENCODER, "log-spectrum", "constant list", "random")
    encoder: str = "default"
    device: str = "cpu"
    ptbxl: str = ""
    cache: str = ""
    query_folds: tuple[int, ...] = (9,)
    gallery_folds: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8)
    limit: int = 0
    resamples: int = 1_000
    permutations: int = 9_999
    figures: bool = True

    def __post_init__(self) -> None:
        for name in ("query_folds", "gallery_folds"):
            object.__setattr__(self, name, tuple(int(f) for f in getattr(self, name)))
        object.__setattr__(self, "arms", tuple(self.arms))
        if not all(isinstance(entry, Mapping) and "config" in entry for entry in self.train):
            raise QueryError(f"train is {list(self.train)} (expected a list of mappings with `config`)")
        object.__setattr__(self, "train", tuple(dict(entry) for entry in self.train))
        tasks = self.tasks if isinstance(self.tasks, Mapping) else dict.fromkeys(self.tasks)
        object.__setattr__(self, "tasks", {name: dict(options or {}) for name, options in tasks.items()})
        unknown = [name for name in self.tasks if name not in TASKS]
        if unknown or not self.tasks:
            raise QueryError(f"tasks are {list(self.tasks)} (expected some of {', '.join(TASKS)})")
        for name, options in self.tasks.items():
            wrong = sorted(set(options) - OPTIONS.get(name, frozenset()))
            if wrong:
                raise QueryError(f"task {name} has no options {wrong} (expected {sorted(OPTIONS.get(name, ()))})")
        for name in ("retrieval", "part", "aligned"):
            options = self.tasks.get(name, {})
            arms = tuple(options.get("arms", self.arms[:1] if name == "aligned" else self.arms))
            for arm in arms:
                check_arm(arm)
            pairs = options.get("pairs", ())
            if any(len(pair) != 2 or not set(pair) <= set(arms) for pair in pairs):
                raise QueryError(f"pairs of {name} are {list(pairs)} (expected pairs of its arms {list(arms)})")
        if set(self.query_folds) & set(self.gallery_folds):
            raise QueryError(f"folds {sorted(set(self.query_folds) & set(self.gallery_folds))} are on both sides")

    def key(self, task: str) -> str:
        """Hash over what decides a task's figures."""
        content = {
            k: v
            for k, v in asdict(self).items()
            if k not in ("out", "cache", "tasks", "train", "figures", "arms", "ptbxl")
        }
        content |= {
            "task": task,
            "options": self.tasks[task],
            "arms": self.arms if task in ("retrieval", "vote") else (),
        }
        return blake2b(json.dumps(content, sort_keys=True, default=str).encode(), digest_size=8).hexdigest()


def load_study(path: Path, **overrides: Any) -> StudySettings:
    """Read a YAML file of `StudySettings`.

    Raises:
        InputError: The file cannot be read or is no YAML mapping.
        QueryError: A name is unknown or a value cannot be used.
    """
    import yaml

    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(
            f"{path} is not there (expected the YAML file of a comparison)",
            hint="scripts/research/quick.yaml is one to begin with",
        ) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"cannot read {path}: {why(error)}") from error
    if not isinstance(raw, dict):
        raise InputError(f"{path} holds no settings (expected 'name: value' lines)")
    given = {**raw, **overrides}
    unknown = sorted(set(given) - {f.name for f in fields(StudySettings)})
    if unknown:
        raise QueryError(f"{path} sets {', '.join(unknown)}, which are no settings of `ecgkin evaluate run`")
    try:
        study = StudySettings(**given)
        beside = [{**entry, "config": str(path.parent / str(entry["config"]))} for entry in study.train]
        return replace(study, train=tuple(beside))
    except (TypeError, ValueError) as error:
        raise QueryError(f"{path}: {error}") from error
