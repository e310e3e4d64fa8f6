"""From an exception to the `Failure` that the scheduler keeps."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from headworks.scheduler.v1 import job_pb2

from headworks_worker.errors import PermanentError

CLASS_MAX, MESSAGE_MAX, TRACE_MAX = 200, 2_000, 16_000
_OWN_CODE = str(Path(__file__).parent)


def failure_of(error: BaseException, non_retryable: Iterable[str] = ()) -> job_pb2.Failure:
    """PERMANENT for a PermanentError, and for a class that is listed (short or qualified) or has a listed base."""
    permanent = isinstance(error, PermanentError) or _is_listed(type(error), frozenset(non_retryable))
    category = job_pb2.FAILURE_CATEGORY_PERMANENT if permanent else job_pb2.FAILURE_CATEGORY_TRANSIENT
    return failure(class_name(type(error)), _message(error), category, trace_of(error))


def failure(error_class: str, message: str, category: job_pb2.FailureCategory, trace: str = "") -> job_pb2.Failure:
    """A failure within the proto's bounds; of a long trace the innermost frames are kept."""
    return job_pb2.Failure(
        error_class=_clean(error_class)[:CLASS_MAX],
        message=_clean(message)[:MESSAGE_MAX],
        trace=_clean(trace)[-TRACE_MAX:],
        category=category,
    )


def class_name(kind: type[BaseException]) -> str:
    """`ValueError`; with its module where it is not built in."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def trace_of(error: BaseException) -> str:
    """The formatted traceback, beginning with the handler's own frames."""
    return "".join(traceback.format_exception(type(error), error, _handlers_own(error.__traceback__)))


def trace_of_thread(ident: int | None) -> str:
    """Where a running thread is now; empty if it has ended."""
    frame = sys._current_frames().get(ident or 0)
    return "".join(traceback.format_stack(frame)) if frame is not None else ""


def _handlers_own(frames: TracebackType | None) -> TracebackType | None:
    whole = frames
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(_OWN_CODE):
        frames = frames.tb_next
    return frames or whole


def _is_listed(kind: type[BaseException], names: frozenset[str]) -> bool:
    return any(base.__name__ in names or class_name(base) in names for base in kind.__mro__) if names else False


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:  # a handler's exception may be broken itself
        return f"(its message cannot be had: {type(broken).__name__})"


def _clean(text: str) -> str:
    """Without lone surrogates, which UTF-8 has no form for (file names have them)."""
    return text.encode("utf-8", "replace").decode()
