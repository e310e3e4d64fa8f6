"""What Envoy is told: where to listen, TLS, and the bounds that the grpc.aio server has too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyvoy

from headworks_core.envoy.process import Tls

LISTENER = "listener"
FILTERS = "type.googleapis.com/envoy.extensions.filters.http"
HEADERS_KIB = 8
LONGEST_S = 3600


def envoy_config(app: str, address: str, tls: Tls, admin: Path) -> dict[str, Any]:
    """Envoy's bootstrap: one listener in front of `app` (`module:name`), and the admin API on a socket of ours."""
    host, _, port = address.rpartition(":")
    server = pyvoy.PyvoyServer(
        app,
        address="127.0.0.1" if host == "localhost" else host.strip("[]"),
        port=int(port),
        tls_key=_file(tls.key),
        tls_cert=_file(tls.cert),
        tls_ca_cert=_file(tls.client_ca),
        tls_enable_http3=False,
        lifespan=True,
    )
    config: dict[str, Any] = server.get_envoy_config()
    (listener,) = config["static_resources"]["listeners"]
    listener["enable_reuse_port"] = False  # a port taken by another process is an error, not a silent share
    listener["tcp_backlog_size"] = 1024
    http = listener["filter_chains"][0]["filters"][-1]["typed_config"]
    http |= _bounds()
    web = {"name": "envoy.filters.http.grpc_web", "typed_config": {"@type": f"{FILTERS}.grpc_web.v3.GrpcWeb"}}
    http["http_filters"].insert(0, web)
    config["admin"] = {"address": {"pipe": {"path": str(admin), "mode": 0o600}}}
    return config


def _file(path: str) -> Path | None:
    return Path(path) if path else None


def _bounds() -> dict[str, Any]:
    return {
        "max_request_headers_kb": HEADERS_KIB,
        "request_headers_timeout": "10s",
        "stream_idle_timeout": f"{LONGEST_S}s",
        "common_http_protocol_options": {"max_connection_duration": "300s", "idle_timeout": f"{LONGEST_S}s"},
        "http2_protocol_options": {
            "max_concurrent_streams": 10_000,
            "initial_stream_window_size": 1 << 20,
            "initial_connection_window_size": 4 << 20,
            "connection_keepalive": {"interval": "30s", "timeout": "10s"},
        },
    }
