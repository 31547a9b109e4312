"""The API as programs meet it: a real uvicorn on a free loopback port, simulated cases, the encoder without weights."""

from __future__ import annotations

import importlib.util
import io
import json
import re
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from ecgkin.retrieval import errors
from ecgkin.retrieval.ecg.simulation.simulate import simulate
from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.retrieval.search.feedback import refine
from ecgkin.ui.api import problems
from ecgkin.ui.api.addresses import case_address
from ecgkin.ui.api.state import State
from ecgkin.ui.client import Client
from ecgkin.ui.logs import configure_logging
from ecgkin.ui.server.app import create_app
from ecgkin.ui.server.serving import in_thread
from ecgkin.ui.settings import load_settings

# How long a busy machine may take for anything at all.
PATIENCE_S = 300.0
PATIENT_WORDS = "Frau Mustermann"


@pytest.fixture(scope="module")
def log() -> Iterator[io.StringIO]:
    """What the server logs, as JSON lines."""
    stream = io.StringIO()
    configure_logging("DEBUG", "json", stream)
    yield stream
    configure_logging()


@pytest.fixture(scope="module")
def url(simulated_base: Path, tmp_path_factory: pytest.TempPathFactory, log: io.StringIO) -> Iterator[str]:
    """A server over a copy of the simulated base."""
    folder = tmp_path_factory.mktemp("api") / "base"
    shutil.copytree(simulated_base, folder)
    settings = load_settings(api_port=0, api_max_seconds=PATIENCE_S)
    state = State(folder, settings, HashingEncoder())
    with in_thread(create_app(settings, state), settings) as address:
        yield address


@pytest.fixture(scope="module")
def http(url: str) -> Iterator[httpx.Client]:
    """A plain client."""
    with httpx.Client(base_url=url, timeout=PATIENCE_S, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def signal(http: httpx.Client) -> dict[str, object]:
    """The samples of case 3 as JSON."""
    found: dict[str, object] = http.get("/v1/cases/simulated/3/signal").json()
    return found


@pytest.fixture(scope="module")
def picture(http: httpx.Client) -> bytes:
    """Case 3 drawn."""
    answer = http.get("/v1/cases/simulated/3/page.png", params={"width": 900})
    assert answer.headers["content-type"] == "image/png"
    return answer.content


def csv_of(signal: dict[str, object]) -> bytes:
    """The samples as a table."""
    rows = np.array(signal["signal_mv"], dtype=float).T
    lines = [",".join(signal["leads"]), *(",".join(f"{v:.3f}" for v in row) for row in rows)]  # type: ignore[arg-type]
    return "\n".join(lines).encode()


def wfdb_of(signal: dict[str, object], folder: Path) -> list[tuple[str, bytes]]:
    """The samples as the two files of a WFDB record."""
    import wfdb

    values = np.array(signal["signal_mv"], dtype=float).T
    leads = list(signal["leads"])  # type: ignore[call-overload]
    wfdb.wrsamp(
        "rec", fs=float(signal["fs_hz"]), units=["mV"] * len(leads), sig_name=leads, p_signal=values,  # type: ignore[arg-type]
        fmt=["16"] * len(leads), adc_gain=[1000.0] * len(leads), baseline=[0] * len(leads), write_dir=str(folder),
    )  # fmt: skip
    return [(f"rec{suffix}", (folder / f"rec{suffix}").read_bytes()) for suffix in (".hea", ".dat")]


def zipped(files: list[tuple[str, bytes]]) -> bytes:
    """A zip of files."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in files:
            target.writestr(name, content)
    return archive.getvalue()


def wait_for(what: Callable[[], bool]) -> None:
    """Until something is so."""
    until = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)


def first(answer: httpx.Response) -> str:
    """Case id of the best hit."""
    assert answer.status_code == 200, answer.text
    return str(answer.json()["hits"][0]["case"]["case_id"])


def test_a_record_finds_itself_however_it_comes(http: httpx.Client, signal: dict[str, object], tmp_path: Path) -> None:
    """JSON, CSV, a WFDB pair and a zip of it, flat or in a folder, all find the case that they were taken from."""
    pair = wfdb_of(signal, tmp_path)
    table, rate = csv_of(signal), {"fs_hz": str(signal["fs_hz"]), "units": "mV"}
    post = http.post
    assert first(post("/v1/search", json={"signal": signal, "k": 1})) == "simulated/3"
    assert first(post("/v1/search", files={"file": ("a b.csv", table)}, data=rate)) == "simulated/3"
    assert first(post("/v1/search", files=[("file", f) for f in pair])) == "simulated/3"
    assert first(post("/v1/search", files={"file": ("r.zip", zipped(pair))})) == "simulated/3"
    nested = zipped([(f"folder/{name}", content) for name, content in pair] + [("__MACOSX/._x.hea", b"x")])
    assert first(post("/v1/search", files={"file": ("r.zip", nested)})) == "simulated/3"


def test_search_answer_is_complete(http: httpx.Client, signal: dict[str, object]) -> None:
    """Hits by rank, vote, abstention, timings; the filter acts inside; the patient is left out; k is kept."""
    body = {"signal": signal, "k": 5, "where": {"age": {">=": 50}}, "exclude_patient": "simulated/3"}
    found = http.post("/v1/search", json=body).json()
    assert [hit["rank"] for hit in found["hits"]] == [1, 2, 3, 4, 5]
    assert all(hit["case"]["age_years"] >= 50 and hit["case"]["case_id"] != "simulated/3" for hit in found["hits"])
    scores = [hit["score"] for hit in found["hits"]]
    assert scores == sorted(scores, reverse=True)
    assert set(found["vote"]["superclasses"]) == {"NORM", "MI", "STTC", "CD", "HYP"}
    assert found["vote"]["calibrated"] is False and found["abstention"]["nothing_similar"] is False
    assert found["abstention"]["best_score"] == scores[0]
    assert {"read", "encode", "index", "vote", "total"} <= set(found["timings_ms"])


def test_picture_text_and_both(http: httpx.Client, picture: bytes) -> None:
    """The other ways to ask answer, too, each under its own name."""
    alone = http.post("/v1/search", files={"file": ("p.png", picture)}, data={"k": "2", "where": "sex=F"})
    both = http.post("/v1/search", files={"file": ("p.png", picture)}, data={"text": "AFIB", "weight": "0.3"})
    words = http.post("/v1/search", json={"text": "atrial fibrillation", "k": 2})
    assert [a.json()["query"] for a in (alone, both, words)] == ["image", "image+text", "text"]
    assert [part["code"] for part in words.json()["understood"] if part["kind"] == "statement"] == ["AFIB"]
    assert alone.json()["understood"] is None
    assert all(hit["case"]["sex"] == "F" for hit in alone.json()["hits"])


def test_words_are_understood_and_what_was_understood_can_be_changed(http: httpx.Client) -> None:
    denied = http.post("/v1/search", json={"text": "no atrial fibrillation in women"}).json()
    assert all("AFIB" not in hit["case"]["labels"] and hit["case"]["sex"] == "F" for hit in denied["hits"])
    parts = [part for part in denied["understood"] if part["kind"] != "sex"]
    wider = http.post("/v1/search", json={"text": "no atrial fibrillation in women", "understood": parts}).json()
    assert {hit["case"]["sex"] for hit in wider["hits"]} == {"F", "M"}
    assert all("AFIB" not in hit["case"]["labels"] for hit in wider["hits"])
    raw = http.post("/v1/search", json={"text": "no atrial fibrillation", "raw": True}).json()
    assert raw["understood"] is None
    nonsense = http.post("/v1/search", json={"text": "pizza"}).json()
    assert nonsense["abstention"]["reason"] == "not_understood"
    assert {"words_unknown", "words_not_understood"} <= {note["code"] for note in nonsense["warnings"]}


@pytest.mark.parametrize(
    "body",
    [
        {"text": "AF", "understood": [{"kind": "nothing"}]},
        {"text": "AF", "understood": [{"kind": "statement", "code": "XYZ"}]},
        {"query_id": "0" * 32, "raw": True},
        {"signal": {"signal_mv": [[0.0]], "fs_hz": 1.0, "leads": ["I"]}, "understood": []},
    ],
)
def test_parts_that_cannot_be_used_are_refused(http: httpx.Client, body: dict[str, Any]) -> None:
    assert http.post("/v1/search", json=body).status_code == 422


def test_feedback_moves_the_next_search(http: httpx.Client, signal: dict[str, object]) -> None:
    """Marks are kept, exported, replaced by later ones; the same query then finds marked cases nearer."""
    found = http.post("/v1/search", json={"signal": signal, "k": 40}).json()
    query_id = found["query_id"]
    before = {hit["case"]["case_id"]: hit["score"] for hit in found["hits"]}
    ids = list(before)
    marks = [{"case_id": ids[20], "similar": False}, {"case_id": ids[1], "similar": False}]
    assert http.post("/v1/feedback", json={"query_id": query_id, "marks": marks}).status_code == 200
    again = http.post("/v1/feedback", json={"query_id": query_id, "marks": [{"case_id": ids[20], "similar": True}]})
    assert {m["case_id"]: m["similar"] for m in again.json()["marks"]} == {ids[20]: True, ids[1]: False}

    refined = http.post("/v1/search", json={"query_id": query_id, "k": 40}).json()
    after = {hit["case"]["case_id"]: hit["score"] for hit in refined["hits"]}
    assert refined["query"] == "refined" and after[ids[20]] > before[ids[20]] + 0.1
    assert ids[1] not in after, "what was rejected is not shown again"
    assert [hit["rank"] for hit in refined["hits"]] == list(range(1, 40)), "the base holds 40"
    rows = http.get("/v1/feedback", params={"format": "csv", "query_id": query_id}).text.splitlines()
    assert rows[0] == "query_id,kind,case_id,similar,marked_at" and len(rows) == 3
    assert len(http.get("/v1/feedback", params={"query_id": query_id}).json()) == 2

    named = http.post("/v1/search", json={"query_id": query_id, "similar": [ids[30]], "k": 40}).json()
    scores = {hit["case"]["case_id"]: hit["score"] for hit in named["hits"]}
    assert scores[ids[30]] > after[ids[30]]
    most = http.post("/v1/search", json={"query_id": query_id, "not_similar": ids[2:12], "k": 5}).json()
    assert len(most["hits"]) == 5 and not set(ids[1:12]) & {hit["case"]["case_id"] for hit in most["hits"]}
    (note,) = [note for note in most["warnings"] if note["code"] == "marked_left_out"]
    assert "left out: 11" in note["text"] and "vote_filtered" not in {note["code"] for note in most["warnings"]}
    whole = http.post("/v1/search", json={"query_id": query_id, "where": "sex=F", "k": 40}).json()
    assert ids[1] not in {hit["case"]["case_id"] for hit in whole["hits"]}
    assert {"vote_filtered", "marked_left_out"} <= {note["code"] for note in whole["warnings"]}


def test_marks_that_contradict_each_other_are_refused(http: httpx.Client, signal: dict[str, object]) -> None:
    """One case cannot be similar and not similar at once; the same mark twice is one mark."""
    found = http.post("/v1/search", json={"signal": signal, "k": 3}).json()
    query, case_id = found["query_id"], found["hits"][0]["case"]["case_id"]
    body = {"query_id": query, "similar": [case_id], "not_similar": [case_id]}
    refused = http.post("/v1/search", json=body)
    assert refused.status_code == 422 and f"{case_id} is named as similar and as not similar" in refused.text
    marks = [{"case_id": case_id, "similar": True}, {"case_id": case_id, "similar": False}]
    refused = http.post("/v1/feedback", json={"query_id": query, "marks": marks})
    assert refused.status_code == 422 and "marked as similar and as not similar" in refused.text
    assert http.get(f"/v1/feedback?query_id={query}").json() == []
    assert http.post("/v1/feedback", json={"query_id": query, "marks": [marks[0]] * 2}).status_code == 200


def test_what_does_not_belong_to_the_ecg_is_refused(
    http: httpx.Client, signal: dict[str, object], picture: bytes, tmp_path: Path
) -> None:
    """A second ECG beside a record, a rate beside a picture, a page beside a recording: nothing is dropped silently."""
    record = wfdb_of(signal, tmp_path)
    files = [("file", file) for file in record]
    assert http.post("/v1/search", files=files).status_code == 200
    for other in (("page.png", picture), ("other.dat", b"\0" * 600), ("table.csv", csv_of(signal))):
        refused = http.post("/v1/search", files=[*files, ("file", other)])
        assert refused.status_code == 422 and "whose header does not name it" in refused.text, refused.text
    packed = zipped([*record, ("page.png", picture)])
    assert http.post("/v1/search", files={"file": ("both.zip", packed)}).status_code == 422
    for fields in ({"fs_hz": "250"}, {"units": "uV"}):
        refused = http.post("/v1/search", files={"file": ("page.png", picture)}, data=fields)
        assert refused.status_code == 422 and "the file is a picture" in refused.text, refused.text
    refused = http.post("/v1/search", files=files, data={"page": "2"})
    assert refused.status_code == 422 and "the file is a recording" in refused.text


def test_rocchio_against_numpy() -> None:
    """The rule as it stands in the book, up to the length."""
    rng = np.random.default_rng(0)
    q, near, far = rng.normal(size=8), rng.normal(size=(3, 8)), rng.normal(size=(2, 8))
    expected = q + 0.75 * near.mean(axis=0) - 0.15 * far.mean(axis=0)
    expected /= np.linalg.norm(expected)
    got = refine(q.astype(np.float32), near.astype(np.float32), far.astype(np.float32))
    np.testing.assert_allclose(got, expected, atol=1e-6)
    with pytest.raises(errors.QueryError):
        refine(np.array([0.75, 0.0], np.float32), np.array([[-1.0, 0.0]], np.float32), np.empty((0, 2), np.float32))


def test_cases_come_and_go(http: httpx.Client, signal: dict[str, object]) -> None:
    """Add by samples and by picture, find, refuse a second one of that id, remove, not find."""
    case = {"case_id": "clinic/7 ä", "age_years": 61, "sex": "M", "labels": {"LVH": 80}, "report": "LVH."}
    made = http.post("/v1/cases", json={"case": case, "signal": signal})
    assert made.status_code == 201 and http.get(made.headers["location"]).json()["report"] == "LVH."
    assert http.post("/v1/cases", json={"case": case, "signal": signal}).status_code == 409
    found = http.post("/v1/search", json={"signal": signal, "k": 2, "where": 'source=""'}).json()
    assert [hit["case"]["case_id"] for hit in found["hits"]] == ["clinic/7 ä"]
    from PIL import Image

    blank = io.BytesIO()
    Image.new("RGB", (400, 300), "white").save(blank, "PNG")  # this encoder takes any picture
    named = {"case": json.dumps({"case_id": "pic/1"})}
    drawn = http.post("/v1/cases", files={"file": ("x.png", blank.getvalue())}, data=named)
    assert drawn.status_code == 201
    assert http.get("/v1/cases/pic/1/page.svg").json()["detail"].startswith("the samples of this case were not kept")
    for case_id in ("clinic/7 ä", "pic/1"):
        assert http.delete(f"/v1/cases/{case_id}").status_code == 204
        assert http.delete(f"/v1/cases/{case_id}").status_code == 404
    assert http.get("/v1/cases").json()["total"] == 40


@pytest.mark.parametrize("ending", ["signal", "page.svg", "page.png", "page.png/signal"])
def test_an_id_that_ends_like_an_address_is_read_by_its_location(
    http: httpx.Client, url: str, signal: dict[str, Any], ending: str
) -> None:
    """A case of that name and a case above it: each is read by the address that it got, and nobody else's samples."""
    doubled = {**signal, "signal_mv": [[2 * value for value in row] for row in signal["signal_mv"]]}
    names = {f"odd/x/{ending}": doubled, "odd/x": signal}
    try:
        for case_id, samples in names.items():
            made = http.post("/v1/cases", json={"case": {"case_id": case_id}, "signal": samples})
            assert made.status_code == 201
            # Before the case above it is there and afterwards, and without knowing how it is spelled.
            assert http.get(made.headers["location"]).json()["case_id"] == case_id
        with Client(url) as client:
            for case_id, samples in names.items():
                assert client.case(case_id).case_id == case_id
                assert client.signal(case_id).signal_mv[1][:5] == pytest.approx(samples["signal_mv"][1][:5], abs=0.002)
                assert b"<svg" in client.page(case_id, "svg")
        # One address means one case whatever is asked of it: what cannot be removed alone is no other case.
        if ending in ("signal", "page.svg", "page.png"):
            refused = http.delete(f"/v1/cases/odd/x/{ending}")
            assert refused.status_code == 409 and f"x%2F{ending}" in refused.json()["hint"]
            assert http.get("/v1/cases").json()["total"] == 42
    finally:
        removed = [http.delete(case_address(case_id)).status_code for case_id in names]
    assert removed == [204, 204]
    missing = http.get("/v1/cases/odd/x%2Fsignal")
    assert missing.status_code == 404 and "odd/x/signal" in missing.json()["detail"]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"age_years": True}, "expected years"), ({"language": "<script>"}, "expected a tag"),
        ({"labels": {"AMI": 101}}, "100"), ({"labels": {"AMI": -5}}, "0"), ({"labels": {"AMI": 1e300}}, "100"),
        ({"labels": {"AMI\n": 50}}, "control characters"), ({"labels": {"A" * 5000: 50}}, "100 char"),
        ({"labels": {"AMI": 50, "ami": 60}}, "twice"), ({"labels": {" ": 50}}, "control characters"),
        ({"report": "\0\x1b[31mred"}, "U+0000"),
        ({"report": "LBBB \u202eBBBR"}, "U+202E"), ({"patient_id": "\n"}, "U+000A"),
        ({"recorded_at": "2999-01-01"}, "2299"), ({"source": "a\x07"}, "U+0007"),
    ],
)  # fmt: skip
def test_fields_that_no_case_has(
    http: httpx.Client, signal: dict[str, object], fields: dict[str, Any], says: str
) -> None:
    case = {"case_id": "odd/fields", **fields}
    refused = http.post("/v1/cases", json={"case": case, "signal": signal})
    assert refused.status_code == 422 and says in json.dumps(refused.json(), ensure_ascii=False), refused.json()
    kept = {"case_id": "odd/fields", "report": "Line\r\n\tanother", "labels": {"AMI": 0, "LVH": 100}}
    assert http.post("/v1/cases", json={"case": kept, "signal": signal}).status_code == 201
    assert http.delete("/v1/cases/odd/fields").status_code == 204


def test_looking_at_cases(http: httpx.Client, signal: dict[str, object]) -> None:
    """Pages of the list, one case by an id with a slash in either spelling, its drawing, its samples."""
    listed = http.get("/v1/cases", params={"where": "label:AFIB", "limit": 2, "offset": 1}).json()
    assert listed["total"] >= 3 and len(listed["cases"]) == 2
    assert all("AFIB" in case["labels"] for case in listed["cases"])
    assert http.get("/v1/cases/simulated%2F3").json() == http.get("/v1/cases/simulated/3").json()
    svg = http.get("/v1/cases/simulated/3/page.svg", params={"layout": "12x1", "order": "cabrera", "speed": 50})
    assert svg.headers["content-type"] == "image/svg+xml" and "-aVR" in svg.text and "50 mm/s" in svg.text
    assert "default-src 'none'" in svg.headers["content-security-policy"]
    assert signal["leads"][1] == "II" and len(signal["signal_mv"]) == 12  # type: ignore[index, arg-type]
    assert http.get("/v1/cases/simulated/3/page.svg", params={"layout": "5x5"}).status_code == 422


def test_embeddings_are_the_encoders_own(http: httpx.Client, signal: dict[str, object], picture: bytes) -> None:
    """The same vectors as without a server, in the order asked."""
    encoder = HashingEncoder()
    found = http.post("/v1/embeddings", json={"texts": ["LBBB", "AFIB"]}).json()
    np.testing.assert_allclose(found["embeddings"], encoder.encode_texts(["LBBB", "AFIB"]), atol=1e-6)
    assert (found["dim"], found["fingerprint"]) == (encoder.dim, encoder.fingerprint)
    for answer in (
        http.post("/v1/embeddings", json={"signal": signal}),
        http.post("/v1/embeddings", files={"file": ("p.png", picture)}),
    ):
        assert np.linalg.norm(answer.json()["embeddings"][0]) == pytest.approx(1.0, abs=1e-5)
    assert http.post("/v1/embeddings", json={}).status_code == 422


def test_drafts_as_json_and_stream(http: httpx.Client, signal: dict[str, object], picture: bytes) -> None:
    """The whole structure; and the same text word by word, the whole answer last."""
    whole = http.post("/v1/drafts", json={"signal": signal, "k": 4}).json()
    hits = whole["search"]["hits"]
    assert whole["draft"]["status"] == "preliminary" and len(hits) >= 4
    # Citation [n] is card n: cases cited beyond the hits follow them.
    cards = {hit["case"]["case_id"]: hit["rank"] for hit in hits}
    assert [hit["rank"] for hit in hits] == list(range(1, len(hits) + 1))
    assert all(cards[item["case_id"]] == item["number"] for item in whole["draft"]["evidence"])
    assert set(whole["draft"]["citations"]) <= {item["case_id"] for item in whole["draft"]["evidence"]}
    shares = whole["draft"]["probabilities"]
    assert all(shares[code] == p for code, p in whole["search"]["vote"]["statements"].items())
    found = http.post("/v1/search", json={"signal": signal, "k": 4}).json()["vote"]["statements"]
    assert found == whole["search"]["vote"]["statements"]
    stream = http.post("/v1/drafts", json={"signal": signal, "k": 4}, headers={"Accept": "text/event-stream"})
    assert stream.headers["content-type"].startswith("text/event-stream")
    events = re.findall(r"event: (\w+)\ndata: (.*)\n\n", stream.text)
    assert [name for name, _ in events] == ["token"] * (len(events) - 1) + ["draft"]
    told = "".join(json.loads(data)["text"] for _, data in events[:-1])
    assert told == json.loads(events[-1][1])["draft"]["text"] == whole["draft"]["text"]
    german = http.post("/v1/drafts", files={"file": ("p.png", picture)}, data={"language": "de"}).json()
    assert german["draft"]["language"] == "de" and german["search"]["query"] == "image"
    assert http.post("/v1/drafts", json={"signal": signal}, headers={"Accept": "image/png"}).status_code == 406
    other = {"signal": signal, "model": "other"}
    for accept in ("application/json", "text/event-stream"):
        assert http.post("/v1/drafts", json=other, headers={"Accept": accept}).status_code == 422


def test_a_refined_search_keeps_what_the_first_one_said(http: httpx.Client, signal: dict[str, object]) -> None:
    """Marks move the query towards cases: how near it then is to them says nothing of the ECG."""
    first = http.post("/v1/search", json={"signal": signal}).json()
    marked = first["hits"][3]
    asked = {"query_id": first["query_id"], "similar": [marked["case"]["case_id"]]}
    again = http.post("/v1/search", json=asked).json()
    scores = {hit["case"]["case_id"]: hit["score"] for hit in again["hits"]}
    assert again["abstention"] == first["abstention"] and scores[marked["case"]["case_id"]] > marked["score"]
    assert again["hits"][0]["score"] != first["abstention"]["best_score"]
    twice = http.post("/v1/search", json={**asked, "query_id": again["query_id"]}).json()
    assert twice["abstention"] == first["abstention"]


def test_an_earlier_ecg_is_compared(http: httpx.Client, signal: dict[str, object]) -> None:
    """By case or person, in search, draft and FHIR; unknown ones and words alone are refused."""
    other = http.get("/v1/cases/simulated/4/signal").json()
    told = http.post("/v1/search", json={"signal": signal, "previous": "simulated/4"}).json()["previous"]
    assert told["compared_with"] == "simulated/4" and told["rows"][0]["name"] == "rate_bpm" and told["beats_mv"]["II"]
    hits = http.post("/v1/search", json={"signal": other, "previous": "simulated/4"}).json()["hits"]
    assert "simulated/4" not in [hit["case"]["case_id"] for hit in hits]
    assert http.post("/v1/search", json={"signal": signal}).json()["previous"] is None
    form = {"language": "de", "previous": "simulated/4"}
    table = csv_of(signal)
    draft = http.post("/v1/drafts", files={"file": ("a.csv", table)}, data={**form, "fs_hz": "100"}).json()["draft"]
    assert (
        draft["comparison"]["sentence"].startswith("Verglichen mit")
        and draft["comparison"]["sentence"] in draft["text"]
    )
    asked = {"signal": signal, "previous": "simulated/4"}
    report = http.post("/v1/drafts", json=asked, headers={"Accept": "application/fhir+json"}).json()
    named = [item for item in report["contained"] if item.get("id") == "comparison"]
    assert named and named[0]["component"][0]["code"]["text"] == "rate_bpm"
    for body in ({"signal": signal, "previous": "nobody"}, {"text": "LBBB", "previous": "simulated/4"}):
        assert http.post("/v1/search", json=body).status_code == 422


def test_without_a_drafter_searching_still_works(simulated_base: Path, tmp_path: Path) -> None:
    """No drafter is a 503 with its own problem; the rest of the server does not mind."""
    shutil.copytree(simulated_base, tmp_path / "base")
    settings = load_settings(api_port=0, api_drafters=())
    with (
        in_thread(create_app(settings, State(tmp_path / "base", settings, HashingEncoder())), settings) as url,
        httpx.Client(base_url=url, trust_env=False) as http,
    ):
        signal = http.get("/v1/cases/simulated/3/signal").json()
        refused = http.post("/v1/drafts", json={"signal": signal})
        assert (refused.status_code, refused.json()["type"]) == (503, "/v1/problems#no-drafter")
        assert first(http.post("/v1/search", json={"signal": signal})) == "simulated/3"


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "slug"),
    [
        ("GET", "/nowhere", {}, 404, "not-found"),
        ("GET", "/v1/cases/none", {}, 404, "not-found"),
        ("PUT", "/v1/info", {}, 405, "method"),
        ("GET", "/v1/cases?where=colour%3Dred", {}, 422, "query"),
        ("GET", "/v1/cases?limit=0", {}, 422, "input"),
        ("POST", "/v1/search", {"content": b"{", "headers": {"Content-Type": "application/json"}}, 422, "input"),
        ("POST", "/v1/search", {"content": b"x", "headers": {"Content-Type": "text/plain"}}, 415, "media-type"),
        ("POST", "/v1/search", {"json": {}}, 422, "query"),
        ("POST", "/v1/search", {"json": {"text": "x", "colour": 1}}, 422, "input"),
        ("POST", "/v1/search", {"json": {"text": "x", "k": 101}}, 422, "query"),
        ("POST", "/v1/search", {"json": {"query_id": "0" * 32}}, 404, "not-found"),
        ("POST", "/v1/search", {"files": {"file": ("x.png", b"\x89PNG\r\n")}}, 422, "image"),
        ("POST", "/v1/search", {"files": {"file": ("x.csv", b"hello")}}, 422, "record"),
        ("POST", "/v1/search", {"files": {"other": ("x.csv", b"hello")}}, 422, "input"),
        ("POST", "/v1/feedback", {"json": {"query_id": "0" * 32, "marks": []}}, 422, "input"),
    ],
)  # fmt: skip
def test_problems(
    http: httpx.Client, method: str, path: str, options: dict[str, object], status: int, slug: str
) -> None:
    """Every mistake is problem+json of the right kind, and names the request."""
    answer = http.request(method, path, **options)  # type: ignore[arg-type]
    body = answer.json()
    assert (answer.status_code, body["status"], body["type"]) == (status, status, f"/v1/problems#{slug}")
    assert answer.headers["content-type"] == "application/problem+json" and body["detail"]
    assert body["request_id"] == answer.headers["x-request-id"]


def test_every_error_has_a_row() -> None:
    """Each class of the error tree has a status in the table, the one that the tree itself says."""
    todo = [errors.EcgkinError]
    while todo:
        cls = todo.pop()
        todo += cls.__subclasses__()
        kind = problems.kind_of(cls("x"))
        assert 400 <= kind.status < 600
        if cls.__module__ == errors.__name__ and cls is not errors.BackendTimeoutError:
            assert kind.status == cls.http_status


def test_health_and_figures(http: httpx.Client, signal: dict[str, object]) -> None:
    """Alive, ready, and counted: by route, never by address."""
    assert http.get("/healthz").json() == {"status": "alive"}
    ready = http.get("/readyz").json()
    assert (ready["status"], ready["encoder"]) == ("ready", "hashing")
    http.get("/v1/cases/simulated/5")
    http.post("/v1/drafts", json={"signal": signal})
    http.get("/v1/cases/none")
    # A request is counted after its answer: whoever has his answer may look too early.
    wait_for(lambda: 'ecgkin_problems_total{status="404"}' in http.get("/metrics").text)
    figures = http.get("/metrics").text
    assert 'route="/v1/cases/{case_id:path}"' in figures and "simulated/5" not in figures
    counted = set(re.findall(r'^ecgkin_stage_seconds_count{stage="(\w+)"}', figures, re.MULTILINE))
    assert {"read", "encode", "index", "vote", "total", "draft", "encoder_call"} <= counted
    for name in (
        "ecgkin_batch_size_count",
        "ecgkin_queue_depth",
        "ecgkin_requests_in_flight",
        "ecgkin_request_seconds_bucket",
        "process_resident_memory_bytes",
        f'ecgkin_info{{encoder="hashing {HashingEncoder().fingerprint}"',
    ):
        assert name in figures, name
    assert re.search(r"^ecgkin_index_cases 40\.0$", figures, re.MULTILINE)
    info = http.get("/v1/info").json()
    assert (
        "not for diagnosis" in info["notice"] and info["drafters"] == ["consensus"] and "path" not in info["case_base"]
    )


def test_logs_name_requests_and_no_patients(http: httpx.Client, signal: dict[str, object], log: io.StringIO) -> None:
    """JSON lines with the request's id; nothing that was sent: words, reports, names of files, filters, patients."""
    own = {"X-Request-ID": "check-1"}
    case = {"case_id": f"{PATIENT_WORDS}/1", "patient_id": PATIENT_WORDS, "report": PATIENT_WORDS}
    http.post("/v1/search", json={"text": PATIENT_WORDS, "exclude_patient": PATIENT_WORDS}, headers=own)
    http.post("/v1/cases", json={"case": case, "signal": signal}, headers=own)
    http.get(f"/v1/cases/{PATIENT_WORDS}/1", headers=own)
    http.delete(f"/v1/cases/{PATIENT_WORDS}/1", headers=own)
    http.post("/v1/search", files={"file": (f"{PATIENT_WORDS}.png", b"x")}, headers=own)
    http.get("/v1/cases", params={"where": f'patient="{PATIENT_WORDS}"'}, headers=own)
    http.get("/v1/cases", params={"where": f"patient={PATIENT_WORDS}"}, headers=own)
    http.post("/v1/drafts", json={"signal": signal, "question": PATIENT_WORDS}, headers=own)

    def requests() -> list[dict[str, str]]:
        lines = [json.loads(line) for line in log.getvalue().splitlines()]
        mine = [line for line in lines if line.get("request_id") == "check-1"]
        return [line for line in mine if line["message"].startswith("request method=")]

    # The line comes after the answer: whoever has his answer may look too early.
    wait_for(lambda: len(requests()) >= 8)
    assert len(requests()) == 8
    assert "mustermann" not in log.getvalue().lower()
    strange = http.get("/healthz", headers={"X-Request-ID": "a b\x7f" + "x" * 100})
    assert re.fullmatch("[0-9a-f]{32}", strange.headers["x-request-id"])


def test_openapi_is_complete(http: httpx.Client) -> None:
    """Every route has a summary, its problems and a body that resolves; bodies and answers have examples."""
    document = http.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    refs = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)))
    assert refs <= set(schemas)
    one = ("/v1/cases/{case_id}", "/v1/cases/{case_id}/signal", "/v1/cases/{case_id}/page.{form}")
    wanted = {"/healthz", "/readyz", "/metrics", *one}
    wanted |= {f"/v1/{name}" for name in "search drafts cases embeddings feedback info digitize jobs".split()}
    assert wanted <= set(document["paths"])
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"] and operation.get("description"), path
            assert "application/problem+json" in operation["responses"]["500"]["content"]
            if method == "post" and path != "/v1/jobs/{job_id}/cancel":  # which has nothing to say
                kinds = operation["requestBody"]["content"]
                assert "application/json" in kinds or (
                    path in ("/v1/digitize", "/v1/jobs") and kinds["multipart/form-data"]["example"]
                )
    for name in (
        "SearchBody",
        "DraftBody",
        "CaseBody",
        "FeedbackBody",
        "EmbeddingBody",
        "CaseOut",
        "ProblemOut",
        "Signal",
    ):
        assert schemas[name]["examples"], name
    assert {"text/event-stream", "application/fhir+json"} <= set(
        document["paths"]["/v1/drafts"]["post"]["responses"]["200"]["content"]
    )
    layout = next(p for p in document["paths"][one[2]]["get"]["parameters"] if p["name"] == "layout")
    assert "3x4+1R" in layout["schema"]["enum"]
    assert http.get("/docs").status_code == 200
    slugs = {row["type"] for row in http.get("/v1/problems").json()}
    assert {"/v1/problems#too-large", "/v1/problems#busy"} <= slugs


def test_examples_fit_their_schemas(http: httpx.Client) -> None:
    """Every body and every answer in JSON has an example, and each example is what its schema says."""
    import jsonschema

    document = http.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if "application/json" in operation.get("requestBody", {}).get("content", {}):
                content = operation["requestBody"]["content"]["application/json"]
                assert content["examples"], path
                for example in content["examples"].values():
                    assert example["summary"]
                    schema = content["schema"] | {"components": document["components"]}
                    jsonschema.validate(example["value"], schema, jsonschema.Draft202012Validator)
            for status, answer in operation["responses"].items():
                for kind, content in answer.get("content", {}).items():
                    if status.startswith("2") and kind != "image/png":
                        assert "example" in content, (method, path, kind)
                        schema = content["schema"] | {"components": document["components"]}
                        jsonschema.validate(content["example"], schema, jsonschema.Draft202012Validator)


def test_examples_work(http: httpx.Client) -> None:
    """What the page shows as requests can be sent as it stands; a query_id is the reader's own to find."""
    document = http.get("/openapi.json").json()
    for path in ("/v1/search", "/v1/drafts", "/v1/embeddings", "/v1/cases"):
        examples = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["examples"]
        for name, example in examples.items():
            answer = http.post(path, json=example["value"])
            assert answer.status_code == (404 if name == "refined" else 201 if path == "/v1/cases" else 200), name
    assert http.delete("/v1/cases/clinic/17").status_code == 204
    parameters = document["paths"]["/v1/cases/{case_id}"]["get"]["parameters"]
    assert http.get(f"/v1/cases/{parameters[0]['example']}").status_code == 200


def test_the_page_needs_nobody_else(http: httpx.Client) -> None:
    """/docs and all that it loads come from this server; a policy says so to the browser."""
    page = http.get("/docs")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(loaded) >= 3 and not [address for address in loaded if "//" in address]
    for address in (*loaded, "openapi.json"):
        assert http.get(f"/{address}").status_code == 200, address


def test_a_pdf_document(http: httpx.Client, picture: bytes) -> None:
    """A page of a document is searched like a picture; a page that it does not have is a 422."""
    from PIL import Image

    document = io.BytesIO()
    Image.open(io.BytesIO(picture)).convert("RGB").save(document, "PDF", resolution=82)
    sent = {"file": ("x.bin", document.getvalue())}
    assert http.post("/v1/search", files=sent).json()["query"] == "image"
    refused = http.post("/v1/search", files=sent, data={"page": "2"})
    assert (refused.status_code, refused.json()["type"]) == (422, "/v1/problems#image")
    assert http.post("/v1/search", files={"file": ("x.pdf", b"%PDF-1.7 nothing")}).status_code == 422


def test_a_pdf_document_whose_traces_are_lines(http: httpx.Client) -> None:
    """It is searched like a recording; what was read of the page stands among the warnings."""
    spec = importlib.util.spec_from_file_location("pdf_made", Path(__file__).parents[1] / "pdf_made.py")
    assert spec is not None and spec.loader is not None
    drawn = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(drawn)
    made = simulate(("NORM",), np.random.default_rng(4)).record
    sent = {"file": ("x.pdf", drawn.from_svg(made, pages=2))}
    found = http.post("/v1/search", files=sent, data={"page": "2"}).json()
    assert found["query"] == "record"
    said = {note["code"]: note["text"] for note in found["warnings"]}
    assert "page 2 is read" in said["page_of_document"] and any("25 mm/s" in note["text"] for note in found["warnings"])


@pytest.mark.weights
def test_the_signals_of_a_picture(http: httpx.Client, picture: bytes, signal: dict[str, Any]) -> None:
    """Samples in mV at the page's time, places on the picture, confidences; what is put right is followed."""
    sent = {"file": ("page.png", picture)}
    found = http.post("/v1/digitize", files=sent, data={"curves": "true"}).json()
    assert found["digitized"] and found["page"]["layout"] == "3x4+1R" and found["page"]["gain_mm_mv"] == 10.0
    assert found["signal"]["leads"][1] == "II" and found["signal"]["fs_hz"] == 500.0 and found["seconds"] == 10.0
    strip, case = (np.array(of["signal_mv"][1], dtype=np.float64) for of in (found["signal"], signal))
    at = np.linspace(0, len(case) - 1, len(strip))
    known = np.isfinite(strip)
    assert known.mean() > 0.95
    assert np.corrcoef(strip[known], np.interp(at, np.arange(len(case)), case)[known])[0, 1] > 0.95
    leads = {one["lead"]: one for one in found["printed"] if not one["strip"]}
    assert leads["aVR"]["start_s"] == 2.5 and leads["aVR"]["row"] == 1 and min(found["confidence"].values()) > 0.5
    x, y = np.concatenate([line["points"] for line in leads["V1"]["lines"]]).T
    corners = np.array(found["page"]["corners"])
    assert corners[:, 0].min() - 5 < x.min() and x.max() < corners[:, 0].max() + 5 and np.ptp(y) > 3
    known_better = {"gain_mm_mv": 5, "leads": {"V1": "V2", "V2": "V1"}}
    put = http.post("/v1/digitize", files=sent, data={"known": json.dumps(known_better), "samples": "true"}).json()
    twice = np.array(put["signal"]["signal_mv"][1], dtype=float)
    assert np.nanmax(twice) == pytest.approx(2 * np.nanmax(strip), rel=0.05)
    assert [one["lead"] for one in put["printed"] if one["row"] == 1][2] == "V2" and not put["printed"][0]["lines"]
    brief = http.post("/v1/digitize", files=sent, data={"samples": "false"}).json()
    assert brief["signal"] is None and brief["printed"]


@pytest.mark.weights
def test_what_is_put_right_goes_with_a_search(http: httpx.Client, picture: bytes) -> None:
    sent = {"file": ("page.png", picture)}
    found = http.post("/v1/search", files=sent, data={"known": json.dumps({"speed_mm_s": 50})})
    assert found.status_code == 200 and found.json()["page"]["speed_mm_s"] == 50.0
    for known, kind in (
        ({"layout": "6x2"}, "image"), ({"gain_mm_mv": -1}, "query"), ({"leads": {"V1": "V2"}}, "query")
    ):  # fmt: skip
        refused = http.post("/v1/search", files=sent, data={"known": json.dumps(known)})
        assert (refused.status_code, refused.json()["type"]) == (422, f"/v1/problems#{kind}")
    assert http.post("/v1/digitize", files=sent, data={"known": "{]"}).status_code == 422


def test_only_pictures_are_digitised(http: httpx.Client, signal: dict[str, object]) -> None:
    refused = http.post("/v1/digitize", files={"file": ("x.csv", csv_of(signal))}, data={"fs_hz": "100"})
    assert refused.status_code == 422 and "samples already" in refused.json()["detail"]
    assert http.post("/v1/digitize", json={}).status_code == 415


@pytest.mark.weights
def test_a_case_that_came_as_a_picture_has_its_samples(http: httpx.Client, picture: bytes) -> None:
    """They are marked as read off it, can be fetched and drawn."""
    case = {"case_id": "pictures/1", "labels": {"SR": 100}, "report": "Sinus rhythm."}
    added = http.post("/v1/cases", files={"file": ("page.png", picture)}, data={"case": json.dumps(case)})
    assert added.status_code == 201 and added.json()["meta"]["digitised"]["layout"] == "3x4+1R"
    try:
        kept = http.get("/v1/cases/pictures/1/signal").json()
        assert len(kept["leads"]) == 12 and None in kept["signal_mv"][6]
        assert http.get("/v1/cases/pictures/1/page.svg").status_code == 200
    finally:
        http.delete("/v1/cases/pictures/1")
