"""From the descriptors of the services to requests with one field changed."""

from __future__ import annotations

import copy
import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any, NamedTuple

import headworks
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message

WELL_KNOWN = "google.protobuf."


class Step(NamedTuple):
    """One field on the way to another."""

    name: str
    repeated: bool


class Spot(NamedTuple):
    """A field somewhere in a request."""

    row: str
    """"<Message>.<field>", its row in the tables."""
    path: tuple[Step, ...]

    @property
    def dotted(self) -> str:
        """Its path from the request, without indexes."""
        return ".".join(step.name for step in self.path)


def services() -> list[ServiceDescriptor]:
    """Every service that the protos define."""
    found: dict[str, ServiceDescriptor] = {}
    for module in pkgutil.walk_packages(headworks.__path__, "headworks."):
        if module.name.endswith("_service_pb2"):
            described = importlib.import_module(module.name).DESCRIPTOR
            found |= {service.full_name: service for service in described.services_by_name.values()}
    return [found[name] for name in sorted(found)]


def methods() -> list[MethodDescriptor]:
    """Every method of every service."""
    return [method for service in services() for method in service.methods]


def spots(message: Descriptor, path: tuple[Step, ...] = ()) -> Iterator[Spot]:
    """Every field of a request, also of the messages inside."""
    for field in message.fields:
        here = (*path, Step(field.name, field.is_repeated))
        yield Spot(f"{message.name}.{field.name}", here)
        inner = _inner(field)
        if inner is not None:
            yield from spots(inner, here)


def _inner(field: FieldDescriptor) -> Descriptor | None:
    """The message inside, if it is one of ours."""
    inner = field.message_type
    if inner is None or inner.full_name.startswith(WELL_KNOWN) or inner.GetOptions().map_entry:
        return None
    return inner


def changed(request: Message, path: tuple[Step, ...], value: Any) -> Message:
    """A copy of `request` with the field at `path` set to `value` (None: not set); of a list, its first item."""
    result = copy.deepcopy(request)
    parent: Any = result
    for step in path[:-1]:
        inner = getattr(parent, step.name)
        if step.repeated:
            parent = inner[0] if inner else inner.add()
        else:
            inner.SetInParent()
            parent = inner
    name = path[-1].name
    parent.ClearField(name)
    if isinstance(value, dict):
        getattr(parent, name).update(value)
    elif isinstance(value, list):
        getattr(parent, name).extend(value)
    elif isinstance(value, Message):
        getattr(parent, name).CopyFrom(value)
    elif value is not None:
        setattr(parent, name, value)
    return result
