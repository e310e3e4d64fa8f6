"""Arguments and results in bytes."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from headworks_client.payloads import Content, encode_arguments
from pydantic import BaseModel


class Colour(enum.Enum):
    """An enum."""

    RED = "red"


@dataclasses.dataclass
class Point:
    """A dataclass that holds another thing."""

    x: int
    where: Path


class Model(BaseModel):
    """A pydantic model."""

    at: datetime.date


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1),
        ("é", "é"),
        ((1, 2), [1, 2]),
        ({3}, [3]),
        (Colour.RED, "red"),
        (Path("/x"), "/x"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Decimal("1.50"), "1.50"),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        (datetime.timedelta(hours=1), "PT3600.000000S"),
        (datetime.timedelta(seconds=-1.5), "-PT1.500000S"),
        (Point(1, Path("/x")), {"x": 1, "where": "/x"}),
        (Model(at=datetime.date(2026, 1, 2)), {"at": "2026-01-02"}),
    ],
)
def test_what_json_lacks_is_written_in_its_usual_text_form(value: Any, expected: Any) -> None:
    assert json.loads(encode_arguments({"v": value})) == {"v": expected}


def test_no_arguments_are_no_bytes() -> None:
    assert encode_arguments({}) == b""


@pytest.mark.parametrize("value", [float("nan"), b"bytes", object(), Point])
def test_what_json_cannot_say_is_refused(value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        encode_arguments({"v": value})


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (Content(b'{"a": 1}', "application/json"), {"a": 1}),
        (Content(b'"x"', ""), "x"),
        (Content(b"", "application/json"), None),
        (Content(b"\xff", "image/png"), b"\xff"),
        (Content(b"", "image/png"), b""),
    ],
)
def test_content_is_decoded_by_its_type(content: Content, value: Any) -> None:
    assert content.decode() == value
