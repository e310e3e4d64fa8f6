"""What the HTTP front makes of headers and bodies."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Sequence
from typing import Any

import grpc
import pytest
from headworks_core.envoy import connect, framing
from headworks_core.envoy.bodies import CallerGone, gunzip, read_body
from headworks_core.envoy.calls import Call, Head
from headworks_core.errors import InvalidArgument, ResourceExhausted


def head(**headers: str) -> Head:
    return Head([(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()])


def coming(*parts: bytes, whole: bool = True) -> Any:
    """An ASGI `receive` that gives these parts."""
    events = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    events.append({"type": "http.request", "body": b"", "more_body": False} if whole else {"type": "http.disconnect"})

    async def receive() -> Any:
        return events.pop(0)

    return receive


@pytest.mark.parametrize(
    ("said", "means"),
    [("1H", 3600.0), ("2M", 120.0), ("3S", 3.0), ("250m", 0.25), ("5u", 5e-6), ("99999999n", 0.099999999)],
)
def test_a_grpc_timeout_has_a_unit(said: str, means: float) -> None:
    assert framing.timeout_s(head(grpc_timeout=said)) == pytest.approx(means)


@pytest.mark.parametrize("said", ["", "S", "5", "-5S", "1.5S", "123456789S", "5s"])
def test_what_is_no_timeout_is_refused(said: str) -> None:
    with pytest.raises(InvalidArgument, match="grpc-timeout"):
        framing.timeout_s(head(grpc_timeout=said))


def test_who_says_nothing_of_time_waits_forever() -> None:
    assert framing.timeout_s(head()) is None
    assert connect.timeout_s(head()) is None
    assert connect.timeout_s(head(connect_timeout_ms="1500")) == 1.5


def test_headers_of_the_transport_are_no_metadata() -> None:
    found = head(content_type="Application/JSON; charset=utf-8", te="trailers", headworks_tenant="a")
    assert found.content_type == b"application/json"
    assert found.metadata == [("headworks-tenant", "a")]


async def test_a_status_message_is_escaped_and_binary_trailers_are_base64() -> None:
    call = Call([], None)
    call.end(grpc.StatusCode.NOT_FOUND, "50 % of Ä\n")
    call.set_trailing_metadata([("x-bin", b"\x00\xff"), ("x-text", "y")])
    assert framing.status_of(call) == [
        (b"grpc-status", b"5"),
        (b"grpc-message", b"50 %25 of %C3%84%0A"),
        (b"x-bin", b"AP8"),
        (b"x-text", b"y"),
    ]


@pytest.mark.parametrize("parts", [[b"abc"], [b"a", b"bc"], [b"", b"abc", b""]])
async def test_a_body_comes_in_any_parts(parts: Sequence[bytes]) -> None:
    assert await read_body(coming(*parts), 3) == b"abc"


async def test_a_body_that_is_too_long_or_breaks_off_is_an_error() -> None:
    with pytest.raises(ResourceExhausted, match="larger than 2 bytes"):
        await read_body(coming(b"ab", b"c"), 2)
    with pytest.raises(CallerGone):
        await read_body(coming(b"ab", whole=False), 10)


@pytest.mark.parametrize(
    "body",
    [b"", b"\0\0", struct.pack(">BI", 0, 5) + b"abc", struct.pack(">BI", 0, 1) + b"abc", struct.pack(">BI", 2, 0)],
)
async def test_a_request_is_one_whole_message(body: bytes) -> None:
    with pytest.raises(InvalidArgument):
        await framing.read_message(head(), coming(body), 100)


async def test_a_packed_message_is_unpacked_as_far_as_allowed() -> None:
    told, packed = head(grpc_encoding="gzip"), gzip.compress(b"x" * 1_000)
    body = struct.pack(">BI", 1, len(packed)) + packed
    assert await framing.read_message(told, coming(body), 1_000) == b"x" * 1_000
    with pytest.raises(ResourceExhausted):
        await framing.read_message(told, coming(body), 999)
    with pytest.raises(InvalidArgument, match="gzip"):
        await framing.read_message(head(), coming(body), 1_000)


def test_gzip_that_is_broken_is_the_callers_mistake() -> None:
    for broken in (b"no gzip", gzip.compress(b"abc")[:-9]):
        with pytest.raises(InvalidArgument):
            gunzip(broken, 100)


def test_every_status_has_its_http_status() -> None:
    assert set(connect.HTTP_STATUS) == set(grpc.StatusCode) - {grpc.StatusCode.OK}
