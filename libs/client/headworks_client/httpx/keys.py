"""What a request that goes out is: descriptors from a `httpx.Request`."""

from __future__ import annotations

import re
from collections.abc import Callable

import httpx

Key = Callable[[httpx.Request], str | None]
"""The value of one descriptor; None: this request has none."""


def host(request: httpx.Request) -> str:
    """The host, with the port where it is not the usual one: `api.example.org`."""
    url = request.url
    return url.host if url.port is None else f"{url.host}:{url.port}"


def route(request: httpx.Request) -> str:
    """Method and path, `GET /artists/7`; patterns of the rules say which paths count together."""
    return f"{request.method} {request.url.path}"


def path(*patterns: str) -> Key:
    """The first of `patterns` that fits the path, None where none does: `*` is text without a slash, `**` any text."""
    compiled = [(pattern, re.compile(_expression(pattern), re.DOTALL)) for pattern in patterns]

    def read(request: httpx.Request) -> str | None:
        return next((pattern for pattern, fits in compiled if fits.fullmatch(request.url.path)), None)

    return read


def header(name: str) -> Key:
    """The value of a header of the request, e.g. of the account's key: values are hashed before they are kept."""

    def read(request: httpx.Request) -> str | None:
        return request.headers.get(name) or None

    return read


def _expression(pattern: str) -> str:
    parts = re.split(r"(\*\*|\*)", pattern)
    return "".join({"**": ".*", "*": "[^/]*"}.get(part, re.escape(part)) for part in parts)
