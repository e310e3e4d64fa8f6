"""A GET without a library: the monitor's pages, as probes and Prometheus ask for them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from prometheus_client.parser import text_string_to_metric_families

TIMEOUT_S = 10.0
Samples = dict[str, dict[tuple[tuple[str, str], ...], float]]
"""Values by the name of the sample, then by its labels, sorted."""


async def get(address: str, path: str, *, timeout_s: float = TIMEOUT_S) -> tuple[int, str]:
    """Status and body. Raises TimeoutError, OSError."""
    answer = await exchange(address, f"GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n".encode(), timeout_s=timeout_s)
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), body.decode()


async def exchange(address: str, request: bytes, *, timeout_s: float = TIMEOUT_S) -> bytes:
    """Send these bytes, and read to the end."""
    host, _, port = address.rpartition(":")
    async with asyncio.timeout(timeout_s):
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(request)
            return await reader.read()
        finally:
            writer.close()
            await writer.wait_closed()


async def scrape(address: str) -> Samples:
    """All samples of /metrics."""
    status, text = await get(address, "/metrics")
    assert status == 200, text
    samples: Samples = {}
    for name, labels, value in _samples(text):
        of_name = samples.setdefault(name, {})
        assert labels not in of_name, f"{name}{dict(labels)} is told twice"
        of_name[labels] = value
    return samples


def value(samples: Samples, name: str, **labels: str) -> float:
    """The sum of the samples that have these labels, 0 without any."""
    wanted = set(labels.items())
    return sum(number for found, number in samples.get(name, {}).items() if wanted <= set(found))


def _samples(text: str) -> Iterator[tuple[str, tuple[tuple[str, str], ...], float]]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield sample.name, tuple(sorted(sample.labels.items())), sample.value
