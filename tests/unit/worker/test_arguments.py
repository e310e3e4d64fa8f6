"""Typed arguments: what fits, and how what does not is named."""

from __future__ import annotations

import dataclasses
import datetime
import enum
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from headworks.scheduler.v1 import job_pb2
from headworks_client import Task, task
from headworks_client.payloads import encode_arguments
from headworks_worker import Context, RegistrationError
from headworks_worker.arguments import Arguments
from headworks_worker.errors import ArgumentMismatch
from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import Mapping


class Colour(enum.Enum):
    """An enum."""

    RED = "red"


class Model(BaseModel):
    """A pydantic model; it coerces, as pydantic does by default."""

    n: int


@dataclasses.dataclass(frozen=True)
class Point:
    """A dataclass."""

    x: int
    at: datetime.datetime


def read(function: Callable[..., Any], data: bytes, content_type: str = "") -> dict[str, Any]:
    """The arguments that a payload gives to a function."""
    made: Task[..., Any] = task(name="t")(function)
    return Arguments(made).read(job_pb2.Payload(data=data, content_type=content_type))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (int, 5),
        (float, 2.5),
        (str, "é"),
        (bool, True),
        (list[int], [1, 2]),
        (tuple[int, str], (1, "a")),
        (set[str], {"a"}),
        (dict[str, int], {"a": 1}),
        (int | None, None),
        (Colour, Colour.RED),
        (Path, Path("/tmp/x")),
        (UUID, UUID(int=7)),
        (Decimal, Decimal("1.50")),
        (datetime.datetime, datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)),
        (datetime.date, datetime.date(2026, 1, 2)),
        (datetime.timedelta, datetime.timedelta(days=-1, seconds=1.5)),
        (Model, Model(n=1)),
        (Point, Point(1, datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC))),
    ],
)
def test_what_a_caller_gives_is_what_the_handler_gets(kind: Any, value: Any) -> None:
    def function(value: Any) -> None: ...

    function.__annotations__["value"] = kind

    assert read(function, encode_arguments({"value": value})) == {"value": value}


def test_a_whole_number_is_a_float_too() -> None:
    def function(x: float) -> None: ...

    assert read(function, b'{"x": 3}') == {"x": 3.0}


@pytest.mark.parametrize("data", [b'"5"', b"5.0", b"true", b"null", b"[5]"])
def test_nothing_but_a_whole_number_is_an_int(data: bytes) -> None:
    def function(n: int) -> None: ...

    with pytest.raises(ArgumentMismatch, match=r"^t: argument n: "):
        read(function, b'{"n": ' + data + b"}")


def test_a_mismatch_inside_an_argument_says_where() -> None:
    def function(points: list[Point]) -> None: ...

    with pytest.raises(ArgumentMismatch, match=r"argument points\.1\.x: "):
        read(function, b'{"points": [{"x": 1, "at": "2026-01-02"}, {"x": "a", "at": "2026-01-02"}]}')


def test_a_mismatch_does_not_repeat_the_payload() -> None:
    def function(n: int) -> None: ...

    with pytest.raises(ArgumentMismatch) as raised:
        read(function, b'{"n": "secret"}')

    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("data", [b"", b"{}"])
def test_nothing_is_enough_where_nothing_is_needed(data: bytes) -> None:
    def function(n: int = 1) -> None: ...

    assert read(function, data) == {}


def test_unknown_arguments_are_refused_unless_the_function_takes_any() -> None:
    def strict() -> None: ...

    def open_to_all(**others: Any) -> None: ...

    with pytest.raises(ArgumentMismatch, match="argument x: "):
        read(strict, b'{"x": 1}')
    assert read(open_to_all, b'{"x": 1}') == {"x": 1}


def test_an_argument_without_an_annotation_takes_anything() -> None:
    def function(x): ...  # type: ignore[no-untyped-def]

    assert read(function, b'{"x": [1, {"a": null}]}') == {"x": [1, {"a": None}]}


def test_the_context_is_no_argument() -> None:
    def function(ctx: Context, n: int) -> None: ...

    assert read(function, b'{"n": 1}') == {"n": 1}
    with pytest.raises(ArgumentMismatch, match="argument ctx"):
        read(function, b'{"n": 1, "ctx": 1}')


def test_other_content_goes_to_the_one_parameter_of_bytes() -> None:
    def takes_bytes(data: bytes) -> None: ...

    def takes_json(n: int) -> None: ...

    assert read(takes_bytes, b"\xff", "image/png") == {"data": b"\xff"}
    with pytest.raises(ArgumentMismatch, match="takes JSON, and the payload is image/png"):
        read(takes_json, b"\xff", "image/png")


def unresolved(x: Mapping[str, int]) -> None: ...
def by_position(x: int, /) -> None: ...
def any_number(*x: int) -> None: ...


@pytest.mark.parametrize(
    ("function", "why"),
    [(unresolved, "Mapping"), (by_position, "x cannot be given by name"), (any_number, "x cannot be given by name")],
)
def test_a_signature_that_cannot_be_served_is_refused_when_it_is_registered(
    function: Callable[..., Any], why: str
) -> None:
    with pytest.raises(RegistrationError, match=why):
        Arguments(task(name="t")(function))
