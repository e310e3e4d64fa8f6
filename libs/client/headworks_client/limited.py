"""A decorator: the limiter is asked before a function runs.

    @limited(limiter, "api", describe={"user": lambda user, *_: user.name}, max_wait_s=2)
    async def analyse(user: User, text: str) -> Report: ...

For endpoints of Starlette and FastAPI, which must take the request as an argument:

    @app.get("/reports")
    @limited(limiter, "api", describe={"ip": of_request(client_ip()), "route": of_request(route)})
    async def reports(request: Request) -> list[Report]: ...

    app.add_exception_handler(LimitExceeded, too_many_requests)
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import wraps
from typing import Any, Literal, ParamSpec, Protocol, TypeVar, overload

from headworks_client.blocking import run
from headworks_client.descriptors import descriptors, permits
from headworks_client.gate import Entered, Gate, OnUnavailable, blocking_gate, gate
from headworks_client.limiter import LimiterClient
from headworks_client.refusals import LimitExceeded
from headworks_client.sync import SyncLimiterClient
from headworks_client.web.answers import too_many_requests
from headworks_client.web.keys import Key

P = ParamSpec("P")
R = TypeVar("R")
Described = Callable[..., str | None]
"""The value of one descriptor, from the function's arguments; None: this call has none."""
OnRefused = Literal["raise"] | Callable[[LimitExceeded], Any]

__all__ = ["LimitExceeded", "limited", "of_request", "too_many_requests"]


class _AsyncDecorator(Protocol):
    def __call__(self, function: Callable[P, Awaitable[R]], /) -> Callable[P, Coroutine[Any, Any, R]]: ...


class _SyncDecorator(Protocol):
    def __call__(self, function: Callable[P, R], /) -> Callable[P, R]: ...


@overload
def limited(
    client: LimiterClient,
    namespace: str,
    *,
    describe: Mapping[str, str | Described],
    cost: int | Callable[..., int] | None = None,
    max_wait_s: float = 0.0,
    on_refused: OnRefused = "raise",
    on_unavailable: OnUnavailable = "allow",
) -> _AsyncDecorator: ...


@overload
def limited(
    client: SyncLimiterClient,
    namespace: str,
    *,
    describe: Mapping[str, str | Described],
    cost: int | Callable[..., int] | None = None,
    max_wait_s: float = 0.0,
    on_refused: OnRefused = "raise",
    on_unavailable: OnUnavailable = "allow",
) -> _SyncDecorator: ...


def limited(
    client: LimiterClient | SyncLimiterClient,
    namespace: str,
    *,
    describe: Mapping[str, str | Described],
    cost: int | Callable[..., int] | None = None,
    max_wait_s: float = 0.0,
    on_refused: OnRefused = "raise",
    on_unavailable: OnUnavailable = "allow",
) -> Any:
    """Take permits before each call: coroutine functions with a LimiterClient, others with a SyncLimiterClient.

    The client must be open when the function is called. `describe` says what each descriptor is: a text, or a function
    of the call's arguments; a call with none is not limited. `cost` is in permits; None leaves it to the rules' cost
    table. A call waits as long as the limiter says, `max_wait_s` in all; where that is not enough it raises
    LimitExceeded, or returns what `on_refused` makes of that. What concurrency rules hold for a call is given back
    when it returns. A limiter that cannot be asked, or does not know the namespace, lets every
    call through or (deny) none: Unavailable. Raises TypeError for a function that is not of the client's kind,
    ValueError for a negative wait.
    """
    calls = _Calls(describe, cost, on_refused)
    if isinstance(client, LimiterClient):
        waiting = gate(client, namespace, max_wait_s=max_wait_s, on_unavailable=on_unavailable)
        return lambda function: _async(function, calls, waiting)
    blocking = blocking_gate(client, namespace, max_wait_s=max_wait_s, on_unavailable=on_unavailable)
    return lambda function: _sync(function, calls, blocking)


def of_request(key: Key) -> Described:
    """A key of `headworks_client.web` for functions that get the request as an argument, whatever its name.

    Raises TypeError where no argument has an ASGI `scope`.
    """

    def read(*args: Any, **kwargs: Any) -> str | None:
        for argument in (*args, *kwargs.values()):
            scope = getattr(argument, "scope", None)
            if isinstance(scope, dict):
                return key(scope)
        raise TypeError("no argument of the limited function is a request: give it one, `request: Request`")

    return read


class _Calls:
    """What is said of calls."""

    def __init__(
        self, describe: Mapping[str, str | Described], cost: int | Callable[..., int] | None, on_refused: OnRefused
    ) -> None:
        self._describe = dict(describe)
        self._cost = cost
        self._on_refused = on_refused

    def enter(self, gate: Gate, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Coroutine[Any, Any, Entered]:
        values = (
            (name, told if isinstance(told, str) else told(*args, **kwargs)) for name, told in self._describe.items()
        )
        cost = self._cost if self._cost is None or isinstance(self._cost, int) else self._cost(*args, **kwargs)
        return gate.enter(descriptors(values), permits(cost))

    def instead(self, refusal: LimitExceeded) -> Any:
        if self._on_refused == "raise":
            raise refusal
        return self._on_refused(refusal)


def _async(function: Callable[P, Awaitable[R]], calls: _Calls, gate: Gate) -> Callable[P, Coroutine[Any, Any, R]]:
    if not inspect.iscoroutinefunction(function):
        raise TypeError(f"{_name(function)} is no coroutine function: limit it with a SyncLimiterClient")

    @wraps(function)
    async def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            entered = await calls.enter(gate, args, kwargs)
        except LimitExceeded as refusal:
            instead = calls.instead(refusal)
            return await instead if inspect.isawaitable(instead) else instead  # type: ignore[no-any-return]
        try:
            return await function(*args, **kwargs)
        finally:
            entered.end()

    return call


def _sync(function: Callable[P, R], calls: _Calls, gate: Gate) -> Callable[P, R]:
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(f"{_name(function)} is a coroutine function: limit it with a LimiterClient")

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            entered = run(calls.enter(gate, args, kwargs))
        except LimitExceeded as refusal:
            return calls.instead(refusal)  # type: ignore[no-any-return]
        try:
            return function(*args, **kwargs)
        finally:
            entered.end()

    return call


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", repr(function))
