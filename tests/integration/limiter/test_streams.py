"""ConsumeStream: as ConsumeBatch, message by message, over one stream."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from headworks.limiter.v1.limiter_pb2 import DETAIL_ALL, DETAIL_GOVERNING, Decision, PermitRequest
from headworks.limiter.v1.limiter_service_pb2 import ConsumeStreamRequest, ConsumeStreamResponse
from headworks_core import errors, grpc_errors
from headworks_limiter.app import limiter_app
from headworks_limiter.settings import Settings
from redis.asyncio import Redis

from tests.integration.limiter.serving import Limiter, request, running, seconds

RULES = """
namespaces:
  api:
    rules:
      - {name: few, match: {few: "*"}, limit: 3, per: 2000d}
      - {name: many, match: {many: "*"}, limit: 1000000, per: 2000d}
      - {name: window, match: {window: "*"}, limit: 2, per: 10 years, algorithm: fixed_window}
      - {name: log, match: {log: "*"}, limit: 2, per: 2000d, algorithm: sliding_window_log}
"""
WAIT_S = 30.0


@pytest.fixture
async def limiter(redis: Redis, valkey_url: str) -> AsyncIterator[Limiter]:
    async with running(valkey_url, RULES) as client:
        yield client


class Stream:
    """One call of ConsumeStream."""

    def __init__(self, limiter: Limiter) -> None:
        metadata = (("headworks-tenant", limiter.tenant),)
        self.call: Any = limiter.stub.ConsumeStream(metadata=metadata, timeout=WAIT_S)

    async def ask(self, number: int, *asked: PermitRequest) -> None:
        """Send a message."""
        await self.call.write(ConsumeStreamRequest(id=number, requests=asked))

    async def answer(self) -> ConsumeStreamResponse:
        """The next answer."""
        reply = await self.call.read()
        assert reply is not grpc.aio.EOF, "the stream has ended"
        answer: ConsumeStreamResponse = reply
        return answer

    async def error(self) -> errors.ServiceError:
        """What the stream ended with, after its last answer."""
        try:
            while await self.call.read() is not grpc.aio.EOF:
                pass
            code, details = await self.call.code(), await self.call.details()
            raise AssertionError(f"ended with {code} {details}")
        except grpc.aio.AioRpcError as error:
            return grpc_errors.from_call(error)


async def test_every_message_is_answered_under_its_id(limiter: Limiter) -> None:
    stream = Stream(limiter)
    for number in range(50):
        await stream.ask(number, *(request(many=f"{n}") for n in range(number % 7 + 1)))
    await stream.call.done_writing()
    answers = [await stream.answer() for _ in range(50)]
    assert {answer.id: len(answer.results) for answer in answers} == {n: n % 7 + 1 for n in range(50)}
    assert all(result.decision.allowed for answer in answers for result in answer.results)
    assert await stream.call.read() is grpc.aio.EOF
    assert await stream.call.code() is grpc.StatusCode.OK


@pytest.mark.parametrize("detail", [DETAIL_GOVERNING, DETAIL_ALL])
async def test_a_result_says_what_consume_says(limiter: Limiter, detail: Any) -> None:
    kinds = [{"few": "x"}, {"window": "x"}, {"log": "x"}, {"few": "y", "many": "y"}, {"none": "x"}]
    asked = [request(**kind, _permits=permits, _detail=detail) for kind in kinds for permits in (1, 2, 1, 2)]
    one, other = limiter.of("one"), limiter.of("other")
    stream = Stream(one)
    await stream.ask(1, *asked)
    results = (await stream.answer()).results
    for each, result in zip(asked, results, strict=True):
        assert alike(result.decision, await other.consume(each)), each
    stream.call.cancel()


def alike(one: Decision, other: Decision) -> bool:
    """Equal, but for the time that passed between them."""
    (left, left_s), (right, right_s) = _timeless(one), _timeless(other)
    return left == right and left_s == pytest.approx(right_s, rel=0, abs=60)


def _timeless(decision: Decision) -> tuple[Decision, list[float]]:
    """A copy without its durations, and these apart; -1 for one that is not set."""
    copy = Decision()
    copy.CopyFrom(decision)
    parts: list[Any] = [copy, *([copy.governing] if copy.HasField("governing") else []), *copy.rules]
    spots = [
        (part, name)
        for part in parts
        for name in ("retry_after", "reset_after")
        if name in part.DESCRIPTOR.fields_by_name
    ]
    durations = [seconds(getattr(part, name)) if part.HasField(name) else -1.0 for part, name in spots]
    for part, name in spots:
        part.ClearField(name)
    return copy, durations


async def test_errors_belong_to_their_items(limiter: Limiter) -> None:
    stream = Stream(limiter)
    await stream.ask(7, request(few="a"), request("nowhere", few="a"), request(few="a", _permits=4), request(few="a"))
    results = (await stream.answer()).results
    assert [result.error.reason for result in results] == ["", "NAMESPACE_NOT_FOUND", "PERMITS_EXCEED_LIMIT", ""]
    assert [results[n].decision.governing.remaining for n in (0, 3)] == [2, 1]
    stream.call.cancel()


@pytest.mark.parametrize("count", [0, 501])
async def test_a_message_of_another_size_ends_the_stream_after_what_was_asked_is_answered(
    limiter: Limiter, count: int
) -> None:
    stream = Stream(limiter)
    await stream.ask(1, request(many="a"))
    await stream.ask(2, *[request(many="a")] * count)
    assert (await stream.answer()).id == 1
    error = await stream.error()
    assert (type(error), error.reason) == (errors.InvalidArgument, errors.Reason.BATCH_SIZE)


async def test_an_id_makes_a_repeated_request_count_once(limiter: Limiter) -> None:
    asked = request(few="a", _request_id="6f2c1e1e-0d6a-4c7b-9a51-0b6c8f3f2a10")
    stream = Stream(limiter)
    for number in range(2):
        await stream.ask(number, asked)
        (result,) = (await stream.answer()).results
        assert (result.decision.allowed, result.decision.replayed) == (True, number == 1)
    (result,) = await limiter.batch(request(few="a", _permits=2))
    assert result.decision.allowed
    stream.call.cancel()


async def test_the_same_bytes_of_two_tenants_are_two_requests(limiter: Limiter) -> None:
    one, other = Stream(limiter.of("one")), Stream(limiter.of("other"))
    for stream in (one, other):
        await stream.ask(1, *[request(few="a")] * 4)
        results = (await stream.answer()).results
        assert [result.decision.allowed for result in results] == [True, True, True, False]
        stream.call.cancel()


async def test_twenty_streams_together_get_exactly_what_there_is(limiter: Limiter) -> None:
    async def caller(number: int) -> int:
        stream, granted = Stream(limiter), 0
        for message in range(10):
            await stream.ask(message, *[request(few=f"{n}") for n in range(20)])
        await stream.call.done_writing()
        async for answer in stream.call:
            granted += sum(result.decision.allowed for result in answer.results)
        return granted

    assert sum(await asyncio.gather(*map(caller, range(20)))) == 20 * 3


async def test_a_caller_that_does_not_read_is_not_read_from(limiter: Limiter) -> None:
    stream, sent = Stream(limiter), 0
    big = [request(many="a", _detail=DETAIL_ALL)] * 500
    stuck: asyncio.Task[None] | None = None
    while stuck is None and sent < 2_000:  # a hundred megabytes of answers
        writing = asyncio.create_task(stream.ask(sent, *big))
        done, _ = await asyncio.wait([writing], timeout=1.0)
        stuck = None if done else writing
        sent += 1
    assert stuck is not None
    answers = [(await stream.answer()).id for _ in range(sent)]
    await stuck
    assert sorted(answers) == list(range(sent))
    stream.call.cancel()


async def test_a_replica_that_stops_answers_and_sends_its_callers_elsewhere(
    redis: Redis, valkey_url: str, tmp_path: Path
) -> None:
    (tmp_path / "rules.yaml").write_text(RULES)
    settings = Settings(
        address="127.0.0.1:0", redis_url=valkey_url, rules_file=str(tmp_path / "rules.yaml"), shutdown_grace_s=10.0
    )
    async with AsyncExitStack() as stack:
        async with limiter_app(settings) as port:
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))
            stream = Stream(Limiter(channel))
            for number in range(5):
                await stream.ask(number, request(many="a"))
            seen = Counter([(await stream.answer()).id])
            reading = asyncio.create_task(self_ending(stream, seen))
        error = await reading
    assert (type(error), error.reason) == (errors.Unavailable, errors.Reason.SHUTTING_DOWN)
    taken = 1_000_000 - int(await left(valkey_url, tmp_path))
    assert seen == Counter(range(taken))  # what was read was answered


async def left(valkey_url: str, folder: Path) -> int:
    """Permits of the bucket "a" that are left, says another replica."""
    async with running(valkey_url, (folder / "rules.yaml").read_text()) as other:
        return (await other.check(request(many="a"))).governing.remaining


async def self_ending(stream: Stream, seen: Counter[int]) -> errors.ServiceError:
    """Read until the stream ends by itself."""
    try:
        while (answer := await stream.call.read()) is not grpc.aio.EOF:
            seen[answer.id] += 1
    except grpc.aio.AioRpcError as error:
        return grpc_errors.from_call(error)
    raise AssertionError("the stream ended without an error")
