"""Shared foundations of the headworks services: errors, names, cells, scripts, serving, telemetry."""
