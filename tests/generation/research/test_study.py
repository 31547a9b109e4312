"""Arms, comparisons, zero-shot, fields, damages, foreign databases, and the run that puts them into one report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgkin.generation.research.retrieval import compare
from ecgkin.generation.research.retrieval.aligned import aligned_tests, evaluate_aligned
from ecgkin.generation.research.retrieval.arms import (
    N_FEATURES,
    ArmSetting,
    arm_neighbours,
    check_arm,
    feature_vectors,
    hand_made,
)
from ecgkin.generation.research.retrieval.galleries import Embedder
from ecgkin.generation.research.retrieval.labels import default_space
from ecgkin.generation.research.retrieval.out_of_domain import (
    class_names,
    embed_foreign,
    evaluate_out_of_domain,
    foreign_records,
    gallery_truth,
    home_aucs,
    statement_classes,
)
from ecgkin.generation.research.retrieval.ranking import Neighbours, nearest, unit_rows
from ecgkin.generation.research.retrieval.robustness import ALL_DAMAGES, damaged_page, evaluate_robustness
from ecgkin.generation.research.retrieval.zero_shot import (
    GROUPS,
    class_texts,
    evaluate_zero_shot,
    group_labels,
    group_truth,
)
from ecgkin.generation.research.study.report.tables import cell
from ecgkin.generation.research.study.settings import StudySettings, load_study
from ecgkin.generation.research.study.study import run_study
from ecgkin.retrieval.ecg.formats.ptbxl import PtbXl
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.ecg.statements.catalogue import STATEMENTS
from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.retrieval.encoders.training.fields import (
    angular_field,
    averaged,
    field_map,
    recurrence_plot,
    training_field_map,
    transition_field,
)
from ecgkin.retrieval.errors import InputError, ModelError, QueryError, WeightsMissingError
from ecgkin.retrieval.search.vote import VoteRule


@pytest.fixture(scope="module")
def data(made_ptbxl: Path) -> PtbXl:
    return PtbXl(made_ptbxl, fs_hz=None)


@pytest.fixture(scope="module")
def setting(data: PtbXl, tmp_path_factory: pytest.TempPathFactory) -> ArmSetting:
    embedder = Embedder(data, HashingEncoder(), tmp_path_factory.mktemp("arms"))
    return ArmSetting(embedder, data.select([9]), data.select(range(1, 9)))


@pytest.mark.parametrize("arm", ["encoder", "features", "log-spectrum", "report bm25", "constant list", "random"])
def test_every_arm_ranks_the_same_gallery(arm: str, setting: ArmSetting) -> None:
    if arm == "report bm25":
        pytest.importorskip("bm25s")
    found = arm_neighbours(arm, setting, 12)
    assert found.rows.shape == (len(setting.queries), 12)
    for row in found.rows:
        assert len(set(row.tolist())) == 12 and row.min() >= 0 and row.max() < len(setting.gallery)
    assert (np.diff(found.scores, axis=1) <= 1e-6).all()


def test_text_arms_find_equal_reports_first(data: PtbXl, setting: ArmSetting) -> None:
    pytest.importorskip("bm25s")
    # The gallery asks itself: an equal report of another patient comes before all that are not equal.
    same = ArmSetting(setting.embedder, setting.gallery, setting.gallery)
    found = arm_neighbours("report bm25", same, 5)
    texts = [row.report for row in setting.gallery]
    for i, rows in enumerate(found.rows):
        assert i not in rows, "the query's own patient is never found"
        others = [j for j in range(len(texts)) if j != i and texts[j] == texts[i]]
        if others:
            assert texts[rows[0]] == texts[i]


def test_arms_that_do_not_exist_are_refused(setting: ArmSetting, tmp_path: Path) -> None:
    for name in ("encoders", "untrained", "untrained:x", "signal:"):
        with pytest.raises(QueryError, match="arm is"):
            check_arm(name)
    for name in (f"signal:{tmp_path}", f"fields:{tmp_path}"):
        with pytest.raises(WeightsMissingError):
            arm_neighbours(name, setting)


def test_signal_vectors_are_taken_by_record(data: PtbXl, setting: ArmSetting, tmp_path: Path) -> None:
    ids = np.array([row.ecg_id for row in data.rows][::-1])
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((len(ids), 8)).astype(np.float16)
    np.savez(tmp_path / "targets.npz", ecg_ids=ids, vectors=vectors)
    found = arm_neighbours(f"signal:{tmp_path}", setting, 3)
    at = {int(e): i for i, e in enumerate(ids)}
    own = unit_rows(vectors[at[setting.queries[0].ecg_id]][None].astype(np.float32))
    near = unit_rows(vectors[[at[row.ecg_id] for row in setting.gallery]].astype(np.float32))
    assert found.rows[0, 0] == int((near @ own[0]).argmax())
    np.savez(tmp_path / "targets.npz", ecg_ids=ids[:5], vectors=vectors[:5])
    with pytest.raises(QueryError, match="lacks"):
        arm_neighbours(f"signal:{tmp_path}", setting, 3)


def test_hand_made_features_measure_what_was_drawn(made_record: EcgRecord) -> None:
    pytest.importorskip("neurokit2")
    values = hand_made(made_record)
    assert values.shape == (N_FEATURES,) and np.isfinite(values).all()
    assert values[0] == pytest.approx(75, abs=1) and values[1] < 0.02
    at = 5 + 2 * 12  # R peaks in the standard order of leads
    assert values[at + 1] == pytest.approx(1.1, abs=0.1) and values[at + 10] == pytest.approx(1.4, abs=0.12)
    flat = EcgRecord(np.zeros((12, 5000), np.float32), 500.0, made_record.leads)
    assert np.isnan(hand_made(flat)[:4]).all()
    gallery, queries = feature_vectors(
        np.stack([values, values * 2]).astype(np.float32), values[None].astype(np.float32)
    )
    assert np.isfinite(gallery).all() and queries.shape == (1, N_FEATURES)


def test_fields_are_those_of_their_papers() -> None:
    # By hand: cos(arccos a + arccos b) = ab - sqrt(1-a^2) sqrt(1-b^2).
    x = np.array([-1.0, 0.0, 1.0])
    np.testing.assert_allclose(angular_field(x), [[1, 0, -1], [0, -1, 0], [-1, 0, 1]], atol=1e-12)
    np.testing.assert_allclose(np.diag(angular_field(x)), np.cos(2 * np.arccos(x)), atol=1e-12)
    y = np.sin(np.linspace(0, 12, 40))
    plot = recurrence_plot(y)
    assert (plot == plot.T).all() and (np.diag(plot) == 1).all() and plot.mean() == pytest.approx(0.2, abs=0.05)
    field = transition_field(np.array([0.0, 3.0, 1.0, 2.0, 4.0]), bins=2)
    # Bins 0 1 0 0 1 about the median; from the low one once to itself and twice up, from the high one down.
    np.testing.assert_allclose(field[0], [1 / 3, 2 / 3, 1 / 3, 1 / 3, 2 / 3])
    np.testing.assert_allclose(field[1], [1, 0, 1, 1, 0])
    np.testing.assert_allclose(averaged(np.arange(6.0), 3), [0.5, 2.5, 4.5])


@given(st.floats(0.2, 5.0), st.floats(-2.0, 2.0))
@settings(max_examples=10, deadline=None)
def test_fields_do_not_mind_gain_and_offset(gain: float, offset: float) -> None:
    rng = np.random.default_rng(3)
    x = np.cumsum(rng.standard_normal(50))
    for encode in (angular_field, transition_field):
        np.testing.assert_allclose(encode(gain * x + offset), encode(x), atol=1e-6)


def test_a_map_of_fields_has_a_place_for_every_lead(made_record: EcgRecord) -> None:
    full = field_map(made_record)
    assert full.shape == (3, 256, 512) and full.dtype == np.uint8
    signal = np.array(made_record.signal_mv)
    signal[11] = np.nan
    less = field_map(replace(made_record, signal_mv=signal))
    changed = np.argwhere(full != less)
    assert (less[tuple(changed.T)] == 0).all()
    # Lead V6 has the last place, in each of the three channels.
    assert changed.min(axis=0).tolist() == [0, 2 * 85, 86 + 3 * 85] and changed[:, 0].max() == 2
    rng = np.random.default_rng(0)
    assert (training_field_map(made_record, rng) != full).any()


@pytest.mark.slow
@pytest.mark.parametrize("picture", ["fields", "paper"])
def test_the_image_stage_learns_from_both_kinds_of_picture(
    picture: str, made_ptbxl: Path, tmp_path: Path, setting: ArmSetting
) -> None:
    from ecgkin.retrieval.encoders.training import run_stage
    from ecgkin.retrieval.encoders.training.settings import TrainSettings

    ids = np.array([row.ecg_id for row in PtbXl(made_ptbxl, fs_hz=None).rows])
    rng = np.random.default_rng(0)
    from ecgkin.retrieval.encoders.model import Architecture

    teacher = tmp_path / "signal"
    teacher.mkdir()
    dim = Architecture.load("test").dim
    np.savez(
        teacher / "targets.npz", ecg_ids=ids, vectors=rng.standard_normal((len(ids), dim)).astype(np.float16),
        logits=rng.standard_normal((len(ids), 76)).astype(np.float16),
    )  # fmt: skip
    out = tmp_path / picture
    run_stage(
        TrainSettings(stage="image", out=str(out), architecture="test", epochs=1, batch=8, workers=0, precision="fp32",
                      threads=1, teacher=str(teacher), picture=picture),
        made_ptbxl,
    )  # fmt: skip
    found = arm_neighbours(f"{picture}:{out}", setting, 5)
    assert found.rows.shape == (len(setting.queries), 5) and np.isfinite(found.scores).all()
    with pytest.raises(ModelError, match="trained on"):
        arm_neighbours(f"{'paper' if picture == 'fields' else 'fields'}:{out}", setting, 5)
    with pytest.raises(QueryError, match="picture"):
        TrainSettings(stage="signal", out="x", picture="oil")


def test_paired_tests_agree_with_what_is_known() -> None:
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(100), 2)
    a = rng.random(200)
    assert compare.permutation_p(a, a, patients, 99) == 1.0
    assert compare.permutation_p(a + 1, a, patients, 499) == pytest.approx(2 / 500)
    noise = compare.permutation_p(a, rng.permutation(a), patients, 999)
    assert noise > 0.01
    # One patient with many queries is one witness, whatever their number.
    lonely = np.zeros(200)
    lonely[:150] = 1.0
    assert compare.permutation_p(lonely, np.zeros(200), np.r_[np.zeros(150, int), 1 + np.arange(50)], 199) == 1.0


def test_success_at_k_by_hand() -> None:
    pytest.importorskip("ir_measures")
    truth = np.array([[1, 0], [0, 1], [1, 1]], dtype=bool)
    known = np.array([[0, 1], [1, 0], [1, 0]], dtype=bool)
    found = Neighbours(np.array([[0, 1, 2], [0, 1, 2], [0, 1, 2]]), np.zeros((3, 3), np.float32))
    values = compare.ranking_measures(found, truth, known)
    # The third query has no equal set in the gallery and is left out; ranks are 2 and 1.
    assert values["Success@1"] == pytest.approx(0.5) and values["Success@2"] == 1.0
    assert values["RR"] == pytest.approx(0.75) and values["P@10"] == pytest.approx((0.2 + 0.1) / 2)


def test_abstaining_keeps_the_nearest() -> None:
    truth = np.array([[1], [0], [1], [0]], dtype=bool)
    votes = np.array([[0.9], [0.1], [0.1], [0.9]])
    curve = compare.abstention_curve(truth, votes, np.array([0.9, 0.8, 0.2, 0.1]), (1.0, 0.5))
    assert curve == {1.0: 0.5, 0.5: 1.0}


class Knows(HashingEncoder):
    """An encoder whose words and pictures are the one-hot statements themselves."""

    def encode_texts(self, texts: Any) -> Any:
        out = np.zeros((len(texts), 71), np.float32)
        for i, text in enumerate(texts):
            for j, s in enumerate(STATEMENTS):
                out[i, j] = float(text in s.terms("en"))
        return unit_rows(out)


def test_zero_shot_of_an_encoder_that_knows(data: PtbXl) -> None:
    rows = data.rows
    vectors = unit_rows(default_space().statements([row.labels for row in rows]).astype(np.float32))
    results = evaluate_zero_shot(Knows(), vectors, rows, weights=np.ones((3, len(rows)), np.float32))
    assert {(r.group, r.prompts) for r in results} >= {("superclass", "terms"), ("rhythm", "name")}
    for r in results:
        assert r.n == int(group_truth(r.group, rows).any(axis=1).sum())
        if r.prompts == "name" and r.group in ("form", "rhythm"):
            assert r.macro.value == pytest.approx(1.0)
    assert [len(group_labels(g)) for g in GROUPS] == [5, 23, 19, 12]
    assert class_texts("subclass", "name")["LVH"] == ("left ventricular hypertrophy",)


@pytest.mark.parametrize("damage", ALL_DAMAGES)
def test_damages_grow_with_their_strength(damage: str, made_record: EcgRecord) -> None:
    weak, strong = (damaged_page(made_record, damage, s) for s in (1, 5))
    assert np.array_equal(np.asarray(weak), np.asarray(damaged_page(made_record, damage, 1)))
    assert weak.size != strong.size or (np.asarray(weak) != np.asarray(strong)).any()
    with pytest.raises(QueryError):
        damaged_page(made_record, damage, 6)


def test_robustness_has_a_point_for_each_strength(setting: ArmSetting) -> None:
    points = evaluate_robustness(
        setting.embedder, setting.queries, setting.gallery, damages=["JPEG"], strengths=[1, 5], resamples=10
    )
    assert [(p.damage, p.strength) for p in points] == [("none", 0), ("JPEG", 1), ("JPEG", 5)]
    assert all(0 <= p.recall_1.value <= 1 for p in points)


def _foreign(root: Path) -> None:
    (root / "dx_mapping_scored.csv").write_text("Dx,SNOMEDCTCode,Abbreviation\natrial fibrillation,164889003,AF\n")
    (root / "dx_mapping_unscored.csv").write_text("Dx,SNOMEDCTCode,Abbreviation\nodd thing,1,OT\n")
    for name, codes in (
        ("one/A1", "59118001"),
        ("one/A2", "164889003,1"),
        ("one_100hz/A1", "1"),
        ("two/B1", "426783006"),
    ):
        path = root / f"{name}.hea"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{path.stem} 12 500 5000\n#Age: 60\n# Dx: {codes}\n")


def test_foreign_codes_are_put_together(tmp_path: Path, data: PtbXl) -> None:
    _foreign(tmp_path)
    records = foreign_records(tmp_path)
    assert [(r.database, r.record_id) for r in records] == [("one", "A1"), ("one", "A2"), ("two", "B1")]
    assert records[0].codes == {"713427006"}, "right bundle branch block is the complete one"
    assert class_names(tmp_path)["164889003"] == "atrial fibrillation"
    classes = statement_classes()
    assert "NORM" in classes["426783006"] and classes["164889003"] == ("AFIB",)
    truth = gallery_truth(data.rows, ["426783006"])
    assert truth[:, 0].tolist() == [bool({"SR", "NORM"} & set(row.labels)) for row in data.rows]
    with pytest.raises(QueryError):
        foreign_records(tmp_path, databases=["three"])


def test_foreign_records_are_asked_as_samples_or_as_pages(tmp_path: Path, made_ptbxl: Path) -> None:
    _foreign(tmp_path)
    source = next(made_ptbxl.rglob("*.hea"))
    for end in (".hea", ".dat"):
        text = source.with_suffix(end).read_bytes()
        (tmp_path / "one" / f"{source.stem}{end}").write_bytes(text + (b"#Dx: 426783006\n" if end == ".hea" else b""))
    records = foreign_records(tmp_path, databases=["one"])
    encoder = HashingEncoder()
    vectors, refusals = embed_foreign(encoder, records)
    # Two headers have no samples beside them.
    assert [bool(w) for w in refusals] == [False, True, True] and "Error" in refusals[1]
    assert (np.linalg.norm(vectors, axis=1).round(3) == [1, 0, 0]).all()
    pages, _ = embed_foreign(encoder, records[:1], pages=True)
    assert np.linalg.norm(pages) == pytest.approx(1, abs=1e-3)


def test_classes_are_measured_at_home_too(data: PtbXl) -> None:
    codes = ["426783006", "164889003", "713427006"]
    rows = data.rows
    truth = gallery_truth(rows, codes)
    # Cases lie by their classes alone, so the nearest five (of other patients) say what a query has.
    places = np.concatenate([truth, ~truth.any(axis=1, keepdims=True)], axis=1)
    vectors = unit_rows(places + 0.01 * np.random.default_rng(1).standard_normal(places.shape))
    found = home_aucs(vectors, rows, vectors, rows, codes, VoteRule(5, 0.05))
    for i, code in enumerate(codes):
        n = int(truth[:, i].sum())
        assert np.isnan(found[code]) if n in (0, len(rows)) else n < 6 or found[code] > 0.9
    assert np.isfinite(found["426783006"])
    # Of one patient alone nobody else can tell: its own cases do not vote.
    lonely = [replace(row, patient_id="one") for row in rows]
    alone = home_aucs(vectors, lonely, vectors, lonely, codes, VoteRule(5, 0.05))
    assert alone["426783006"] == 0.5


def test_alignment_finds_what_two_sides_share(data: PtbXl) -> None:
    rng = np.random.default_rng(0)
    n, new = 400, len(data.rows)
    said = rng.standard_normal((n + new, 6))
    ecgs, texts = (
        (np.concatenate([said, 3 * rng.standard_normal((n + new, 10))], axis=1) @ rng.standard_normal((16, 24))).astype(
            np.float32
        )
        for _ in range(2)
    )
    rows = [replace(row, report="sinus " + "a" * (i + 1), patient_id=str(i)) for i, row in enumerate(data.rows)]
    weights = np.ones((3, new), np.float32)
    found = evaluate_aligned(ecgs[:n], texts[:n], ecgs[n:], texts[n:], rows, weights)
    # What the sides share is a tenth of their variance; unaligned they share nothing.
    assert found.recall["ecg->report strict R@10"].value > 0.9
    other = evaluate_aligned(ecgs[:n], rng.permutation(texts[:n]), ecgs[n:], texts[n:], rows, weights)
    assert other.recall["ecg->report strict R@10"].value < 0.5
    tests = aligned_tests({"one": found, "other": other}, [("one", "other")])
    assert len(tests) == 3 and all(d > 0.3 for d, _, _ in tests.values())
    with pytest.raises(QueryError, match="to align"):
        evaluate_aligned(ecgs[:5], texts[:5], ecgs[n:], texts[n:], rows, weights)


def test_a_part_takes_its_vectors_from_the_whole(setting: ArmSetting, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = list(setting.queries)
    whole = setting.embedder.queries(rows, "3x4+1R")
    monkeypatch.setattr(HashingEncoder, "encode_images", lambda self, pictures: 1 / 0)
    part = setting.embedder.queries(rows[3:7], "3x4+1R", rows)
    assert np.array_equal(part, whole[3:7])
    with pytest.raises(ZeroDivisionError):
        setting.embedder.queries(rows[3:7], "3x4+1R")


def test_foreign_votes_are_scored_by_database(tmp_path: Path, data: PtbXl) -> None:
    _foreign(tmp_path)
    some = foreign_records(tmp_path)
    records = [some[0], some[1], some[2]] * 6
    gallery = data.rows
    rng = np.random.default_rng(0)
    vectors = unit_rows(rng.standard_normal((len(gallery), 16)))
    # Each query lies on a gallery case of its class, so the vote knows the answer.
    at = {r.record_id: [i for i, g in enumerate(gallery) if set(sum((statement_classes()[c] for c in r.codes if c in
          statement_classes()), ())) & set(g.labels)] for r in some}  # fmt: skip
    if not all(at.values()):
        pytest.skip("the simulated corpus lacks one of the three classes")
    queries = np.stack([vectors[at[r.record_id][0]] for r in records])
    results = evaluate_out_of_domain(
        records,
        queries,
        vectors,
        gallery,
        names={"164889003": "atrial fibrillation"},
        rule=VoteRule(1, 1.0),
        resamples=20,
    )
    assert set(results) == {"one", "two", "all"} and results["all"].n == 18
    assert results["one"].per_class["164889003"][:2] == ("atrial fibrillation", 1.0)
    assert results["all"].macro.value > 0.9


def test_one_yaml_runs_everything(made_ptbxl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "study.yaml"
    path.write_text(
        f"out: {tmp_path / 'out'}\nencoder: hashing\nresamples: 20\npermutations: 49\n"
        "arms: [encoder, log-spectrum, random]\n"
        "tasks: {retrieval: {pairs: [[log-spectrum, random]]}, part: {arms: [encoder, random], limit: 40}, vote: {},"
        " cross_modal: {}, zero_shot: {}, text_search: {}, photo_identity: {limit: 2},"
        " robustness: {damages: [JPEG], strengths: [1], limit: 3}, map: {},"
        " ecgbench: {rebuild: [ptb-test], models: [consensus], limit: 2}}\n"
    )
    # A task that fails leaves what was done before it, and a report of that.
    from ecgkin.generation.research.study import tasks as study_tasks

    with monkeypatch.context() as broken:
        broken.setitem(study_tasks.RUNNERS, "cross_modal", lambda s, o: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run_study(load_study(path), made_ptbxl)
    assert list(json.loads((tmp_path / "out" / "report.json").read_text())["tasks"]) == ["retrieval", "part", "vote"]
    report = run_study(load_study(path), made_ptbxl)
    assert list(report["tasks"]) == [
        "retrieval", "part", "vote", "cross_modal", "zero_shot", "text_search", "photo_identity", "robustness", "map",
        "ecgbench",
    ]  # fmt: skip
    asked = {(t["first"], t["second"]) for t in report["tasks"]["retrieval"]["tests"]}
    assert asked == {("encoder", "log-spectrum"), ("encoder", "random"), ("log-spectrum", "random")}
    assert report["tasks"]["part"]["n_gallery"] == 40 and report["tasks"]["part"]["n"] == 6
    assert report["tasks"]["ecgbench"]["consensus, ptb-test"]["corrected"]["n"] == 2
    text = (tmp_path / "out" / "report.md").read_text()
    assert "| log-spectrum |" in text and "p permutation" in text
    small = (tmp_path / "out" / "study.md").read_text()
    assert "| encoder - random |" in small and "| JPEG |" in small and len(small) < len(text)
    figures = {p.name for p in (tmp_path / "out" / "figures").glob("*.png")}
    assert figures == {
        "recall_at_k.png",
        "statements.png",
        "reliability.png",
        "abstention.png",
        "robustness.png",
        "map.png",
    }
    assert json.loads((tmp_path / "out" / "report.json").read_text())["about"]["encoder"].startswith("hashing")
    assert {p.name for p in (tmp_path / "out" / "runs").glob("*.gz")} == {
        "encoder.txt.gz", "log-spectrum.txt.gz", "random.txt.gz", "part-encoder.txt.gz", "part-random.txt.gz",
    }  # fmt: skip
    # What is done is not done again; a task whose options changed is.
    again: list[str] = []
    for name in report["tasks"]:

        def noted(study: Any, options: Any, name: str = name, runner: Any = study_tasks.RUNNERS[name]) -> Any:
            again.append(name)
            return runner(study, options)

        monkeypatch.setitem(study_tasks.RUNNERS, name, noted)
    changed = load_study(path, tasks={**load_study(path).tasks, "photo_identity": {"limit": 3}})
    run_study(changed, made_ptbxl)
    assert again == ["photo_identity"]


def test_the_pair_of_equal_budget_differs_in_its_picture_alone() -> None:
    from ecgkin.retrieval.encoders.training.settings import load_settings

    folder = Path(__file__).parents[3] / "scripts" / "training"
    one, other = (load_settings(folder / f"pair_{kind}.yaml").to_dict() for kind in ("paper", "fields"))
    assert {name for name in one if one[name] != other[name]} == {"picture", "out"}
    assert one["page_share"] == 0, "fields know no page"


def test_settings_of_a_run_are_checked(tmp_path: Path) -> None:
    wrongs: tuple[dict[str, Any], ...] = (
                  {"tasks": {"retrieval": {"pairs": [["encoder", "features"]]}}}, {"tasks": {"tea": {}}},
                  {"tasks": {}}, {"tasks": {"map": {"colour": 1}}}, {"arms": ("nobody",)},
                  {"query_folds": (1,)})  # fmt: skip
    for wrong in wrongs:
        with pytest.raises(QueryError):
            StudySettings(**{"out": "x", "tasks": {"map": {}}, **wrong})
    path = tmp_path / "x.yaml"
    path.write_text("- 1\n")
    with pytest.raises(InputError):
        load_study(path)
    path.write_text("out: x\ntask: {}\n")
    with pytest.raises(QueryError, match="task"):
        load_study(path)
    for shipped in (Path(__file__).parents[3] / "scripts" / "research").glob("*.yaml"):
        assert load_study(shipped).tasks
    assert cell({"value": None, "low": None, "high": None}) == "n/a"


def test_equal_vectors_are_no_evidence_for_an_order() -> None:
    gallery = np.tile(unit_rows(np.ones((1, 4))), (30, 1))
    first = nearest(gallery[:1], gallery, 5).rows[0].tolist()
    assert first != list(range(5)) and len(set(first)) == 5
