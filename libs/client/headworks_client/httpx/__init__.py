"""Limits where HTTP goes out: httpx transports that ask the limiter before, and report what came of it (extra `httpx`).

async with httpx.AsyncClient(transport=AsyncLimitTransport("127.0.0.1:50051", namespace="providers")) as client:
    await client.get("https://api.example.org/v1/artists/7")
"""

from headworks_client.httpx.keys import header, host, path, route
from headworks_client.httpx.transport import AsyncLimitTransport, LimiterAway, LimitTransport, RequestRefused

__all__ = ["AsyncLimitTransport", "LimitTransport", "LimiterAway", "RequestRefused", "header", "host", "path", "route"]
