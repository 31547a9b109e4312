"""Objects a second that `ecgkin listen` acknowledges and takes in, and what is lost when it is killed meanwhile.

    python scripts/bench_listen.py --objects 200 --kills 3
    python scripts/bench_listen.py --objects 200 --kills 3 --sender storescu --sender-kills 3  # of dcmtk

Simulated 12-lead ECGs are sent over several associations. Receiver and sender (dcmtk's storescu) are killed (SIGKILL)
at random moments and started again; a sender that finds nobody tries again, as carts do. At the end every acknowledged
object must be a case.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np


def objects(folder: Path, n: int) -> list[Any]:
    """n ECG objects of their own."""
    import pydicom

    from ecgkin.index.case import Case
    from ecgkin.index.transfer.export_dicom import write_dicom
    from ecgkin.retrieval.ecg.simulation.simulate import simulate_corpus

    made = simulate_corpus(n, 7, 500.0)
    return [pydicom.dcmread(write_dicom(folder, Case(f"x/{k}", f"P{k}"), ecg.record)) for k, ecg in enumerate(made)]


class Receiver:
    """`ecgkin listen`, again and again on one port."""

    def __init__(self, base: Path, encoder: str) -> None:
        self.base, self.encoder, self.port = base, encoder, "0"
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it; the first time it takes a free port."""
        command = [
            sys.executable,
            "-m",
            "ecgkin",
            "listen",
            str(self.base),
            "--port",
            self.port,
            "--encoder",
            self.encoder,
        ]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout is not None
        self.port = self.process.stdout.readline().strip().rpartition(":")[2]

    def end(self, number: int) -> None:
        """Send it a signal and wait."""
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait()


def send(share: list[Any], receiver: Receiver, acknowledged: dict[str, float], turn: threading.Lock) -> None:
    """Send some objects until each is acknowledged."""
    from pynetdicom import AE

    entity = AE(ae_title="BENCH")
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 10
    for kind in {data.SOPClassUID for data in share}:
        entity.add_requested_context(kind)
    waiting = list(share)
    while waiting:
        association = entity.associate("127.0.0.1", int(receiver.port), ae_title="ECGKIN")
        while waiting and association.is_established:
            begun = time.perf_counter()
            try:
                status = association.send_c_store(waiting[0])
            except (RuntimeError, ValueError):
                break
            if not status or status.Status != 0:
                break
            with turn:
                acknowledged[str(waiting[0].SOPInstanceUID)] = time.perf_counter() - begun
            waiting.pop(0)
        if association.is_established:
            association.release()
        elif waiting:
            time.sleep(0.2)


class Sender:
    """dcmtk's storescu, again and again, until each of its objects is acknowledged.

    Args:
        share: What it has to send.
        receiver: Where to.
        acknowledged: Grows by SOP instances.
        turn: Held while it grows.
    """

    def __init__(
        self, share: list[Any], receiver: Receiver, acknowledged: dict[str, float], turn: threading.Lock
    ) -> None:
        self.files = {str(Path(data.filename).resolve()): str(data.SOPInstanceUID) for data in share}
        self.receiver, self.acknowledged, self.turn = receiver, acknowledged, turn
        self.process: subprocess.Popen[str] | None = None

    def send(self) -> None:
        """Send; what is not acknowledged is sent again."""
        waiting = dict(self.files)
        while waiting:
            begun, now = time.perf_counter(), ""
            command = ["storescu", "-v", "-to", "10", "-ta", "10", "-td", "10", "-aet", "BENCH", "-aec", "ECGKIN"]
            command += ["127.0.0.1", self.receiver.port, *waiting]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            self.process = process
            assert process.stderr is not None
            for line in process.stderr:
                _, sending, name = line.strip().partition("Sending file: ")
                if sending:
                    now, begun = name, time.perf_counter()
                elif "Received Store Response (Success)" in line and now in waiting:
                    with self.turn:
                        self.acknowledged[waiting.pop(now)] = time.perf_counter() - begun
            process.wait()
            if waiting:
                time.sleep(0.2)

    def end(self) -> None:
        """Kill it where it stands; it begins again."""
        if self.process is not None:
            self.process.kill()


def main() -> None:
    """Measure, print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=200)
    parser.add_argument("--associations", type=int, default=2)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--sender", choices=("pynetdicom", "storescu"), default="pynetdicom")
    parser.add_argument("--sender-kills", type=int, default=0, help="with storescu")
    parser.add_argument("--encoder", default="hashing")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "dcm").mkdir()
        every = objects(folder / "dcm", options.objects)
        size = sum(path.stat().st_size for path in (folder / "dcm").iterdir()) / len(every)
        receiver = Receiver(folder / "base", options.encoder)
        receiver.start()
        acknowledged: dict[str, float] = {}
        turn, begun = threading.Lock(), time.perf_counter()
        shares = [every[k :: options.associations] for k in range(options.associations)]
        senders = [Sender(share, receiver, acknowledged, turn) for share in shares]
        threads = [
            threading.Thread(target=sender.send)
            if options.sender == "storescu"
            else threading.Thread(target=send, args=(share, receiver, acknowledged, turn))
            for sender, share in zip(senders, shares, strict=True)
        ]
        for thread in threads:
            thread.start()
        ends = [None] * options.kills + [rng.choice(senders) for _ in range(options.sender_kills)]
        rng.shuffle(ends)
        for number, sender in enumerate(ends):
            least = len(every) * (number + rng.random()) / (len(ends) + 1)
            while len(acknowledged) < least:
                time.sleep(0.01)
            if sender is not None:
                sender.end()
            else:
                receiver.end(signal.SIGKILL)
                receiver.start()
        for thread in threads:
            thread.join()
        sent_s = time.perf_counter() - begun
        while any((folder / "base.spool" / "waiting").iterdir()):
            time.sleep(0.05)
        done_s = time.perf_counter() - begun
        receiver.end(signal.SIGTERM)
        print(json.dumps(found(folder, every, acknowledged, sent_s, done_s, size), indent=1))


def found(
    folder: Path, every: list[Any], acknowledged: dict[str, float], sent_s: float, done_s: float, size: float
) -> dict[str, Any]:
    """What is in the base against what was acknowledged."""
    from ecgkin.index import open_base

    with open_base(folder / "base") as base:
        held = [case.case_id.partition("/")[2] for case in base.cases()]
    seconds = np.array(sorted(acknowledged.values()))
    return {
        "objects": len(every),
        "bytes_an_object": round(size),
        "acknowledged": len(acknowledged),
        "cases": len(held),
        "lost": len(set(acknowledged) - set(held)),
        "twice": len(held) - len(set(held)),
        "set_aside": len(list((folder / "base.spool" / "set_aside").iterdir())),
        "acknowledged_a_second": round(len(acknowledged) / sent_s, 1),
        "taken_in_a_second": round(len(held) / done_s, 1),
        "acknowledged_after_ms": {f"p{p}": round(1000 * float(np.percentile(seconds, p)), 1) for p in (50, 95, 99)},
    }


if __name__ == "__main__":
    main()
