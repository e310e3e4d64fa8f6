"""Whose request is it? What a middleware takes from an ASGI scope to describe a request to the limiter."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

Scope = MutableMapping[str, Any]
Key = Callable[[Scope], str | None]
"""The value of one descriptor; None: this request has none."""


def route(scope: Scope) -> str:
    """Method and path, `GET /wallets/7`; patterns of the rules say which paths count together."""
    return f"{scope.get('method', 'WEBSOCKET')} {scope.get('path', '')}"


def header(name: str) -> Key:
    """The value of a request header, e.g. of an API key that something in front of us has checked."""
    wanted = name.lower().encode("latin-1")

    def read(scope: Scope) -> str | None:
        return next((value for key, value in _headers(scope) if key == wanted and value), None)

    return read


def bearer(scope: Scope) -> str | None:
    """The token of `Authorization: Bearer`. Let what has checked it come first: anybody can invent another one."""
    scheme, _, token = (header("authorization")(scope) or "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def user(read: Callable[[Any], object] = lambda user: user.display_name) -> Key:
    """The user that an authentication middleware further out has found (`scope["user"]`), as `read` tells them apart.

    Starlette's and FastAPI's has a `display_name`; elsewhere tell what it is: `user(lambda user: user.id)`. None for a
    request without a user, or whose user says that they are not authenticated.
    """

    def value(scope: Scope) -> str | None:
        found = scope.get("user")
        if found is None or not getattr(found, "is_authenticated", True):
            return None
        return str(read(found)) or None

    return value


def first_of(*keys: Key) -> Key:
    """The first value there is: `first_of(user(), client_ip())` counts by user, and by address who is not signed in."""

    def read(scope: Scope) -> str | None:
        return next((value for key in keys if (value := key(scope))), None)

    return read


def client_ip(*, trusted: Sequence[str] = (), ipv6_prefix: int = 64) -> Key:
    """The address of the client: of the connection, or what proxies that are `trusted` say of it.

    `trusted` are networks (`10.0.0.0/8`) or addresses. X-Forwarded-For is read from its end, where our own proxies have
    written, up to the first address that is not theirs; what stands before that can be anybody's invention. IPv6
    addresses count by their network of `ipv6_prefix` bits, for one household has very many. Raises ValueError.
    """
    networks = [ip_network(network) for network in trusted]
    if not 1 <= ipv6_prefix <= 128:
        raise ValueError(f"ipv6_prefix: 1 to 128, not {ipv6_prefix}")

    def ours(address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in networks)

    def read(scope: Scope) -> str | None:
        address = _parsed((scope.get("client") or ("", 0))[0])
        if address is None:
            return None
        if ours(address):
            for said in reversed(list(_forwarded(scope))):
                before = _parsed(said)
                if before is None:
                    break
                address = before
                if not ours(address):
                    break
        if isinstance(address, IPv6Address) and ipv6_prefix < 128:
            return str(IPv6Network((address, ipv6_prefix), strict=False))
        return str(address)

    return read


def _forwarded(scope: Scope) -> Iterator[str]:
    for key, value in _headers(scope):
        if key == b"x-forwarded-for":
            yield from (part.strip() for part in value.split(","))


def _headers(scope: Scope) -> Iterator[tuple[bytes, str]]:
    for key, value in scope.get("headers", ()):
        yield key.lower(), value.decode("latin-1")


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    """An address, with or without a port and brackets; an IPv4 address in IPv6 is one of IPv4."""
    bare = text.partition("]")[0].lstrip("[") if text.startswith("[") else text
    if bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        address = ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
