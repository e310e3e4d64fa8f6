"""Servicers inside Envoy: gRPC, gRPC-Web and Connect over HTTP, with TLS (see docs/adr/0010-envoy-front.md)."""
