"""`scripts/install.py` in environments of its own, with package indexes on this machine: whose torch is taken."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

# A build backend without dependencies, as nothing can be fetched here.
BACKEND = """
import zipfile

def build_editable(folder, config_settings=None, metadata_directory=None):
    name = "ecgkin-0.0-py3-none-any.whl"
    requires = ["torch>=2.6,<2.14", "torchvision>=0.21"]
    text = "Metadata-Version: 2.1\\nName: ecgkin\\nVersion: 0.0\\nProvides-Extra: cpu\\nProvides-Extra: gpu\\n"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        info = "ecgkin-0.0.dist-info"
        wheel.writestr(f"{info}/METADATA", text + "".join(f"Requires-Dist: {one}\\n" for one in requires))
        tags = "Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
        wheel.writestr(f"{info}/WHEEL", tags)
        wheel.writestr(f"{info}/RECORD", "")
    return name
"""


def write_wheel(folder: Path, name: str, version: str, *requires: str) -> None:
    """An empty package, and the index's page for it."""
    folder = folder / name.replace("_", "-")
    folder.mkdir(parents=True, exist_ok=True)
    file, info = f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info"
    lines = "".join(f"Requires-Dist: {one}\n" for one in requires)
    content = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{lines}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(folder / file, "w") as wheel:
        record = ""
        for path, text in content.items():
            wheel.writestr(path, text)
            digest = urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            record += f"{path},sha256={digest},{len(text)}\n"
        wheel.writestr(f"{info}/RECORD", f"{record}{info}/RECORD,,\n")
    links = "".join(f'<a href="{one.name}">{one.name}</a>' for one in sorted(folder.glob("*.whl")))
    (folder / "index.html").write_text(f"<!doctype html><html><body>{links}</body></html>")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def indexes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Two indexes: "pypi", whose torch brings CUDA, and "cpu"."""
    root = tmp_path_factory.mktemp("indexes")
    write_wheel(root / "pypi", "torch", "2.13.0", "nvidia-cublas")
    write_wheel(root / "pypi", "torchvision", "0.28.0", "torch==2.13.0")
    write_wheel(root / "pypi", "nvidia_cublas", "13.0")
    write_wheel(root / "cpu", "torch", "2.13.0+cpu")
    write_wheel(root / "cpu", "torch", "2.15.0+cpu")
    write_wheel(root / "cpu", "torchvision", "0.28.0+cpu", "torch==2.13.0")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(root)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def installed(project_root: Path, folder: Path, indexes: str, *words: str) -> tuple[dict[str, str], str]:
    """What a fresh environment holds after the script, and what the script said."""
    project, python = folder / "project", folder / "venv" / "bin" / "python"
    (project / "scripts").mkdir(parents=True)
    shutil.copy(project_root / "scripts" / "install.py", project / "scripts")
    (project / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    (project / "backend.py").write_text(BACKEND)
    (project / "constraints.txt").write_text("torch==2.13.0\ntorchvision==0.28.0\n")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))}
    given = {**kept, "PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": f"{indexes}/pypi", "PIP_NO_CACHE_DIR": "1"}
    done = subprocess.run(
        [python, project / "scripts" / "install.py", *words], env=given, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    listed = subprocess.run(
        [python, "-m", "pip", "list", "--format=json"], env=given, capture_output=True, text=True, check=True
    )
    return {one["name"].replace("_", "-"): one["version"] for one in json.loads(listed.stdout)}, done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere PyPI's torch has no CUDA")
def test_no_cuda_comes_where_the_index_of_cpu_builds_answers(project_root: Path, tmp_path: Path, indexes: str) -> None:
    held, said = installed(project_root, tmp_path, indexes, "--index", f"{indexes}/cpu")
    assert held["torch"] == "2.13.0+cpu" and held["torchvision"] == "0.28.0+cpu" and "ecgkin" in held
    assert not [name for name in held if name.startswith("nvidia")]
    assert "2.3 GB" in said and "cannot be reached" not in said


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere PyPI's torch has no CUDA")
def test_an_index_that_cannot_be_reached_breaks_nothing(project_root: Path, tmp_path: Path, indexes: str) -> None:
    held, said = installed(project_root, tmp_path, indexes, "--index", "http://127.0.0.1:9/cpu")
    assert held["torch"] == "2.13.0" and "nvidia-cublas" in held and "ecgkin" in held
    assert "http://127.0.0.1:9/cpu cannot be reached" in said
    assert "Traceback" not in said
