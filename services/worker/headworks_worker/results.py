"""What a handler returned, as bytes on the wire."""

from __future__ import annotations

from headworks.scheduler.v1 import job_pb2
from headworks_client.payloads import BYTES, Content
from pydantic_core import PydanticSerializationError, to_json

from headworks_worker.errors import ResultRefused

RESULT_BYTES_MAX = 1 << 20  # no scheduler takes more; its own bound may be lower


def encode(value: object) -> job_pb2.Payload | None:
    """JSON for anything but bytes and Content; None for nothing.

    Pydantic models and dataclasses are fine; NaN and infinities become null, which JSON has instead. Raises
    ResultRefused.
    """
    if value is None:
        return None
    if isinstance(value, Content):
        payload = job_pb2.Payload(data=value.data, content_type=value.content_type)
    elif isinstance(value, bytes | bytearray | memoryview):
        payload = job_pb2.Payload(data=bytes(value), content_type=BYTES)
    else:
        try:
            payload = job_pb2.Payload(data=to_json(value, inf_nan_mode="null"))
        except (PydanticSerializationError, RecursionError) as error:
            raise ResultRefused(f"the result has no form in JSON: {error}") from error
    if len(payload.data) > RESULT_BYTES_MAX:
        raise ResultRefused(f"the result has {len(payload.data)} bytes; at most {RESULT_BYTES_MAX}")
    return payload
