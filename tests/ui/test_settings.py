"""Settings: which source wins, what a mistake looks like, what the log lines hold."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path

import pytest

from ecgkin.retrieval.errors import QueryError
from ecgkin.ui.logs import configure_logging, request_id
from ecgkin.ui.settings import Settings, load_settings, origins


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user folder of this test's own, without other settings."""
    monkeypatch.setenv("ECGKIN_HOME", str(tmp_path))
    monkeypatch.delenv("ECGKIN_PTBXL", raising=False)
    return tmp_path


def test_order_of_sources(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Command line before environment before file before default; and the origin is told."""
    assert load_settings().k == 10
    (home / "config.toml").write_text('k = 5\nencoder = "hashing"\n')
    found = load_settings(k=None)
    assert (found.k, found.encoder, origins(found)["k"]) == (5, "hashing", str(home / "config.toml"))
    monkeypatch.setenv("ECGKIN_K", "7")
    found = load_settings()
    assert (found.k, origins(found)["k"], origins(found)["device"]) == (7, "environment ECGKIN_K", "default")
    assert load_settings(k=3).k == 3


def test_every_setting_is_described() -> None:
    """Each field says what it is, with its unit."""
    assert all(field.description for field in Settings.model_fields.values())


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [("K", "0", "setting k"), ("K", "ten", "setting k"), ("PHYSIONET_URL", "ftp://x/", "setting physionet_url")],
)
def test_mistakes_in_the_environment(
    home: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    """The message names the setting, the hint the variable."""
    monkeypatch.setenv(f"ECGKIN_{variable}", value)
    with pytest.raises(QueryError, match=said) as caught:
        load_settings()
    assert f"ECGKIN_{variable}" in caught.value.hint


@pytest.mark.parametrize(("content", "said"), [("colour = 3\n", "colour"), ("k = = 5\n", "config.toml")])
def test_mistakes_in_the_file(home: Path, content: str, said: str) -> None:
    """An unknown name and a broken file are errors, not ignored."""
    (home / "config.toml").write_text(content)
    with pytest.raises(QueryError, match=said):
        load_settings()


def test_an_empty_folder_name_is_unset(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ECGKIN_PTBXL="" means none at hand."""
    monkeypatch.setenv("ECGKIN_PTBXL", "")
    assert load_settings().ptbxl is None


def test_log_lines() -> None:
    """JSON lines hold level, message and the request; a second call replaces the first."""
    first, second = io.StringIO(), io.StringIO()
    logger = logging.getLogger("ecgkin.retrieval.search.search")
    configure_logging("INFO", stream=first)
    configure_logging("INFO", "json", stream=second)
    token = request_id.set("r-1")
    logger.info("searched k=%d", 10)
    logger.debug("not this")
    request_id.reset(token)
    line = json.loads(second.getvalue())
    assert (line["level"], line["message"], line["request_id"]) == ("INFO", "searched k=10", "r-1")
    assert first.getvalue() == ""
