"""Where events go: what every sink says when it cannot take one. Each module is one sink, or a part of one."""

from __future__ import annotations

from collections.abc import Sequence

from headworks_core.errors import Unavailable


class SinkUnavailable(Unavailable):
    """The sink does not take events now; what was under way may or may not have arrived."""


class Unsendable(Exception):
    """No later attempt can send this event; the message says why."""


class Refused(Exception):
    """The sink refused a batch for what is in it; after that, only a new session may send.

    A batch of one says which event it is; the events of a larger one are to be sent singly.
    """

    def __init__(self, ids: Sequence[bytes], reason: str) -> None:
        super().__init__(reason)
        self.ids = tuple(ids)
        self.reason = reason
