"""Typed arguments: a payload checked and converted against a task's signature, prepared once per task."""

from __future__ import annotations

import inspect
import typing
from types import SimpleNamespace
from typing import Any, NotRequired

from headworks.scheduler.v1 import job_pb2
from headworks_client.payloads import JSON
from headworks_client.tasks import Task
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from typing_extensions import TypedDict

from headworks_worker.errors import ArgumentMismatch, RegistrationError

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Arguments:
    """Reads payloads for one task.

    Values must have the JSON type that their annotation asks for ("5" is no int); what JSON lacks is read from its
    usual text form (dates, UUIDs, paths, enums, ...). Unknown and missing arguments are mismatches. Parameters without
    an annotation take anything. A task with one `bytes` parameter also takes content that is not JSON.
    """

    def __init__(self, task: Task[..., Any]) -> None:
        """Raises RegistrationError for a signature that keyword arguments from JSON cannot satisfy."""
        self._task = task.name
        hints = _hints(task)
        fields: dict[str, Any] = {}
        extra: typing.Literal["allow", "forbid"] = "forbid"
        for name, parameter in task.signature.parameters.items():
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                extra = "allow"
                continue
            if parameter.kind not in _NAMED:
                raise RegistrationError(f"{task.name}: {name} cannot be given by name")
            hint = hints.get(name, Any)
            fields[name] = hint if parameter.default is parameter.empty else NotRequired[hint]
        self._needs_none = all(typing.get_origin(hint) is NotRequired for hint in fields.values())
        self._raw = next(iter(fields)) if list(hints.values()) == [bytes] and len(fields) == 1 else None
        make_type: Any = TypedDict  # its fields are known at run time only, which type checkers do not take
        shape = make_type("Arguments", fields)
        shape.__pydantic_config__ = ConfigDict(strict=True, extra=extra)
        try:
            self._validate = TypeAdapter(shape).validator.validate_json
        except PydanticUserError as error:
            raise RegistrationError(f"{task.name}: {error}") from error

    def read(self, payload: job_pb2.Payload) -> dict[str, Any]:
        """Keyword arguments; ArgumentMismatch naming what does not fit."""
        data = payload.data
        if payload.content_type not in ("", JSON):
            if self._raw is None:
                raise ArgumentMismatch(f"{self._task} takes JSON, and the payload is {payload.content_type}")
            return {self._raw: data}
        if self._needs_none and data in (b"", b"{}"):
            return {}
        try:
            arguments: dict[str, Any] = self._validate(data or b"{}")
        except ValidationError as error:
            raise ArgumentMismatch(f"{self._task}: {_listed(error)}") from None
        return arguments


def _hints(task: Task[..., Any]) -> dict[str, Any]:
    """The resolved annotations of the arguments, the context not among them."""
    written = {n: a for n, a in task.function.__annotations__.items() if n in task.signature.parameters}
    names = getattr(inspect.unwrap(task.function), "__globals__", {})
    try:
        return typing.get_type_hints(SimpleNamespace(__annotations__=written), names, include_extras=True)
    except NameError as error:
        raise RegistrationError(f"{task.name}: an annotation cannot be resolved: {error}") from error


def _listed(error: ValidationError) -> str:
    parts = []
    for item in error.errors(include_url=False, include_input=False):
        path = ".".join(str(part) for part in item["loc"])
        parts.append(f"argument {path}: {item['msg']}" if path else f"payload: {item['msg']}")
    return "; ".join(parts)
