"""Ids and resource names: the one place that says which characters they have."""

from __future__ import annotations

import random
import re
import time
from typing import NamedTuple

from headworks_core.errors import InvalidArgument, Violation

TENANT = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
QUEUE = re.compile(r"[a-z0-9_-]{1,64}")
NAMESPACE = QUEUE
TASK = re.compile(r"[A-Za-z0-9_.:-]{1,200}")
LANE = re.compile(r"[A-Za-z0-9_.:@-]{0,128}")
WORKER = re.compile(r"[A-Za-z0-9_.:@-]{1,128}")
CONTENT_TYPE = re.compile(r"[\x20-\x7e]{0,100}")
"""Printable ASCII; what a media type is made of."""
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
JOB_NAME = re.compile(
    rf"tenants/({TENANT.pattern})/queues/({QUEUE.pattern})/jobs/(\d{{1,4}})-({UUID.pattern})",
)


class JobName(NamedTuple):
    """A job's name in its parts. In the store a job is known by its `ref`, unique within its cell."""

    tenant: str
    queue: str
    cell: int
    tail: str

    def __str__(self) -> str:
        return f"tenants/{self.tenant}/queues/{self.queue}/jobs/{self.cell}-{self.tail}"

    @property
    def ref(self) -> str:
        """`<tenant>/<queue>/<tail>`."""
        return f"{self.tenant}/{self.queue}/{self.tail}"


def parse_job(name: str, *, field: str = "name") -> JobName:
    """Take a job's name apart; InvalidArgument naming `field` if it is none."""
    match = JOB_NAME.fullmatch(name)
    if match is None:
        rule = "must look like tenants/{tenant}/queues/{queue}/jobs/{cell}-{uuid}"
        raise InvalidArgument(f"{field}: {rule}", violations=[Violation(field, rule)])
    return JobName(match[1], match[2], int(match[3]), match[4])


def job_of_ref(ref: str, cell: int) -> str:
    """The full name of the job that the store knows as `ref` in `cell`."""
    tenant, queue, tail = ref.split("/")
    return f"tenants/{tenant}/queues/{queue}/jobs/{cell}-{tail}"


_UUID7_BITS = 0x7 << 76 | 0x2 << 62  # version and variant
_UUID7_MASK = ~(0xF << 76 | 0x3 << 62)


def uuid7() -> str:
    """A new UUID of version 7: 48 bits of Unix milliseconds, then 74 random bits, so that ids sort by age.

    Unique, not secret: who knows an id still needs the tenant's credentials.

    Source: RFC 9562, section 5.7.
    """
    value = (time.time_ns() // 1_000_000) << 80 | random.getrandbits(80)
    value = value & _UUID7_MASK | _UUID7_BITS
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
