"""The tasks that a worker knows, prepared to be called."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from headworks_client.tasks import Task

from headworks_worker.arguments import Arguments
from headworks_worker.errors import RegistrationError


@dataclass(frozen=True, slots=True)
class Registered:
    """A task, ready to be called."""

    function: Callable[..., Any]
    is_async: bool
    context_name: str | None
    arguments: Arguments


def register(tasks: Iterable[Task[..., Any]]) -> dict[str, Registered]:
    """Prepare tasks, by name. Raises RegistrationError, also for two different tasks of one name."""
    found: dict[str, Task[..., Any]] = {}
    for task in tasks:
        other = found.setdefault(task.name, task)
        if other.function is not task.function:
            raise RegistrationError(f"two tasks are called {task.name}")
    return {name: _prepared(task) for name, task in found.items()}


def _prepared(task: Task[..., Any]) -> Registered:
    function = task.function
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise RegistrationError(f"{task.name} is a generator; a task returns once")
    return Registered(function, inspect.iscoroutinefunction(function), task.context_name, Arguments(task))


def load(modules: Iterable[str]) -> list[Task[..., Any]]:
    """Import modules by name and collect the tasks they have, their own and imported ones.

    The current folder is searched too, as `python -m` does. Raises RegistrationError for a module that does not exist
    or has no task.
    """
    if "" not in sys.path:
        sys.path.insert(0, "")
    tasks: list[Task[..., Any]] = []
    for name in modules:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise  # the module is there; what it imports is not
            raise RegistrationError(f"tasks: there is no module {name} (searched: {', '.join(sys.path)})") from error
        of_module = [value for value in vars(module).values() if isinstance(value, Task)]
        if not of_module:
            raise RegistrationError(f"tasks: module {name} has no @task function")
        tasks += of_module
    return tasks
