"""The download against a server on loopback that serves the official layout and behaves badly."""

from __future__ import annotations

import csv
import hashlib
import http.server
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import wfdb

from ecgkin.retrieval.ecg.formats.ptbxl import PtbXl
from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.errors import EcgkinError
from ecgkin.ui.download import fetcher
from ecgkin.ui.download.fetcher import DownloadError
from ecgkin.ui.download.ptbxl import choose_records, download_ptbxl

CODES = ["NORM", "AFIB", "CLBBB", "LVH", "IMI"]


def build(root: Path, n: int = 12) -> Path:
    """A tiny official layout: n records of noise, labels in turn, every fourth in fold 10, with its SHA-256 list."""
    rng = np.random.default_rng(0)
    with (root / "ptbxl_database.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        columns = [
            "ecg_id",
            "patient_id",
            "age",
            "sex",
            "device",
            "recording_date",
            "report",
            "scp_codes",
            "strat_fold",
        ]
        writer.writerow([*columns, "filename_lr", "filename_hr"])
        for k in range(1, n + 1):
            name = f"records100/00000/{k:05d}_lr"
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            wfdb.wrsamp(Path(name).name, 100, ["mV"] * 12, list(LEADS), rng.normal(0, 0.3, (1000, 12)), fmt=["16"] * 12,
                        write_dir=str((root / name).parent))  # fmt: skip
            codes = {CODES[k % len(CODES)]: 100.0, "SR": 0.0}
            writer.writerow([k, k, 50, 0, "", "", f"report {k}", codes, 10 if k % 4 == 0 else 1 + k % 9, name, ""])
    (root / "scp_statements.csv").write_text("," + "description\n")
    files = sorted(p for p in root.rglob("*") if p.is_file())
    sums = [f"{hashlib.sha256(p.read_bytes()).hexdigest()} {p.relative_to(root)}" for p in files]
    (root / "SHA256SUMS.txt").write_text("\n".join(sums) + "\n")
    return root


class Server:
    """Serves a folder with ranges; `breaks`: name -> how often to break off in mid-file; `wrong`: name -> bad answers;
    `status`: name -> codes to answer first. `asked` counts requests, `ranges` holds what was asked for."""

    def __init__(self, root: Path) -> None:
        self.breaks: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()
        self.status: dict[str, list[int]] = {}
        self.ignore_range = False
        self.asked: Counter[str] = Counter()
        self.ranges: list[tuple[str, str]] = []
        outer, lock = self, threading.Lock()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.lstrip("/")
                wanted = self.headers.get("Range")
                with lock:
                    outer.asked[name] += 1
                    if wanted:
                        outer.ranges.append((name, wanted))
                    code = outer.status[name].pop(0) if outer.status.get(name) else 0
                    cut, wrong = outer.breaks[name] > 0, outer.wrong[name] > 0
                    outer.breaks[name] -= cut
                    outer.wrong[name] -= wrong
                if code or not (root / name).is_file():
                    self.send_error(code or 404)
                    return
                body = (root / name).read_bytes()
                if wrong:
                    body = bytes(b ^ 0xFF for b in body)
                start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and not outer.ignore_range else 0
                if start >= len(body):
                    self.send_error(416)
                    return
                self.send_response(206 if start else 200)
                if start:
                    self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
                self.send_header("Content-Length", str(len(body) - start))
                self.end_headers()
                rest = body[start:]
                self.wfile.write(rest[: len(rest) // 2] if cut else rest)

            def log_message(self, *_: object) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("official"))


@pytest.fixture
def server(layout: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(fetcher, "_BACK_OFF_S", 0.001)
    running = Server(layout)
    yield running
    running.close()


def test_whole_download_reads_as_ptbxl(server: Server, layout: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    report = download_ptbxl(tmp_path / "d", base_url=server.url, records=50, progress=lambda *a: seen.append(a))
    assert report.records == 9 and report.fetched == 1 + 2 + 18 and report.skipped == 0
    assert set(report.statements) == {*CODES, "SR"} and report.statements["SR"] == 9
    data = PtbXl(tmp_path / "d")
    assert [row.ecg_id for row in data.rows] == [k for k in range(1, 13) if k % 4] and data.n_listed == 12
    np.testing.assert_array_equal(
        data.signals(data.rows), PtbXl(layout).signals([r for r in PtbXl(layout).rows if r.fold < 10])
    )
    assert seen[-1][:2] == (18, 18) and not list((tmp_path / "d").rglob("*.part"))


def test_break_in_mid_file_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    name = "records100/00000/00001_lr.dat"
    server.breaks[name] = 3
    report = download_ptbxl(tmp_path / "d", base_url=server.url)
    size = (tmp_path / "d" / name).stat().st_size
    assert [r for n, r in server.ranges if n == name] == [
        f"bytes={size // 2}-",
        f"bytes={size * 3 // 4}-",
        f"bytes={size * 7 // 8}-",
    ]
    assert report.records == 9


def test_second_call_goes_on_and_skips_what_is_whole(server: Server, tmp_path: Path) -> None:
    name = "records100/00000/00005_lr.dat"
    server.status[name] = [404]
    with pytest.raises(DownloadError, match="the server answers 404"):
        download_ptbxl(tmp_path / "d", base_url=server.url, workers=1)
    part = (tmp_path / "d" / name).with_suffix(".dat.part")
    part.write_bytes(
        (tmp_path / "d" / "records100/00000/00001_lr.dat").read_bytes()[:100]
    )  # of another file: sum fails
    before = Counter(server.asked)
    report = download_ptbxl(tmp_path / "d", base_url=server.url)
    assert report.skipped >= 2 + 4 and (name, "bytes=100-") in server.ranges
    assert server.asked["records100/00000/00001_lr.dat"] == before["records100/00000/00001_lr.dat"] == 1
    third = download_ptbxl(tmp_path / "d", base_url=server.url)
    assert (third.fetched, third.skipped) == (1, 20)


def test_spoilt_file_is_fetched_again(server: Server, tmp_path: Path) -> None:
    download_ptbxl(tmp_path / "d", base_url=server.url)
    file = tmp_path / "d" / "records100/00000/00001_lr.dat"
    good = file.read_bytes()
    file.write_bytes(good[:-2])
    assert download_ptbxl(tmp_path / "d", base_url=server.url).fetched == 2 and file.read_bytes() == good


def test_wrong_bytes_once_are_fetched_again(server: Server, tmp_path: Path) -> None:
    name = "records100/00000/00002_lr.dat"
    server.wrong[name] = 1
    download_ptbxl(tmp_path / "d", base_url=server.url)
    assert server.asked[name] == 2


def test_wrong_bytes_twice_are_an_error_and_leave_no_file(server: Server, tmp_path: Path) -> None:
    name = "records100/00000/00002_lr.dat"
    server.wrong[name] = 2
    with pytest.raises(DownloadError, match=r"00002_lr\.dat: SHA-256 is"):
        download_ptbxl(tmp_path / "d", base_url=server.url)
    assert not (tmp_path / "d" / name).exists() and not (tmp_path / "d" / (name + ".part")).exists()


def test_server_without_ranges_and_with_hiccups(server: Server, tmp_path: Path) -> None:
    server.ignore_range = True
    server.breaks["ptbxl_database.csv"] = 1
    server.status["records100/00000/00001_lr.hea"] = [503, 429, 500]
    assert download_ptbxl(tmp_path / "d", base_url=server.url).records == 9


def test_part_longer_than_the_file_starts_over(server: Server, tmp_path: Path) -> None:
    part = tmp_path / "d" / "records100/00000/00001_lr.hea.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(bytes(100_000))
    assert download_ptbxl(tmp_path / "d", base_url=server.url).records == 9


def test_a_server_that_keeps_failing_is_given_up(server: Server, tmp_path: Path) -> None:
    server.status["scp_statements.csv"] = [503] * 99
    with pytest.raises(DownloadError, match="failed 5 times in a row") as caught:
        download_ptbxl(tmp_path / "d", base_url=server.url)
    assert "where it stopped" in caught.value.hint and isinstance(caught.value, EcgkinError)


def test_no_network_gives_up_within_seconds(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(DownloadError, match="cannot be reached"):
        download_ptbxl(tmp_path / "d", base_url="http://127.0.0.1:9/")
    assert time.monotonic() - began < 5


def test_a_server_that_never_answers_is_given_up_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.setattr(fetcher, "FIRST_CONTACT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(DownloadError, match="cannot be reached"):
            download_ptbxl(tmp_path / "d", base_url=f"http://127.0.0.1:{silent.getsockname()[1]}/")
        assert time.monotonic() - began < 3


def test_other_servers_and_bad_arguments(server: Server, layout: Path, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="404"):
        download_ptbxl(tmp_path / "d", base_url=server.url + "elsewhere/")
    with pytest.raises(DownloadError, match="expected http"):
        download_ptbxl(tmp_path / "d", base_url="ftp://example.org/")
    with pytest.raises(DownloadError, match="records is 0"):
        download_ptbxl(tmp_path / "d", base_url=server.url, records=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(DownloadError, match="cannot write"):
        download_ptbxl(tmp_path / "file", base_url=server.url)


def test_choice_covers_every_statement_and_is_always_the_same(layout: Path, tmp_path: Path) -> None:
    names, count = choose_records(layout / "ptbxl_database.csv", 1)
    assert set(count) == {*CODES, "SR"} and len(names) == 5
    assert choose_records(layout / "ptbxl_database.csv", 1) == (names, count)
    assert len(choose_records(layout / "ptbxl_database.csv", 7)[0]) == 7
    bad = tmp_path / "t.csv"
    bad.write_text("filename_lr,strat_fold,scp_codes\n../../x,1,{}\n")
    with pytest.raises(DownloadError, match="not PTB-XL's table"):
        choose_records(bad, 5)


def test_choice_from_the_real_table_is_balanced(ptbxl_root: Path) -> None:
    names, count = choose_records(ptbxl_root / "ptbxl_database.csv", 1500)
    assert len(names) == 1500 and len(count) == 71
    assert min(count.values()) >= 9 and sum(n >= 50 for n in count.values()) >= 45


def test_a_file_that_keeps_breaking_off_is_not_given_up_while_it_grows(server: Server, tmp_path: Path) -> None:
    """Five failures in a row end a download only where none of them brought a byte."""
    name = "records100/00000/00001_lr.dat"
    server.breaks[name] = 9
    assert download_ptbxl(tmp_path / "d", base_url=server.url).records == 9
    assert server.asked[name] == 10
    # Two failures between breaks that bring bytes: never five in a row.
    other = "records100/00000/00002_lr.dat"
    (tmp_path / "d" / other).unlink()
    server.status[other] = [503, 503, 503, 503]
    server.breaks[other] = 3
    assert download_ptbxl(tmp_path / "d", base_url=server.url).fetched == 2


def test_rare_statements_are_chosen_for_first(tmp_path: Path) -> None:
    """The one record of a rare statement also covers the common ones that it carries: no other is needed for them."""
    table = tmp_path / "t.csv"
    lines = ["filename_lr,strat_fold,scp_codes"]
    lines += [f"records100/00000/{n:05d}_lr,1,\"{{'AFIB': 100.0, 'LVH': 50.0}}\"" for n in range(1, 31)]
    lines.append("records100/00000/00031_lr,2,\"{'AFIB': 100.0, 'LVH': 100.0, 'WPW': 100.0}\"")
    table.write_text("\n".join(lines) + "\n")
    names, count = choose_records(table, 1)
    assert names == ["records100/00000/00031_lr"] and count == {"AFIB": 1, "LVH": 1, "WPW": 1}
