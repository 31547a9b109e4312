"""Trainings that a comparison plans: read, run, gone on with, told apart by their settings, shown with their cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ecgkin.generation.research.mini.settings import MiniSettings
from ecgkin.generation.research.retrieval.arm_weights import image_stage, trained_fingerprint
from ecgkin.generation.research.study.report.tables import training_table
from ecgkin.generation.research.study.settings import StudySettings, load_study
from ecgkin.generation.research.study.tasks import _over_seeds
from ecgkin.generation.research.study.trainings import plan, read_training, train_missing
from ecgkin.retrieval.encoders.training.settings import TrainSettings
from ecgkin.retrieval.errors import InputError, ModelError, QueryError, WeightsMissingError

_SHIPPED = Path(__file__).parents[3] / "scripts"


def _config(folder: Path, name: str, **settings: Any) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps({"stage": name, "out": str(folder / name), **settings}))
    return path


def _tiny(folder: Path) -> Path:
    return _config(folder, "signal", architecture="test", epochs=1, batch=16, precision="fp32", threads=1, device="cpu")


def test_the_stage_says_of_which_kind_a_training_is(tmp_path: Path) -> None:
    assert isinstance(read_training(_config(tmp_path, "mini")), MiniSettings)
    signal = read_training(_config(tmp_path, "signal"), seed=3)
    assert isinstance(signal, TrainSettings) and signal.seed == 3
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(InputError, match="settings"):
        read_training(tmp_path / "list.yaml")
    with pytest.raises(InputError, match="absent"):
        read_training(tmp_path / "absent.yaml")


def test_plans_that_cannot_work_are_refused(tmp_path: Path) -> None:
    path = _config(tmp_path, "signal")
    with pytest.raises(QueryError, match="no file"):
        plan([{"config": str(tmp_path / "absent.yaml")}])
    with pytest.raises(QueryError, match="same folder"):
        plan([{"config": str(path)}, {"config": str(path), "seed": 1}])
    with pytest.raises(QueryError, match="stage 'text'"):
        plan([{"config": str(path), "stage": "text", "image": "a", "join": "b"}])
    with pytest.raises(QueryError, match="epochz"):
        plan([{"config": str(path), "epochz": 1}])
    with pytest.raises(QueryError, match="config"):
        StudySettings(out="x", tasks={"map": {}}, train=({"seed": 1},))


def test_the_shipped_study_finds_its_trainings() -> None:
    study = load_study(_SHIPPED / "research" / "study.yaml")
    planned = plan(study.train)
    folders = {item.settings.out for item in planned}
    named = {arm.partition(":")[2] for arm in study.arms if arm.partition(":")[0] in ("paper", "fields", "signal")}
    assert named <= folders and study.tasks["mini"]["without"].removesuffix("/mini") in folders
    pair = [i.settings.recipe() for i in planned if i.settings.stage == "image"]
    assert [p["picture"] for p in pair] == ["paper", "fields"]
    assert len({json.dumps({**p, "picture": ""}, sort_keys=True) for p in pair}) == 1, "the same budget"


@pytest.mark.slow
def test_what_is_missing_is_trained_once(made_ptbxl: Path, tmp_path: Path) -> None:
    path = _tiny(tmp_path)
    # Stopped after one step, then gone on with to its end.
    assert train_missing_stops(path, made_ptbxl)
    first = train_missing(plan([{"config": str(path)}]), made_ptbxl)
    assert first[0]["steps"] >= 2 and first[0]["cpu_seconds"] > 0 and first[0]["figures"]
    targets = tmp_path / "signal" / "targets.npz"
    made, seen = targets.stat().st_mtime_ns, trained_fingerprint(f"signal:{tmp_path / 'signal'}")
    assert seen and trained_fingerprint("random") == trained_fingerprint(f"signal:{tmp_path}") == ""
    assert train_missing(plan([{"config": str(path)}]), made_ptbxl) == first
    assert targets.stat().st_mtime_ns == made, "a finished training is taken as it is"
    with pytest.raises(QueryError, match=r"seed 0 \(asked 5\)"):
        train_missing(plan([{"config": str(path), "seed": 5}]), made_ptbxl)
    # How fast is not what.
    assert train_missing(plan([{"config": str(path), "threads": 2}]), made_ptbxl) == first
    text = "\n".join(training_table(first))
    assert "| signal | 0 | 1 |" in text and training_table([]) == []


def train_missing_stops(path: Path, data: Path) -> bool:
    with pytest.raises(QueryError, match="before its end"):
        train_missing(plan([{"config": str(path), "max_steps": 1}]), data)
    return (path.parent / "signal" / "checkpoint.pt").is_file()


def test_an_arm_that_is_not_finished_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissingError, match="no finished"):
        image_stage(tmp_path, "paper")
    (tmp_path / "image.json").write_text(json.dumps({"settings": {"picture": "paper"}, "finished": False}))
    with pytest.raises(ModelError, match="before its end"):
        image_stage(tmp_path, "paper")


def test_arms_that_differ_in_their_seed_are_averaged() -> None:
    from ecgkin.generation.research.retrieval.report import HEADLINE

    arms = ("paper:runs/pair", "paper:runs/pair-1", "untrained:1", "untrained:2", "untrained:3", "fields:runs/pair")
    found = _over_seeds({arm: dict.fromkeys(HEADLINE, float(i)) for i, arm in enumerate(arms)})
    assert {name: v[HEADLINE[0]]["seeds"] for name, v in found.items()} == {"paper:runs/pair": 2, "untrained": 3}
    assert found["paper:runs/pair"][HEADLINE[0]]["mean"] == 0.5 and found["untrained"][HEADLINE[0]]["mean"] == 3.0
