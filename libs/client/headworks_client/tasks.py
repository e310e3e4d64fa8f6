"""`@task`: a function that callers submit and workers run, under one name."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar, overload

from headworks_core.names import TASK

from headworks_client.jobs import Job
from headworks_client.payloads import encode_arguments
from headworks_client.scheduler import SchedulerClient
from headworks_client.submissions import Retry, Submission

P = ParamSpec("P")
R = TypeVar("R")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TaskOptions:
    """How a task's jobs are submitted."""

    queue: str = "default"
    level: int | None = None
    lane: str = ""
    delay_s: float = 0.0
    expire_after_s: float | None = None
    timeout_s: float | None = None
    """How long one attempt may run."""
    retry: Retry | None = None
    request_id: str = ""
    client: SchedulerClient | None = None
    """Instead of the innermost open one."""


class Task(Generic[P, R]):
    """A named function: call it as ever, or `submit` it to be run by a worker. Made by `@task`."""

    def __init__(self, function: Callable[P, R], name: str, options: TaskOptions) -> None:
        if not TASK.fullmatch(name):
            raise ValueError(f"task name {name!r} must be 1 to 200 of [A-Za-z0-9_.:-]; give one with @task(name=...)")
        functools.update_wrapper(self, function)
        self.function = function
        self.name = name
        self._options = options
        self.context_name = _context_name(function)
        """The parameter that a worker fills with its Context; None if there is none."""
        signature = inspect.signature(function)
        arguments = [p for p in signature.parameters.values() if p.name != self.context_name]
        self.signature = signature.replace(parameters=arguments)
        """Of the arguments that travel with a job."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run it here and now."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<task {self.name}>"

    @property
    def queue(self) -> str:
        """The queue that its jobs are put in."""
        return self._options.queue

    def options(self, **changes: Any) -> Task[P, R]:
        """A copy that is submitted differently: any field of TaskOptions."""
        return Task(self.function, self.name, dataclasses.replace(self._options, **changes))

    def submission(self, *args: Any, **kwargs: Any) -> Submission:
        """What `submit` would submit. TypeError for arguments that the function does not take."""
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.name}: {error}") from None
        options = self._options
        return Submission(
            task=self.name,
            payload=encode_arguments(_by_keyword(bound)),
            level=options.level,
            lane=options.lane,
            delay_s=options.delay_s,
            expire_after_s=options.expire_after_s,
            attempt_timeout_s=options.timeout_s,
            retry=options.retry,
            request_id=options.request_id,
        )

    async def submit(self, *args: Any, client: SchedulerClient | None = None, **kwargs: Any) -> Job:
        """Submit a job with these arguments, through `client` or the innermost open one; then it is recorded."""
        chosen = client or self._options.client or SchedulerClient.current()
        return await chosen.submit(self.submission(*args, **kwargs), queue=self._options.queue)


@overload
def task(function: Callable[P, R], /) -> Task[P, R]: ...


@overload
def task(
    *,
    name: str | None = None,
    queue: str = "default",
    level: int | None = None,
    lane: str = "",
    timeout_s: float | None = None,
    retry: Retry | None = None,
) -> Callable[[Callable[P, R]], Task[P, R]]: ...


def task(function: Callable[..., Any] | None = None, /, *, name: str | None = None, **options: Any) -> Any:
    """Make a function a task, `@task` or `@task(...)`; its name is `<module>.<function>` unless it is given.

    Arguments travel as JSON and are checked against the annotations by the worker. A parameter annotated `Context`
    is filled by the worker and is no argument.
    """

    def decorate(function: Callable[..., Any]) -> Task[..., Any]:
        return Task(function, name or f"{_module_name(function)}.{function.__name__}", TaskOptions(**options))

    return decorate if function is None else decorate(function)


def _module_name(function: Callable[..., Any]) -> str:
    """The module under which a worker imports the function, also where it is the program being run."""
    if function.__module__ != "__main__":
        return function.__module__
    program = sys.modules["__main__"]
    spec = getattr(program, "__spec__", None)
    if spec is not None:
        return str(spec.name)
    return Path(getattr(program, "__file__", None) or "__main__").stem


def _context_name(function: Callable[..., Any]) -> str | None:
    """The parameter annotated `Context`; annotations are not resolved, as callers may not have the worker installed."""
    annotations: dict[str, object] = getattr(function, "__annotations__", {})
    for name, annotation in annotations.items():
        if isinstance(annotation, str):
            if name != "return" and annotation.strip("'\"").rpartition(".")[2] == "Context":
                return name
        elif getattr(annotation, "is_headworks_context", False):
            return name
    return None


def _by_keyword(bound: inspect.BoundArguments) -> dict[str, Any]:
    """All arguments by name; those of `**kwargs` beside the others."""
    arguments: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        if bound.signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
            arguments.update(value)
        else:
            arguments[name] = value
    return arguments
