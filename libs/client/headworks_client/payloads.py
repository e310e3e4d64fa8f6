"""What travels as a job's input and output: JSON, or bytes with a media type."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

JSON = "application/json"
BYTES = "application/octet-stream"


@dataclasses.dataclass(frozen=True, slots=True)
class Content:
    """Bytes with their media type."""

    data: bytes
    content_type: str = BYTES

    def decode(self) -> Any:
        """The JSON value, or the bytes of any other type; None when there is nothing."""
        if self.content_type not in ("", JSON):
            return self.data
        return json.loads(self.data) if self.data else None


def encode_arguments(arguments: Mapping[str, Any]) -> bytes:
    """Keyword arguments as a JSON object; no arguments, no bytes.

    Dataclasses, pydantic models, enums, dates, durations (ISO 8601), UUIDs, paths, decimals and sets are written as the
    worker's typed arguments read them. TypeError or ValueError for what JSON cannot say (NaN, bytes).
    """
    if not arguments:
        return b""
    text = json.dumps(arguments, default=_plain, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode()


def _plain(value: object) -> object:
    """`value` in terms of JSON's own types, one step."""
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, datetime.timedelta):
        return f"{'-' * (value < datetime.timedelta())}PT{abs(value).total_seconds():.6f}S"
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, UUID | PurePath | Decimal):
        return str(value)
    if isinstance(value, set | frozenset):
        return list(value)
    dump = getattr(value, "model_dump", None)
    if dump is not None:  # a pydantic model, without needing pydantic
        return dump(mode="json")
    raise TypeError(f"{type(value).__qualname__} has no form in JSON")
