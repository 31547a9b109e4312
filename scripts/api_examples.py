"""Make ui/api/examples.json anew: what the OpenAPI page shows as requests and answers.

    python scripts/api_examples.py

Every answer is what a server says, over 40 simulated cases and the encoder without weights, so no example is anybody's
ECG; long lists are cut. The samples are a simulated second of four leads at 100 Hz.
"""

from __future__ import annotations

import json
import re
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from ecgkin.index.ingest.pipeline import ingest_records, open_or_create
from ecgkin.retrieval.ecg.simulation.simulate import simulate
from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.ui.api.schemas import Signal
from ecgkin.ui.api.state import State
from ecgkin.ui.demo.cases import simulated_gallery
from ecgkin.ui.server.app import create_app
from ecgkin.ui.server.serving import in_thread
from ecgkin.ui.settings import load_settings

TARGET = Path(__file__).resolve().parent.parent / "ui" / "api" / "examples.json"
LEADS = ("I", "II", "V1", "V5")
JSON, EVENTS, FHIR = "application/json", "text/event-stream", "application/fhir+json"


def example_signal() -> dict[str, Any]:
    """One second of four leads, in hundredths of a millivolt."""
    record = simulate(["SR"], np.random.default_rng(7), fs_hz=100.0, duration_s=2.0, noise=0.0).record
    rows = [np.round(record.signal_mv[record.leads.index(lead), :100].astype(float), 2) + 0.0 for lead in LEADS]
    return Signal(signal_mv=[row.tolist() for row in rows], fs_hz=100.0, leads=list(LEADS)).model_dump()


def cut(value: Any, most: int = 2) -> Any:
    """The first entries of every list of objects and the first eight of every mapping from names to numbers."""
    if isinstance(value, list):
        return [cut(item, most) for item in value[:most]] if value and isinstance(value[0], dict) else value
    if isinstance(value, dict):
        items = list(value.items())
        if len(items) > 8 and all(isinstance(item, float) for _, item in items):
            items = items[:8]
        return {name: cut(item, most) for name, item in items}
    return value


def examples(http: httpx.Client) -> dict[str, Any]:
    """Ask a server once for everything."""

    def got(method: str, path: str, accept: str = JSON, **options: Any) -> Any:
        answer = http.request(method, path, headers={"Accept": accept}, **options)
        answer.raise_for_status()
        return answer.json() if answer.headers["content-type"].startswith((JSON, FHIR)) else answer.text

    signal = example_signal()
    case = {
        "case_id": "clinic/17", "patient_id": "clinic/4", "source": "clinic", "age_years": 71, "sex": "F",
        "recorded_at": "2024-11-09", "labels": {"SR": 100}, "report": "Sinus rhythm.", "language": "en",
    }  # fmt: skip
    words = {"text": "LBBB", "k": 5, "where": "age>=60"}
    found = got("POST", "/v1/search", json=words)
    query_id, ids = found["query_id"], [hit["case"]["case_id"] for hit in found["hits"]]
    marks = {
        "query_id": query_id,
        "marks": [{"case_id": ids[0], "similar": True}, {"case_id": ids[1], "similar": False}],
    }
    draft = {"signal": signal, "language": "en"}
    marked = got("POST", "/v1/feedback", json=marks)
    both = {"signal": signal, "text": "left bundle branch block", "weight": 0.5}
    searches = {
        "words": ("Words: a name, an abbreviation, a sentence", words),
        "samples": ("Samples", {"signal": signal, "k": 10, "exclude_patient": "clinic/4"}),
        "samples and words": ("Samples and words", both),
        "filter as an object": ("A filter as an object", {"text": "AFIB", "where": {"age": {">=": 60}, "sex": "F"}}),
        "refined": (
            "An earlier search, moved by marks (take the query_id of your own)",
            {"query_id": query_id, "similar": ids[:1]},
        ),
    }
    drafts = {
        "report": ("A report", draft),
        "German": ("In German, from older patients", draft | {"language": "de", "where": "age>=50"}),
    }
    embeddings = {"texts": ("Texts", {"texts": ["LBBB", "Vorhofflimmern"]}), "samples": ("Samples", {"signal": signal})}

    def named(given: dict[str, tuple[str, Any]]) -> dict[str, Any]:
        return {name: {"summary": summary, "value": value} for name, (summary, value) in given.items()}

    embedded = got("POST", "/v1/embeddings", json={"texts": ["LBBB"]})
    embedded["embeddings"] = [row[:4] for row in embedded["embeddings"]]
    explained = got("POST", "/v1/explanations", json={"signal": signal, "case_id": "simulated/3"})
    explained["stretches"] = explained["stretches"][:2]
    drawn = got("GET", "/v1/cases/simulated/3/page.svg")
    page = http.get("/v1/cases/simulated/3/page.png", params={"width": 1200}).content
    job = http.post("/v1/jobs", files={"file": ("page.png", page)}, data={"kind": "search", "k": 3}).json()
    while not (over := got("GET", f"/v1/jobs/{job['job_id']}"))["finished_at"]:
        time.sleep(0.1)
    results = cut(http.get(f"/v1/jobs/{job['job_id']}/results").json(), 1)
    digitized = http.post("/v1/digitize", files={"file": ("page.png", page)}, data={"curves": "true"}).json()
    digitized["signal"]["signal_mv"] = [row[100:104] for row in digitized["signal"]["signal_mv"]]
    digitized["printed"] = digitized["printed"][:1]
    for line in digitized["printed"][0]["lines"]:
        line["points"] = line["points"][:3]
    streamed = got("POST", "/v1/drafts", EVENTS, json=draft)
    stored = got("GET", "/v1/cases/simulated/3/signal")
    stored["signal_mv"] = [[value + 0.0 for value in row[:4]] for row in stored["signal_mv"]]
    first_events = "\n\n".join(streamed.split("\n\n")[:2]) + "\n\n"
    report = got("POST", "/v1/drafts", FHIR, json=draft)
    answers: dict[str, dict[str, Any]] = {
        "POST /v1/search": {
            "requests": named(searches),
            "fields": {"k": 10, "where": "age>=60 and sex=F", "text": ""},
            "responses": {JSON: cut(found)},
        },
        "POST /v1/embeddings": {"requests": named(embeddings), "responses": {JSON: embedded}},
        "POST /v1/explanations": {
            "requests": named({"samples": ("Samples", {"signal": signal, "case_id": "simulated/3"})}),
            "fields": {"case_id": "simulated/3"},
            "responses": {JSON: explained},
        },
        "POST /v1/digitize": {
            "fields": {"known": json.dumps({"gain_mm_mv": 10, "leads": {"V1": "V2", "V2": "V1"}}), "curves": True},
            "responses": {JSON: digitized},
        },
        "POST /v1/jobs": {
            "fields": {"kind": "search", "k": 3},
            "responses": {JSON: job},
        },
        "GET /v1/jobs/{job_id}": {"responses": {JSON: over}},
        "GET /v1/jobs/{job_id}/results": {"responses": {JSON: results}},
        "POST /v1/jobs/{job_id}/cancel": {"responses": {JSON: over}},
        "POST /v1/drafts": {
            "requests": named(drafts),
            "fields": {"k": 10, "language": "en"},
            "responses": {JSON: cut(got("POST", "/v1/drafts", json=draft), 1), EVENTS: first_events, FHIR: report},
        },
        "POST /v1/feedback": {
            "requests": named({"marks": ("One hit is similar, one is not", marks)}),
            "responses": {JSON: marked},
        },
        "GET /v1/feedback": {
            "responses": {
                JSON: got("GET", "/v1/feedback"),
                "text/csv": got("GET", "/v1/feedback", params={"format": "csv"}),
            }
        },
        "GET /v1/cases": {"responses": {JSON: cut(got("GET", "/v1/cases"), 1)}},
        "POST /v1/cases": {
            "requests": named({"samples": ("A case with its samples", {"case": case, "signal": signal})}),
            "fields": {"case": json.dumps(case)},
            "responses": {JSON: got("POST", "/v1/cases", json={"case": case, "signal": signal})},
        },
        "GET /v1/cases/{case_id}": {"responses": {JSON: got("GET", "/v1/cases/simulated/3")}},
        "GET /v1/cases/{case_id}/signal": {"responses": {JSON: stored}},
        "GET /v1/cases/{case_id}/page.{form}": {"responses": {"image/svg+xml": f"{drawn[:200]}..."}},
        "GET /v1/map": {"responses": {JSON: cut(got("GET", "/v1/map"))}},
        "GET /v1/info": {"responses": {JSON: got("GET", "/v1/info")}},
        "GET /v1/problems": {"responses": {JSON: got("GET", "/v1/problems")[:3]}},
        "GET /healthz": {"responses": {JSON: got("GET", "/healthz")}},
        "GET /readyz": {"responses": {JSON: got("GET", "/readyz")}},
        "GET /metrics": {
            "responses": {
                "text/plain": "\n".join(
                    re.findall(r"^(?:# .*ecgkin_index_cases.*|ecgkin_index_cases .*)$", got("GET", "/metrics"), re.M)
                )
                + "\n"
            }
        },
    }
    return answers


def main() -> None:
    """Write the file."""
    with tempfile.TemporaryDirectory() as folder:
        encoder, settings = HashingEncoder(), load_settings(api_port=0)
        with open_or_create(Path(folder) / "base", encoder) as base:
            ingest_records(base, simulated_gallery(40), encoder)
        app = create_app(settings, State(Path(folder) / "base", settings, encoder))
        with in_thread(app, settings) as url, httpx.Client(base_url=url, timeout=60.0, trust_env=False) as http:
            found = examples(http)
    text = json.dumps(found, ensure_ascii=False, indent=1)
    # A row of numbers on one line.
    text = re.sub(r"\[\s+((?:-?[\d.e-]+|null)(?:,\s+(?:-?[\d.e-]+|null))*)\s+\]", _one_line, text)
    TARGET.write_text(f"{text}\n", encoding="utf-8")


def _one_line(found: re.Match[str]) -> str:
    return "[" + ", ".join(found[1].replace("\n", " ").replace(",", " ").split()) + "]"


if __name__ == "__main__":
    main()
