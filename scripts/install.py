"""Install ecgkin into the environment of this interpreter, with a PyTorch that brings no CUDA.

    python3 -m venv .venv && .venv/bin/python scripts/install.py [--gpu] [EXTRA ...]

On Linux the torch of PyPI comes with CUDA, 4 GB that a machine without an NVIDIA GPU has no use for. pip knows of no
marker for that, and a second index in `constraints.txt` would be asked for every package, by machines that cannot reach
it too, for minutes. So torch and torchvision, and nothing else, are fetched first from PyTorch's own index of CPU
builds, in the versions that `constraints.txt` names; "2.13.0+cpu" then satisfies it. Where that index cannot be reached
(a mirror, no network) pip's configured indexes decide, as they always did.

Standard library alone: it runs before anything is installed.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
INDEX = "https://download.pytorch.org/whl/cpu"
PATIENCE_S = 5.0
BUILDS = ("torch", "torchvision")


def reachable(index: str) -> bool:
    """Whether an index answers for torch within seconds.

    Args:
        index: Its address.
    """
    try:
        with urllib.request.urlopen(f"{index.rstrip('/')}/torch/", timeout=PATIENCE_S) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError):  # no network, no such name, no TLS, a proxy's page; or no address
        return False


def there() -> bool:
    """Whether this environment has both builds already, of whatever kind."""
    try:
        return all(metadata.version(name) for name in BUILDS)
    except metadata.PackageNotFoundError:
        return False


def commands(extras: Sequence[str], *, gpu: bool, builds_from: str | None) -> list[list[str]]:
    """What pip is called with, in order.

    Args:
        extras: Beside "cpu" or "gpu".
        gpu: Whether an NVIDIA GPU is to be used: the builds of PyPI, with CUDA, and faiss-gpu.
        builds_from: Index of CPU builds; None leaves torch to pip's own indexes.

    >>> [" ".join(words) for words in commands(["hospital"], gpu=False, builds_from="https://x/cpu")]
    ['install --no-deps --index-url https://x/cpu torch torchvision', 'install -e .[cpu,hospital]']
    """
    first = [["install", "--no-deps", "--index-url", builds_from, *BUILDS]] if builds_from and not gpu else []
    return [*first, ["install", "-e", f".[{','.join(['gpu' if gpu else 'cpu', *extras])}]"]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Install; the status is pip's.

    Args:
        arguments: Of the command line; None takes those of the process.
    """
    parser = argparse.ArgumentParser(description="Install ecgkin with a PyTorch that brings no CUDA.")
    parser.add_argument(
        "extras", nargs="*", metavar="EXTRA", help="Of pyproject.toml: hospital, formats, research, dev ..."
    )
    parser.add_argument("--gpu", action="store_true", help="For an NVIDIA GPU: CUDA and faiss-gpu, 6 GB.")
    parser.add_argument("--index", default=INDEX, help="Index of PyTorch's CPU builds.")
    asked = parser.parse_args(arguments)
    has_gpu = Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None
    builds_from = None
    if asked.gpu:
        say("ecgkin with CUDA: about 6 GB are fetched")
    else:
        say("ecgkin with search, demo, page and API: 2.3 GB installed, a third of it PyTorch; some minutes")
        if has_gpu:
            say("an NVIDIA GPU is here; --gpu brings what uses it")
        if platform.system() == "Linux" and not there():
            builds_from = asked.index if reachable(asked.index) else None
            if builds_from is None:
                say(f"{asked.index} cannot be reached: torch comes from pip's indexes (PyPI's brings CUDA, 4 GB more)")
    *builds, whole = commands(asked.extras, gpu=asked.gpu, builds_from=builds_from)
    if builds and pip(builds[0]):
        say(f"{asked.index} has no build for this machine: torch comes from pip's indexes")
    return pip(whole)


def pip(words: Sequence[str]) -> int:
    """Call pip in this environment; its status.

    Args:
        words: Its command.
    """
    return subprocess.run(
        [sys.executable, "-m", "pip", *words, "-c", "constraints.txt"], cwd=ROOT, check=False
    ).returncode


def say(text: str) -> None:
    """One line for people."""
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
