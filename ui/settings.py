"""`Settings`: what can be set from outside, each with its unit, its default and where the value came from.

A value is taken from the first of: the command line, the environment (`ECGKIN_K=5`), the file `config.toml` in the
user folder, the default. Lower packages take plain arguments and never read the environment.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from ecgkin.retrieval.errors import QueryError, why

PREFIX = "ECGKIN_"
CONFIG_FILE = "config.toml"
# Read by others than `Settings`: secrets that are never shown, and what the tests and measuring scripts need.
OTHER_VARIABLES = frozenset(
    f"{PREFIX}{name}"
    for name in (
        "API_KEY", "CI_TESTS", "DICOMWEB_TOKEN", "DRAFT_KEY", "FHIR_TOKEN", "LLAMA_PYTHON", "NETWORKS", "OOD",
        "PAGE_READER", "SHARED", "WEB_API", "WEB_EXAMPLES", "WEB_TOKEN",
    )
)  # fmt: skip


def user_folder() -> Path:
    """Where ecgkin keeps its own files: ECGKIN_HOME, else `ecgkin` in the user's data folder (XDG)."""
    if own := os.environ.get(f"{PREFIX}HOME"):
        return Path(own).expanduser()
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "ecgkin"


class Settings(BaseSettings):
    """Every setting. The name in the environment is ECGKIN_ and the field's name in capitals."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", validate_default=True)

    home: Path = Field(default_factory=user_folder, description="folder for downloads, demo, config.toml")
    ptbxl: Path | None = Field(None, description="folder with PTB-XL in its official layout; unset: none at hand")
    encoder: str = Field("default", min_length=1, description="name of the encoder, or a folder with a checkpoint")
    witness: str = Field("", description="classifier that is heard beside the vote: ecgfounder:FILE; unset: none")
    device: str = Field("cpu", min_length=1, description="device for the encoder: cpu, cuda, cuda:1")
    k: int = Field(10, ge=1, le=10_000, description="hits of a search")
    demo_cases: int = Field(1500, ge=11, le=1_000_000, description="cases in the demo's case base")
    physionet_url: str = Field(
        "https://physionet.org/files/ptb-xl/1.0.3/",
        pattern=r"^https?://",
        description="address of PTB-XL's official layout for downloads",
    )
    download_timeout_s: float = Field(30.0, gt=0, le=600, description="seconds without a byte that end an attempt")
    api_host: str = Field("127.0.0.1", min_length=1, description="address the server listens on; others need tokens")
    api_port: int = Field(8000, ge=0, le=65_535, description="port of the server; 0 takes a free one")
    api_tokens: tuple[str, ...] = Field((), description="bearer tokens as role:SHA-256, from `ecgkin token read|write`")
    api_cors_origins: tuple[str, ...] = Field((), description="origins of web pages that may call the server")
    api_drafters: tuple[str, ...] = Field(
        ("consensus",),
        description="what drafts: consensus, mini, pulse:DIR, http(s)://HOST/v1#NAME, pulse:DIR@http(s)://HOST/v1#NAME "
        "(converted into DIR, served there); the first by default",
    )
    api_max_body_mb: float = Field(64.0, gt=0, le=4096, description="largest upload, MB (1e6 bytes)")
    api_max_json_mb: float = Field(8.0, gt=0, le=256, description="largest JSON body, MB (1e6 bytes)")
    api_max_megapixels: float = Field(60.0, gt=0, le=100, description="largest picture, megapixels")
    api_max_seconds: float = Field(30.0, gt=0, le=3600, description="seconds to receive a body, and to answer it")
    api_header_seconds: float = Field(10.0, gt=0, le=600, description="seconds to receive the head of a request")
    api_max_connections: int = Field(1000, ge=16, le=60_000, description="open connections; idle ones make room")
    api_max_requests: int = Field(256, ge=1, le=10_000, description="requests in flight; more are turned away")
    api_max_k: int = Field(100, ge=1, le=1000, description="most hits of one search")
    api_workers: int = Field(16, ge=1, le=256, description="requests worked on at the same time")
    api_decoders: int = Field(2, ge=1, le=64, description="processes that decode uploads")
    api_decode_seconds: float = Field(10.0, gt=0, le=600, description="seconds to decode one upload")
    api_decode_mb: float = Field(1500.0, ge=200, le=65_536, description="memory to decode one upload, MB (1e6 bytes)")
    api_batch: int = Field(8, ge=1, le=256, description="most queries encoded together")
    api_max_jobs: int = Field(8, ge=0, le=1000, description="jobs that wait or run; more are turned away, 0: none")
    api_job_files: int = Field(200, ge=1, le=2000, description="ECGs of one job")
    api_job_hours: float = Field(24.0, gt=0, le=720, description="hours that the results of a job are kept")
    api_webhook_hosts: tuple[str, ...] = Field(
        (), description="hosts, or host:port, that may be told that a job is done; none named: no webhooks"
    )
    listen_ae_title: str = Field("ECGKIN", min_length=1, max_length=16, description="AE title of the DICOM receiver")
    listen_host: str = Field("127.0.0.1", min_length=1, description="its address; others need listen_callers")
    listen_port: int = Field(11112, ge=0, le=65_535, description="its port; 0 takes a free one")
    listen_callers: tuple[str, ...] = Field((), description="AE titles that may send to it; none named: all")
    listen_max_mb: float = Field(
        256.0, gt=0, le=4096, description="largest object or file that it takes, MB (1e6 bytes)"
    )
    listen_associations: int = Field(10, ge=1, le=1000, description="associations it holds at the same time")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("WARNING", description="least level that is logged")
    log_format: Literal["plain", "json"] = Field("plain", description="log lines as text, or as JSON")

    @field_validator("ptbxl", mode="before")
    @classmethod
    def _empty_is_unset(cls, value: object) -> object:
        return None if value == "" else value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then the file in the user folder."""
        file = TomlConfigSettingsSource(settings_cls, toml_file=user_folder() / CONFIG_FILE)
        return init_settings, env_settings, file


def load_settings(**given: Any) -> Settings:
    """The settings in force.

    Args:
        given: Values that win over every other source; None counts as not given.

    Raises:
        QueryError: A value is out of range, a name in config.toml is unknown, or the file is not TOML.
    """
    import tomllib

    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "?"
        field = Settings.model_fields.get(name)
        meaning = f" ({field.description})" if field else ""
        raise QueryError(
            f"setting {name}{meaning} is {first.get('input')!r}: {first['msg']}",
            hint=f"correct {PREFIX}{name.upper()} or {name} in {user_folder() / CONFIG_FILE}; see `ecgkin config show`",
        ) from None
    except (tomllib.TOMLDecodeError, OSError) as error:
        file = user_folder() / CONFIG_FILE
        raise QueryError(f"{file} cannot be read: {why(error)}", hint="it is a TOML file: k = 5") from None


def unknown_variables() -> list[tuple[str, str]]:
    """Variables of the environment that look like settings and are none, each with the setting it may mean, or ""."""
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | OTHER_VARIABLES
    found = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
    return [(name, next(iter(difflib.get_close_matches(name, known, 1, 0.8)), "")) for name in found]


def origins(settings: Settings) -> dict[str, str]:
    """Where each value came from: "default", "environment ECGKIN_K", or the path of config.toml."""
    from_file = TomlConfigSettingsSource(Settings, toml_file=user_folder() / CONFIG_FILE)()
    upper = {name.upper() for name in os.environ}
    out = {}
    for name in type(settings).model_fields:
        variable = f"{PREFIX}{name.upper()}"
        if variable in upper:
            out[name] = f"environment {variable}"
        else:
            out[name] = str(user_folder() / CONFIG_FILE) if name in from_file else "default"
    return out
