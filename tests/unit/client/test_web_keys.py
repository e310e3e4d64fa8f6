"""Whose request it is, and that nobody can pretend to be somebody else."""

from __future__ import annotations

from typing import Any

import pytest
from headworks_client.web.keys import bearer, client_ip, first_of, header, route, user


def scope(client: str | None = "10.0.0.1", *forwarded: str, **headers: str) -> dict[str, Any]:
    """An HTTP request's."""
    raw = [(b"X-Forwarded-For", value.encode()) for value in forwarded]
    raw += [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    peer = (client, 1234) if client is not None else None
    return {"type": "http", "method": "GET", "path": "/x", "client": peer, "headers": raw}


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("203.0.113.5", [], "203.0.113.5"),
        ("203.0.113.5", ["1.1.1.1"], "203.0.113.5"),  # not ours: what it says of others does not count
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["1.1.1.1"], "1.1.1.1"),
        ("10.0.0.1", ["6.6.6.6, 1.1.1.1"], "1.1.1.1"),  # what the client wrote itself stands first
        ("10.0.0.1", ["6.6.6.6, 1.1.1.1, 10.9.9.9"], "1.1.1.1"),
        ("10.0.0.1", ["6.6.6.6", "1.1.1.1, 10.9.9.9"], "1.1.1.1"),  # several headers are one list
        ("10.0.0.1", ["10.1.1.1, 10.2.2.2"], "10.1.1.1"),
        ("10.0.0.1", ["6.6.6.6, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["6.6.6.6, , 10.2.2.2"], "10.2.2.2"),
        ("10.0.0.1", ["1.1.1.1:5678"], "1.1.1.1"),
        ("10.0.0.1", ["[2001:db8:1:2:3::4]:5678"], "2001:db8:1:2::/64"),
        ("10.0.0.1", ["2001:db8:1:2:3::4"], "2001:db8:1:2::/64"),
        ("::ffff:10.0.0.1", ["1.1.1.1"], "1.1.1.1"),
        ("10.0.0.1", ["::ffff:1.1.1.1"], "1.1.1.1"),
        ("fe80::1%eth0", [], "fe80::/64"),
        (None, ["1.1.1.1"], None),
        ("testclient", ["1.1.1.1"], None),
    ],
)
def test_the_address_of_the_client(peer: str | None, forwarded: list[str], expected: str | None) -> None:
    assert client_ip(trusted=["10.0.0.0/8"])(scope(peer, *forwarded)) == expected


def test_single_addresses_of_ipv6_if_they_are_wanted() -> None:
    assert client_ip(ipv6_prefix=128)(scope("2001:db8::1")) == "2001:db8::1"
    assert client_ip(ipv6_prefix=48)(scope("2001:db8:1:2::1")) == "2001:db8:1::/48"


def test_what_is_no_network_is_an_error() -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        client_ip(trusted=["proxy.example.org"])
    with pytest.raises(ValueError, match="ipv6_prefix: 1 to 128, not 0"):
        client_ip(ipv6_prefix=0)


def test_headers_and_routes() -> None:
    assert header("X-Api-Key")(scope(x_api_key="k")) == "k"
    assert header("X-Api-Key")(scope(x_api_key="")) is None
    assert header("X-Api-Key")(scope()) is None
    assert route(scope()) == "GET /x"


@pytest.mark.parametrize(
    ("authorization", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
        ("Basic abc", None),
        ("Bearer", None),
        ("Bearer ", None),
        ("", None),
    ],
)
def test_tokens(authorization: str, token: str | None) -> None:
    assert bearer(scope(authorization=authorization)) == token


class Person:
    """As authentication middlewares have them."""

    def __init__(self, name: str, *, signed_in: bool = True) -> None:
        self.display_name = name
        self.is_authenticated = signed_in
        self.number = 7


def test_users_count_by_name_and_by_address_who_is_not_signed_in() -> None:
    anonymous, ann = scope() | {"user": Person("", signed_in=False)}, scope() | {"user": Person("ann")}
    assert (user()(scope()), user()(anonymous), user()(ann)) == (None, None, "ann")
    assert user(lambda person: person.number)(ann) == "7"
    assert user(str)(scope() | {"user": "ben"}) == "ben"
    caller = first_of(user(), client_ip())
    assert [caller(each) for each in (ann, anonymous, scope(None))] == ["ann", "10.0.0.1", None]
