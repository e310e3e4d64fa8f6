"""Who is let past the rules: known by a hash, for a time, and told in the log now and then."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest
from headworks.limiter.v1.limiter_pb2 import PermitRequest
from headworks_core.cells import Meta
from headworks_core.errors import ResourceExhausted
from headworks_limiter import rules
from headworks_limiter.bypass_log import PERIOD_S, BypassLog
from headworks_limiter.domain.decision import Mode
from headworks_limiter.newcomers import Newcomers
from headworks_limiter.requests import RequestReader
from structlog.testing import capture_logs

TOKEN = "correct horse battery staple"
HASH = hashlib.sha256(TOKEN.encode()).hexdigest()
UNTIL = datetime(2026, 1, 31, 6, tzinfo=UTC)
RULES = f"""
namespaces:
  api:
    rules:
      - {{name: user, match: {{user: "*"}}, limit: 1/day}}
    bypass:
      - {{name: acme-outage, tenant: acme-*, until: "2026-01-31T06:00:00Z"}}
      - {{name: on-call, match: {{break-glass: "sha256:{HASH}"}}}}
"""


class Clock:
    now_s = UNTIL.timestamp() - 60

    def __call__(self) -> float:
        return self.now_s


def reader(clock: Clock, newcomers: Newcomers | None = None) -> RequestReader:
    return RequestReader(rules.parse(RULES.encode(), path="r"), Meta(), now_s=clock, newcomers=newcomers)


def name(found: RequestReader, tenant: str = "default", **descriptors: str) -> str | None:
    """The bypass that lets a request through, asked both ways, and again."""
    asked = PermitRequest(namespace="api", descriptors={"user": "ann", **descriptors})
    names = set()
    for _ in range(2):
        for ask in (found.ask(asked, tenant, Mode.TAKE), found.take(asked.SerializeToString(), tenant)[0]):
            assert bool(ask.buckets) == (ask.bypass is None)
            names.add(ask.bypass.name if ask.bypass else None)
    (only,) = names
    return only


def test_who_knows_the_secret_is_let_through_and_nobody_else() -> None:
    found = reader(Clock())
    assert name(found, **{"break-glass": TOKEN}) == "on-call"
    assert name(found, **{"break-glass": TOKEN + "!"}) is None
    assert name(found, **{"break-glass": HASH}) is None
    assert name(found, **{"break-glass": f"sha256:{HASH}"}) is None
    assert name(found) is None


def test_it_ends_to_the_second_also_for_requests_that_are_remembered() -> None:
    clock = Clock()
    found = reader(clock)
    assert name(found, "acme-1") == "acme-outage"
    clock.now_s = UNTIL.timestamp() - 0.001
    assert name(found, "acme-1") == "acme-outage"
    clock.now_s = UNTIL.timestamp()
    assert name(found, "acme-1") is None
    assert name(found, "other") is None


def test_of_two_that_fit_the_one_that_ends_last_counts() -> None:
    clock = Clock()
    found = reader(clock)
    assert name(found, "acme-1", **{"break-glass": TOKEN}) == "on-call"
    clock.now_s = UNTIL.timestamp() + 1
    assert name(found, "acme-1", **{"break-glass": TOKEN}) == "on-call"


def test_operators_see_the_rules_behind_it() -> None:
    asked = PermitRequest(namespace="api", descriptors={"user": "ann", "break-glass": TOKEN})
    found = reader(Clock()).inspect(asked, "default")
    assert [bucket.rule.name for bucket in found.ask.buckets] == ["user"]
    assert found.bypass is not None
    assert found.bypass.name == "on-call"
    assert TOKEN not in found.ask.buckets[0].key


def test_no_cap_on_new_buckets_holds_it_up() -> None:
    found = reader(Clock(), Newcomers(1))
    assert name(found, **{"break-glass": TOKEN, "user": "1"}) == "on-call"
    assert name(found, user="2") is None
    assert name(found, **{"break-glass": TOKEN, "user": "3"}) == "on-call"
    with pytest.raises(ResourceExhausted):
        name(found, user="4")


def test_the_log_tells_at_once_and_then_once_a_minute_how_many() -> None:
    clock = Clock()
    (bypass,) = rules.parse(RULES.encode(), path="r").bypasses["api"][1:]
    log = BypassLog(clock)
    with capture_logs() as lines:
        for _ in range(100):
            log.used(bypass)
        clock.now_s += PERIOD_S - 1
        log.used(bypass)
        clock.now_s += 1
        log.used(bypass)
    assert [(line["bypass"], line["requests"]) for line in lines] == [("on-call", 1), ("on-call", 101)]


@pytest.mark.parametrize(
    ("bypass", "mistake"),
    [
        (
            "{name: x, match: {ip: 1.2.3.4}}",
            "a bypass: 'until' is missing; only one with a secret (sha256:...) may stay",
        ),
        ('{name: x, until: "2026-01-31T06:00:00Z"}', "a bypass: 'tenant' or 'match' is missing: whom is it for?"),
        (
            '{name: x, tenant: a, until: "2026-01-31T06:00:00"}',
            "until: must be a time with its zone, like 2026-01-31T06:00:00Z, not '2026-01-31T06:00:00'",
        ),
        (
            "{name: x, tenant: a, until: soon}",
            "until: must be a time with its zone, like 2026-01-31T06:00:00Z, not 'soon'",
        ),
        ('{name: x, match: {t: "sha256:abc"}}', "match: t: sha256: is followed by 64 hexadecimal digits in lower case"),
        ("{name: X, tenant: a, until: 2026-01-31T06:00:00Z}", "name: must match [a-z0-9_-]{1,64}, not 'X'"),
        ("{tenant: a, until: 2026-01-31T06:00:00Z}", "a bypass: 'name' missing"),
        ("{name: x, token: y}", "a bypass: unknown key 'token'; allowed: match, name, tenant, until"),
    ],
)
def test_one_that_is_not_safe_is_a_mistake(bypass: str, mistake: str) -> None:
    with pytest.raises(rules.RulesError) as caught:
        rules.parse(f"namespaces:\n  api:\n    rules: []\n    bypass:\n      - {bypass}\n".encode(), path="r")
    assert f"r:5: {mistake}" in [str(each) for each in caught.value.mistakes]


def test_names_are_there_once() -> None:
    twice = "[{name: x, tenant: a, until: 2026-01-31T06:00:00Z}, {name: x, tenant: b, until: 2026-01-31T06:00:00Z}]"
    with pytest.raises(rules.RulesError, match="name: 'x' is taken by the bypass in line 1"):
        rules.parse(f"namespaces: {{api: {{rules: [], bypass: {twice}}}}}".encode(), path="r")
