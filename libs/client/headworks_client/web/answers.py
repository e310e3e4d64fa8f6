"""Answers in place of an application's, as ASGI."""

from __future__ import annotations

import json
from typing import Any

from headworks_client.refusals import LimitExceeded
from headworks_client.web.headers import JSON, Dialect, Headers, limit_headers, problem
from headworks_client.web.keys import Scope


class Answer:
    """A response that Starlette and FastAPI send as one of theirs: `await answer(scope, receive, send)`."""

    def __init__(self, status: int, body: bytes, headers: Headers) -> None:
        self.status_code = status
        self.body = body
        self.raw_headers = raw([("content-type", JSON), ("content-length", str(len(body))), *headers])

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """See ASGI."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        body = b"" if scope.get("method") == "HEAD" else self.body
        await send({"type": "http.response.body", "body": body})


async def too_many_requests(request: Any, error: Exception) -> Any:
    """A 429 for a LimitExceeded that nobody caught: `app.add_exception_handler(LimitExceeded, too_many_requests)`.

    Returns an Answer, which does for one of Starlette's responses.
    """
    if not isinstance(error, LimitExceeded):
        raise error
    if error.decision is None:
        return Answer(429, about(429, "Too Many Requests", str(error)), [])
    return Answer(429, problem(error.decision), limit_headers(error.decision, Dialect.X_RATELIMIT))


def about(status: int, title: str, detail: str) -> bytes:
    """A body (RFC 9457) of no special type."""
    return json.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail}).encode()


def raw(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Headers as ASGI has them."""
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
