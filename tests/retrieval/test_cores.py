"""Threads of libraries: a core stays free beside them, and what a person set stays."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ecgkin.retrieval import cores


def test_libraries_leave_a_core_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "cores", lambda: 4)
    found: dict[str, str] = {}
    cores.share_cores(found)
    assert found == {"OPENBLAS_NUM_THREADS": "3", "OPENCV_FOR_THREADS_NUM": "3"}
    monkeypatch.setattr(cores, "cores", lambda: 1)
    found = {"OPENBLAS_NUM_THREADS": "7"}
    cores.share_cores(found)
    assert found == {"OPENBLAS_NUM_THREADS": "7", "OPENCV_FOR_THREADS_NUM": "1"}


def test_threads_that_were_asked_for_are_theirs_too() -> None:
    found = {"OMP_NUM_THREADS": "2"}
    cores.share_cores(found)
    assert found["OPENBLAS_NUM_THREADS"] == found["OPENCV_FOR_THREADS_NUM"] == "2"


def test_it_is_said_before_a_library_is_loaded_that_would_not_hear_it_later() -> None:
    code = (
        "import os, sys; os.environ['OPENCV_FOR_THREADS_NUM'] = '1'\n"
        "import ecgkin.ui.cli.main\n"
        "assert not {'numpy', 'cv2'} & set(sys.modules), 'loaded too early'\n"
        "import cv2; print(cv2.getNumThreads())"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert said.stdout.strip() == "1"
