"""Programs as child processes of a test; always reaped."""

from headworks_devkit.processes import Child, ChildFailed, child

__all__ = ["Child", "ChildFailed", "child"]
