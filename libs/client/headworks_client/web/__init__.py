"""Limits where HTTP comes in: an ASGI middleware (FastAPI, Starlette, Litestar, Django), its keys and its headers.

app.add_middleware(LimitMiddleware, limiter="127.0.0.1:50051", namespace="api",
                   describe={"ip": client_ip(trusted=["10.0.0.0/8"]), "user": header("x-user"), "route": route})
"""

from headworks_client.web.asgi import LimitMiddleware
from headworks_client.web.headers import Dialect, limit_headers, problem
from headworks_client.web.keys import bearer, client_ip, first_of, header, route, user

__all__ = [
    "Dialect",
    "LimitMiddleware",
    "bearer",
    "client_ip",
    "first_of",
    "header",
    "limit_headers",
    "problem",
    "route",
    "user",
]
