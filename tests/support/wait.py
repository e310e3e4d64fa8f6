"""Waiting with a deadline, for what has no event to wait on."""

from headworks_devkit.waiting import wait_until

__all__ = ["wait_until"]
