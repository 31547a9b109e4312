"""What stands in docs/deploy is so: sources that are copied exist, commands, options, settings and routes too."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import subprocess
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands_shown import commands_of, complaint

from ecgkin.ui.settings import OTHER_VARIABLES, Settings

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "docs" / "deploy"
UNITS = sorted(DEPLOY.glob("*.service"))
VARIABLES = {f"ECGKIN_{name.upper()}" for name in Settings.model_fields} | OTHER_VARIABLES | {"ECGKIN_HOME"}


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile: (instruction, rest), continued lines joined."""
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    pairs = [line.partition(" ") for line in joined.splitlines()]
    return [(name, rest.strip()) for name, _, rest in pairs]


def copied() -> list[str]:
    """What the image takes from the repository."""
    out: list[str] = []
    for name, rest in instructions():
        words = rest.split()
        if name == "COPY" and not words[0].startswith("--from"):
            out += words[:-1]
    return out


def open_addresses(text: str) -> list[str]:
    """Addresses on this machine that a health check asks."""
    return re.findall(r"http://127\.0\.0\.1:\d+(/\w+)", text)


def test_dockerfile() -> None:
    names = [name for name, _ in instructions()]
    known = "FROM ENV RUN WORKDIR COPY USER VOLUME EXPOSE STOPSIGNAL HEALTHCHECK ENTRYPOINT CMD"
    assert set(names) <= set(known.split())
    assert copied() and not [source for source in copied() if not (ROOT / source).exists()]
    last = dict(instructions())
    user = last["USER"].partition(":")[0]
    assert (
        user.isdecimal() and int(user) > 0 and names.index("USER") > max(k for k, n in enumerate(names) if n == "RUN")
    )
    assert json.loads(last["ENTRYPOINT"]) == ["ecgkin"] and complaint(json.loads(last["CMD"])) == ""
    assert json.loads(last["HEALTHCHECK"].partition("CMD ")[2])[0] == "python"
    assert "whl/cpu" in "".join(rest for name, rest in instructions() if name == "RUN")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for _, rest in instructions():
        for found in re.findall(r'"\.\[([\w,]+)\]"', rest):
            assert set(found.split(",")) <= set(extras)
        assert set(re.findall(r"\bECGKIN_\w+", rest)) <= VARIABLES


def test_what_the_image_leaves_out() -> None:
    """The list of what goes to the builder lets through what is copied, and no data beside it."""
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert sorted(rule[1:] for rule in rules if rule.startswith("!")) == sorted(copied())


@pytest.mark.slow
def test_the_copied_sources_are_all_that_the_wheel_needs(tmp_path: Path) -> None:
    """`pip install .` inside the image, as far as it goes without a network: the wheel from the copied files alone."""
    import sys

    source = tmp_path / "source"
    source.mkdir()
    for name in copied():
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(ROOT / name, source)
    words = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), "."]
    done = subprocess.run(words, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    held = zipfile.ZipFile(next(tmp_path.glob("ecgkin-*.whl"))).namelist()
    assert {"ecgkin/ui/listen/receiver.py", "ecgkin/ui/mcp/server.py", "ecgkin/ui/web/app.py"} <= set(held)


def services() -> dict[str, Any]:
    content = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    found: dict[str, Any] = content["services"]
    assert set(content["volumes"]) == {"base"}
    return found


@pytest.mark.parametrize("name", ["api", "listen", "mcp"])
def test_compose(name: str) -> None:
    service = services()[name]
    build = service["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).samefile(DEPLOY / "Dockerfile")
    assert complaint(service["command"]) == ""
    assert service["read_only"] is True and service["cap_drop"] == ["ALL"] and not service["user"].startswith("0")
    assert service["volumes"] == ["base:/data"] and service["tmpfs"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    port = service["command"][service["command"].index("--port") + 1]
    assert [published.split(":")[1:] for published in service["ports"]] == [[port, port]]
    check = " ".join(service["healthcheck"]["test"])
    assert port in check and set(open_addresses(check)) <= {"/healthz"}
    for variable, value in service["environment"].items():
        assert variable in VARIABLES and value.startswith("${"), "secrets stand elsewhere"
    exposed = dict(instructions())["EXPOSE"].split()
    assert port in exposed


def test_health_is_open_to_all() -> None:
    """The health checks send no token."""
    from ecgkin.ui.api.security import needed_role
    from ecgkin.ui.mcp.server import HEALTH

    asked = set(open_addresses((DEPLOY / "Dockerfile").read_text() + (DEPLOY / "compose.yaml").read_text()))
    assert asked == {"/healthz"} and needed_role("GET", "/healthz") is None and HEALTH == "/healthz"


def unit(path: Path) -> dict[str, dict[str, str]]:
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(path.read_text(encoding="utf-8"))
    return {section: dict(parser[section]) for section in parser.sections()}


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_units(path: Path) -> None:
    found = unit(path)
    assert set(found) == {"Unit", "Service", "Install"}
    service = found["Service"]
    program, *words = shlex.split(service["ExecStart"])
    assert program == "/opt/ecgkin/bin/ecgkin" and complaint(words) == ""
    assert service["User"] == "ecgkin" and service["ProtectSystem"] == "strict" and service["NoNewPrivileges"] == "yes"
    assert set(re.findall(r"\bECGKIN_\w+", path.read_text(encoding="utf-8"))) <= VARIABLES
    places = [f"/var/lib/{name}" for name in service["StateDirectory"].split()]
    assert all(any(word.startswith(place) for place in places) for word in words if word.startswith("/"))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_units_by_systemd(path: Path, tmp_path: Path) -> None:
    """`systemd-analyze verify`; program and user, which this machine does not have, are replaced."""
    text = path.read_text(encoding="utf-8").replace("/opt/ecgkin/bin/ecgkin", shutil.which("true") or "")
    copy = tmp_path / path.name
    copy.write_text(re.sub(r"^(User|Group)=.*$", r"\1=root", text, flags=re.MULTILINE))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", copy], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "Unknown" not in done.stderr, done.stderr
    copy.write_text(copy.read_text().replace("ProtectSystem=", "ProtectSystm="))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", copy], capture_output=True, text=True, timeout=60)
    assert "ProtectSystm" in done.stderr, "a wrong key is seen"


def test_shown_commands_exist() -> None:
    """In the comments of the files of docs/deploy."""
    lines = [
        words for path in DEPLOY.iterdir() for words in commands_of(path.read_text(encoding="utf-8"), document=False)
    ]
    assert {str(words): said for words in lines if (said := complaint(words)) not in ("", "no command []")} == {}
