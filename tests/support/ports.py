"""Ports for processes that cannot be told to choose one themselves."""

from headworks_devkit.ports import free_port, free_ports

__all__ = ["free_port", "free_ports"]
