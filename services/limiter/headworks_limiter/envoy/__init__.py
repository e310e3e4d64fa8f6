"""Envoy's rate limit service, with the rules of envoyproxy/ratelimit."""
