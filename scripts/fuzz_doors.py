"""Fuzz the doors, API and command line, in this process: changed requests, changed words, with time and memory watched.

    python scripts/fuzz_doors.py api|cli [--minutes 5] [--seed 0] [--seeds FOLDER...] [--json FILE]

API: sound requests of every route, of which members are exchanged for odd values, copied, left out, nested; addresses
and queries likewise; files of the folders and of the tests, damaged as `fuzz_formats` does. Cases that were accepted
stay, so that what is stored meets what is asked later. A fault is an answer of 500, an exception, 503 without load, an
answer that is no JSON where one is promised, more than 10 s of processor time, or growth of memory beyond 500 MB.
Command line: commands with odd words and damaged files. A fault is a traceback, a status that the README does not
explain, "fault of ecgkin", more than 30 s.

Prints each fault once, and a line of the table: door, minutes, inputs, answers by status, faults.
"""

from __future__ import annotations

import argparse
import copy
import io
import json
import random
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from fuzz_formats import mutated

from ecgkin.index.ingest.pipeline import ingest_records, open_or_create
from ecgkin.retrieval.ecg.simulation.simulate import simulate
from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.ui.demo.cases import simulated_gallery

SLOW_S, CLI_SLOW_S, GROWTH_MB = 10.0, 30.0, 500
STATUSES = (
    0,
    None,
    1,
    2,
    3,
    4,
    5,
    130,
)  # as the README explains them; 130: a question was answered by the end of input
_TEXTS = (".xml", ".csv", ".txt", ".json", ".hea", ".pdf")
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 10**400, 1e308, -1e308, 1e-320, 0.5, "", " ", "a",
    "\x00", "\n", "..", "../x", "/etc/passwd", "a" * 600, "ä", "\u202ex", "\U0001f600", "%00", "%", "NaN", "1e999",
    "' OR 1=1 --", '"', "{}", "label:AFIB", "age>=60", "x" * 10_001, [], {}, [[]], [None], {"": 0}, {"a": {"b": [1]}},
    "AFIB", "en", "de", "ptbxl/1", "simulated/3", "0" * 32, "V1", "aVR", "mV", "2020-01-02", "3x4+1R",
)  # fmt: skip
_RAW = ("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1E400", '"\\ud800"', "1" * 500, "[" * 300, '{"a":' * 200)


class Faults:
    """What was found, each kind once."""

    def __init__(self) -> None:
        self.seen: dict[str, str] = {}
        self.statuses: Counter[str] = Counter()
        self.n = 0
        self.slowest = 0.0

    def add(self, kind: str, told: str) -> None:
        """Keep and print the first of a kind."""
        if kind not in self.seen:
            self.seen[kind] = told
            print(f"FAULT {kind}: {told[:1500]}", file=sys.stderr, flush=True)


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in a JSON value; of long lists the ends."""
    yield at
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*at, key))
    elif isinstance(value, list):
        for k in range(len(value)) if len(value) < 6 else (0, 1, len(value) - 1):
            yield from places(value[k], (*at, k))


def changed(value: Any, rng: random.Random) -> Any:
    """One to three changes somewhere in a JSON value."""
    out = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 2, 3))):
        where = rng.choice([p for p in places(out) if p] or [()])
        if not where:
            return rng.choice(ODD)
        holder = out
        for step in where[:-1]:
            holder = holder[step]
        kind, last = rng.randrange(8), where[-1]
        if kind == 0 and isinstance(holder, dict):
            del holder[last]
        elif kind == 1 and isinstance(holder, dict):
            holder[rng.choice([str(o)[:40] for o in ODD])] = rng.choice(ODD)
        elif kind == 2 and isinstance(holder, list):
            holder[:] = holder * 2
        elif kind == 3:
            holder[last] = [holder[last]]
        elif kind == 4:
            holder[last] = {"x": holder[last]}
        else:
            holder[last] = rng.choice(ODD)
    return out


def raw(value: Any, rng: random.Random) -> bytes:
    """As bytes, now and then with words that JSON does not know, or cut off."""
    text = json.dumps(value)
    if rng.random() < 0.15 and any(c.isdigit() for c in text):
        at = rng.choice([k for k, c in enumerate(text) if c.isdigit()])
        text = text[:at] + rng.choice(_RAW) + text[at + 1 :]
    body = text.encode("utf-8", "surrogatepass")
    return mutated(body, rng, text=True) if rng.random() < 0.1 and body else body


def seeds_of(folders: list[Path]) -> list[Path]:
    """Files to damage."""
    own = Path(__file__).resolve().parents[1] / "tests" / "fixtures"
    kept = (".hea", ".dcm", ".scp", ".xml", ".edf", ".mwf", ".ecg", ".pdf", ".csv", ".txt", ".png", ".json", ".avif")
    files = [f for folder in (*folders, own / "faults", own / "hostile", own / "pulse-tiny") for f in folder.rglob("*")]
    return sorted(f for f in files if f.suffix.lower() in kept and f.is_file() and f.stat().st_size < 400_000)


def fuzz_api(minutes: float, rng: random.Random, folders: list[Path], found: Faults) -> None:
    """Requests until the time is over."""
    from fastapi.testclient import TestClient

    from ecgkin.ui.api.schemas import EXAMPLE_CASE
    from ecgkin.ui.api.state import State
    from ecgkin.ui.server.app import create_app
    from ecgkin.ui.settings import load_settings

    encoder = HashingEncoder()
    folder = Path(tempfile.mkdtemp(prefix="ecgkin-doors-"))
    with open_or_create(folder / "base", encoder) as base:
        ingest_records(base, simulated_gallery(20), encoder)
    config = load_settings(api_port=0)
    app = create_app(config, State(folder / "base", config, encoder))
    record = simulate(["AFIB"], np.random.default_rng(1)).record
    rows = [[round(float(v), 2) for v in row[::5]] for row in record.signal_mv]
    signal = {"signal_mv": rows, "fs_hz": record.fs_hz / 5, "leads": list(record.leads)}
    few = {"signal_mv": [[0.0, 0.1, None], [0.0, 0.2, 1.4]], "fs_hz": 500.0, "leads": ["I", "II"]}
    where = {"age": {">=": 60}, "or": [{"sex": "F"}, {"not": {"label": ["AFIB", {"LVH": {">=": 50}}]}}]}
    parts = [
        {"kind": "statement", "code": "AFIB", "polarity": "absent"},
        {"kind": "measure", "name": "qtc_ms", "at_least": 480},
    ]
    question = {"k": 3, "where": where, "exclude_patient": "simulated/1", "weight": 0.5}
    marks = {"query_id": "0" * 32, "marks": [{"case_id": "simulated/3", "similar": True}]}
    case = {**EXAMPLE_CASE, "meta": {"measurements": {"qtc_ms": 480, "rate_bpm": 77}, "infarction_stage": "old"}}
    known = {"layout": "3x4+1R", "leads": {"V1": "V2"}, "speed_mm_s": 25, "corners": [[0, 0], [9, 0], [9, 9], [0, 9]]}
    posts: list[tuple[str, dict[str, Any]]] = [
        ("/v1/search", {"text": "AF without LBBB, QTc > 400, women over 60", **question}),
        ("/v1/search", {"text": "AF", "understood": parts, "raw": False}),
        ("/v1/search", {"signal": signal, "previous": "simulated/3", **question}),
        ("/v1/search", {"signal": few}),
        ("/v1/search", {"query_id": "0" * 32, "similar": ["simulated/3"], "not_similar": ["simulated/4"]}),
        ("/v1/drafts", {"signal": signal, "k": 3, "language": "de", "where": where, "question": "AF?", "evidence": 2}),
        ("/v1/embeddings", {"texts": ["LBBB", "x"], "signal": None}),
        ("/v1/embeddings", {"signal": signal}),
        ("/v1/explanations", {"signal": signal, "case_id": "simulated/3"}),
        ("/v1/cases", {"case": case, "signal": signal}),
        ("/v1/feedback", marks),
    ]
    uploads = ("/v1/search", "/v1/drafts", "/v1/embeddings", "/v1/explanations", "/v1/digitize", "/v1/cases")
    one = "/v1/cases/{id}"
    gets = ("/v1/cases", one, f"{one}/signal", f"{one}/page.svg", f"{one}/page.png", "/v1/map", "/v1/feedback",
            "/v1/info", "/v1/problems", "/readyz", "/metrics", "/healthz", "/{id}")  # fmt: skip
    queries = (
        "where",
        "limit",
        "offset",
        "width",
        "layout",
        "grid",
        "format",
        "query_id",
        "speed",
        "gain",
        "dpi",
        "order",
    )
    files = seeds_of(folders)
    ids = ["simulated/3"]
    client_of = TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50000), raise_server_exceptions=False)
    start_mb = 0.0
    with client_of as client:
        until = time.monotonic() + 60 * minutes
        while time.monotonic() < until:
            kind = rng.random()
            told = ""
            begun = time.process_time()
            try:
                if kind < 0.5:
                    path, body = rng.choice(posts)
                    if "query_id" in body and len(ids) > 1 and rng.random() < 0.5:
                        body = {**body, "query_id": ids[-1]}
                    content = raw(changed(body, rng) if rng.random() < 0.9 else body, rng)
                    told = f"POST {path} {content[:700]!r}"
                    answer = client.post(path, content=content, headers={"Content-Type": "application/json"})
                elif kind < 0.8 and files:
                    file = rng.choice(files)
                    data = mutated(file.read_bytes() or b"x", rng, text=file.suffix.lower() in _TEXTS)
                    fields: dict[str, Any] = {"k": "3"} if rng.random() < 0.5 else {}
                    path = rng.choice(uploads)
                    if path == "/v1/explanations":
                        fields["case_id"] = "simulated/3"
                    if path == "/v1/cases":
                        fields["case"] = raw(changed(case, rng), rng).decode("utf-8", "replace")
                    for name in rng.sample(("known", "fs_hz", "page", "units", "k", "where", "language", "curves"), 2):
                        odd = rng.choice(ODD)
                        fields[name] = json.dumps(changed(known, rng)) if name == "known" else str(odd)[:2000]
                    told = f"POST {path} file {file.name} {len(data)} B fields {str(fields)[:500]}"
                    answer = client.post(path, files={"file": (file.name, data)}, data=fields)
                else:
                    name = rng.choice([*ids, *(str(o)[:600] for o in ODD if o)])
                    path = rng.choice(gets).replace("{id}", quote(name, safe="/" if rng.random() < 0.5 else ""))
                    chosen = rng.sample(queries, rng.randrange(3))
                    asked = {key: str(rng.choice(ODD))[:3000] for key in chosen}
                    method = "DELETE" if rng.random() < 0.1 and "cases/" in path else "GET"
                    told = f"{method} {path[:300]} {str(asked)[:400]}"
                    answer = client.request(method, path, params=asked)
            except Exception as error:
                if type(error).__module__.startswith(("httpx", "h11")) or isinstance(error, UnicodeError):
                    continue  # the client would not send it
                at = traceback.extract_tb(error.__traceback__)[-1]
                found.add(f"{type(error).__name__} {Path(at.filename).name}:{at.lineno}", f"{told}\n{error!r}")
                continue
            took = time.process_time() - begun
            found.n += 1
            found.slowest = max(found.slowest, took)
            found.statuses[str(answer.status_code)] += 1
            if answer.status_code >= 500:
                why = answer.json().get("type", "") if "json" in answer.headers.get("content-type", "") else ""
                found.add(f"{answer.status_code} {told.split()[0]} {told.split()[1][:40]} {why[-20:]}", told)
            elif "json" in answer.headers.get("content-type", ""):
                try:
                    json.loads(answer.content, parse_constant=lambda word: (_ for _ in ()).throw(ValueError(word)))
                except ValueError as error:
                    found.add(f"no JSON {told.split()[1][:40]}", f"{told}\n{error}\n{answer.content[:300]!r}")
            if answer.status_code == 201 and len(ids) < 50:
                ids.append(answer.json()["case_id"])
            if took > SLOW_S:
                found.add(f"slow {told.split()[1][:40]}", f"{took:.1f} s: {told}")
            if found.n == 200:
                start_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        end_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if start_mb and end_mb - start_mb > GROWTH_MB:
        found.add("memory", f"{start_mb:.0f} -> {end_mb:.0f} MB")


def fuzz_cli(minutes: float, rng: random.Random, folders: list[Path], found: Faults) -> None:
    """Commands until the time is over."""
    import os

    from ecgkin.ui.cli.main import main

    os.environ["ECGKIN_ENCODER"] = "hashing"
    folder = Path(tempfile.mkdtemp(prefix="ecgkin-doors-"))
    os.environ["ECGKIN_HOME"] = str(folder)
    encoder = HashingEncoder()
    with open_or_create(folder / "base", encoder) as base:
        ingest_records(base, simulated_gallery(20), encoder)
    files = seeds_of(folders)
    manifest = (folder / "base" / "manifest.json").read_bytes()
    os.chdir(folder)
    commands: tuple[tuple[str, ...], ...] = (
        ("search", "BASE", "FILE"), ("search", "BASE", "--text", "ODD"), ("search", "BASE", "FILE", "--json"),
        ("search", "BASE", "--text", "AF", "--where", "ODD"), ("draft", "BASE", "FILE"),
        ("draft", "BASE", "FILE", "--lang", "de"),
        ("compare", "FILE", "FILE"), ("digitize", "FILE", "-o", "OUT"), ("ingest", "FILE", "-o", "NEW"),
        ("ingest", "FOLDER", "-o", "NEW"), ("ingest", "TABLE", "-o", "NEW"), ("base", "info", "BASE"),
        ("base", "info", "DAMAGED"), ("cases", "list", "BASE", "--where", "ODD"), ("cases", "show", "BASE", "ODD"),
        ("cases", "remove", "BASE", "ODD"),
        ("base", "snapshot", "BASE", "OUT"), ("base", "restore", "SNAP", "NEW"), ("base", "verify", "DAMAGED"),
        ("report", "FILE"), ("config", "ODD"), ("ODD",), ("search", "ODD", "ODD"),
    )  # fmt: skip
    until = time.monotonic() + 60 * minutes
    k = 0
    while time.monotonic() < until:
        k += 1
        words = []
        for word in rng.choice(commands):
            if word == "FILE":
                source = rng.choice(files)
                target = folder / "in" / f"{k}{source.suffix}"
                target.parent.mkdir(exist_ok=True)
                target.write_bytes(mutated(source.read_bytes() or b"x", rng, text=source.suffix.lower() in _TEXTS))
                words.append(str(target))
            elif word in ("FOLDER", "TABLE"):
                inside = folder / f"folder-{k}"
                inside.mkdir()
                for n in range(2):
                    source = rng.choice(files)
                    (inside / f"r{n}{source.suffix}").write_bytes(source.read_bytes())
                cells = [str(rng.choice(ODD))[:200] for _ in range(8)]
                head = "file,patient_id,age,sex,recorded_at,report,labels,fs_hz\n"
                (inside / "cases.csv").write_bytes(
                    mutated((head + "r0.csv," + ",".join(cells)).encode("utf-8", "replace"), rng, text=True)
                )
                words.append(str(inside))
            elif word == "DAMAGED":
                broken = folder / "damaged"
                broken.mkdir(exist_ok=True)
                for file in (folder / "base").iterdir():
                    if file.is_file():
                        data = file.read_bytes()
                        data = mutated(manifest, rng, text=True) if file.name == "manifest.json" else data
                        if file.suffix in (".sqlite", ".faiss") and rng.random() < 0.5:
                            data = mutated(data, rng, text=False)
                        (broken / file.name).write_bytes(data)
                words.append(str(broken))
            elif word == "SNAP":
                broken = folder / "snap"
                broken.mkdir(exist_ok=True)
                (broken / "snapshot.json").write_bytes(mutated(manifest, rng, text=True))
                words.append(str(broken))
            elif word == "ODD":
                words.append(str(rng.choice(ODD))[:300])
            else:
                words.append({"BASE": str(folder / "base"), "OUT": f"out-{k}", "NEW": f"new-{k}"}.get(word, word))
        if rng.random() < 0.2:
            words.insert(
                rng.randrange(len(words) + 1), rng.choice(("--json", "-k", "--where", "--lang", "--page", "--fs"))
            )
        status: object = 0
        out, err = io.StringIO(), io.StringIO()
        begun = time.process_time()
        try:
            with redirect_stdout(out), redirect_stderr(err):
                main(words)
        except SystemExit as stopped:
            status = stopped.code
        except BaseException:
            found.add(f"exception {words[0][:20]}", f"{words}\n{traceback.format_exc()[-1200:]}")
            continue
        took = time.process_time() - begun
        found.n += 1
        found.slowest = max(found.slowest, took)
        found.statuses[str(status)] += 1
        said = err.getvalue()
        if status not in STATUSES or "Traceback" in said or "fault of ecgkin" in said:
            found.add(f"status {status} {words[:2]} {said.strip().splitlines()[-1:]}"[:160], f"{words}\n{said[-1200:]}")
        if took > CLI_SLOW_S:
            found.add(f"slow {words[0][:20]}", f"{took:.1f} s: {words}")


def main() -> None:
    """Fuzz one door."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("door", choices=("api", "cli"))
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", type=Path, nargs="*", default=[])
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    found = Faults()
    run = fuzz_api if asked.door == "api" else fuzz_cli
    run(asked.minutes, random.Random(asked.seed), [f.resolve() for f in asked.seeds], found)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    told = " ".join(f"{status}: {n}" for status, n in sorted(found.statuses.items()))
    line = f"| {asked.door} | {asked.minutes:g} | {found.n} | {told} | {len(found.seen)} "
    line += f"| {peak:.0f} MB | {found.slowest:.1f} s |"
    print(line, flush=True)
    if asked.json:
        asked.json.write_text(json.dumps({"n": found.n, "faults": found.seen, "line": line}, indent=1))
    sys.exit(1 if found.seen else 0)


if __name__ == "__main__":
    main()
