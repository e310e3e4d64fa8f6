"""What a handler returned, on the wire."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
from headworks_client import Content
from headworks_worker.errors import ResultRefused
from headworks_worker.results import RESULT_BYTES_MAX, encode
from pydantic import BaseModel


class Model(BaseModel):
    """A pydantic model."""

    n: int


@dataclasses.dataclass
class Point:
    """A dataclass."""

    x: int


def test_nothing_is_no_payload() -> None:
    assert encode(None) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, 0),
        ([1, "a", None], [1, "a", None]),
        (Model(n=1), {"n": 1}),
        ({"p": Point(2)}, {"p": {"x": 2}}),
        (Path("/x"), "/x"),
        ((1, 2), [1, 2]),
        (math.nan, None),
    ],
)
def test_values_become_json(value: Any, expected: Any) -> None:
    payload = encode(value)

    assert payload is not None
    assert payload.content_type == ""
    assert json.loads(payload.data) == expected


@pytest.mark.parametrize("value", [b"\xff", bytearray(b"\xff"), memoryview(b"\xff")])
def test_bytes_stay_bytes(value: Any) -> None:
    payload = encode(value)

    assert payload is not None
    assert (payload.data, payload.content_type) == (b"\xff", "application/octet-stream")


@pytest.mark.parametrize(
    "value", [object(), {"x": object()}, bytes(RESULT_BYTES_MAX + 1), Content(b"\xff" * (2 << 20))]
)
def test_what_cannot_be_sent_is_refused(value: Any) -> None:
    with pytest.raises(ResultRefused):
        encode(value)


def test_what_holds_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)

    with pytest.raises(ResultRefused):
        encode(loop)
