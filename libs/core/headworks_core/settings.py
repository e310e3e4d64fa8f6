"""Settings: one frozen class per service, read once in `__main__`, with every mistake listed at once."""

from __future__ import annotations

import ipaddress
import os
import sys
from collections.abc import Sequence
from typing import TypeVar

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

S = TypeVar("S", bound="ServiceSettings")


class ServiceSettings(BaseSettings):
    """What every service can be told, as HEADWORKS_<SERVICE>_<FIELD> or as a --flag."""

    model_config = SettingsConfigDict(
        frozen=True, use_attribute_docstrings=True, cli_kebab_case=True, cli_implicit_flags=True, extra="forbid"
    )

    insecure: bool = False
    """Listen beyond loopback although no credentials are set up."""
    metrics_address: str = "127.0.0.1:0"
    """Where to serve /metrics, /livez and /readyz (HTTP); port 0: a free one, which the log names; empty: nowhere."""
    log_level: str = "info"
    """debug, info, warning or error."""
    shutdown_grace_s: float = Field(10.0, gt=0, le=3600)
    """Seconds that running calls get after SIGTERM; keep it below the pod's grace period."""
    replica: str = Field(default="", pattern=r"^[A-Za-z0-9_.-]{0,64}$")
    """This replica's id; empty: made from host name and process id."""

    @field_validator("log_level")
    @classmethod
    def _known_level(cls, value: str) -> str:
        if value not in {"debug", "info", "warning", "error"}:
            raise ValueError("must be debug, info, warning or error")
        return value

    @field_validator("*")
    @classmethod
    def _loopback_unless_insecure(cls, value: object, info: ValidationInfo) -> object:
        is_address = (info.field_name or "").endswith("address")
        told = info.data.get("insecure") or info.data.get("tls_client_ca")
        if is_address and value and not told and not is_loopback(str(value)):
            raise ValueError(
                f"{value} leaves loopback and no credentials are set up; "
                "set insecure to accept calls from anybody who can reach it"
            )
        return value

    @property
    def replica_id(self) -> str:
        """The id of this replica, unique on its network."""
        return self.replica or f"{os.uname().nodename[:40]}-{os.getpid()}"


def is_loopback(address: str) -> bool:
    """Whether `host:port` can only be reached from this machine."""
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost" or address.startswith("unix:"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def load(kind: type[S], argv: Sequence[str]) -> S:
    """Read the settings from `argv` and the environment; print every mistake and exit with 2 if there is one."""
    prefix = kind.model_config.get("env_prefix", "")
    mistakes = _unknown_variables(kind, prefix)
    try:
        settings = kind(_cli_parse_args=list(argv))  # type: ignore[call-arg]  # pydantic-settings' own keyword
    except ValidationError as error:
        for item in error.errors():
            field = ".".join(str(part) for part in item["loc"])
            message = item["msg"].removeprefix("Value error, ")
            mistakes.append(f"{prefix}{field.upper()}: {message}" if field else message)
    if mistakes:
        sys.stderr.write("".join(f"{mistake}\n" for mistake in mistakes))
        raise SystemExit(2)
    return settings


def _unknown_variables(kind: type[BaseSettings], prefix: str) -> list[str]:
    known = {f"{prefix}{field}".upper() for field in kind.model_fields}
    unknown = sorted(name for name in os.environ if name.startswith(prefix) and name not in known)
    return [f"{name}: no such setting (see --help)" for name in unknown]
