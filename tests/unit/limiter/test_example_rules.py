"""An hour of traffic through each example file gives the numbers that a person works out by hand."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from pathlib import Path

from headworks.limiter.v1.limiter_pb2 import PermitRequest
from headworks_core.cells import Meta
from headworks_devkit.simulation.arrivals import SECOND_US, Arrival, constant
from headworks_devkit.simulation.replay import Replay, Upstream, replay
from headworks_limiter import rules
from headworks_limiter.domain.decision import Mode
from headworks_limiter.requests import RequestReader

FOLDER = Path(__file__).parents[3] / "examples" / "rules"
MIDNIGHT_US = 1_767_571_200 * SECOND_US  # 2026-01-05, a Monday
HOUR_S = 3_600


def every(seconds: float, length_s: float, namespace: str, **descriptors: str) -> Iterator[Arrival]:
    """The same request again and again from midnight on."""
    one = Arrival(MIDNIGHT_US, "default", namespace, descriptors)
    return constant(one, every_us=seconds * SECOND_US, until_us=MIDNIGHT_US + round(length_s * SECOND_US))


def of_tenant(tenant: str, arrivals: Iterator[Arrival]) -> Iterator[Arrival]:
    """The same, made by this tenant."""
    return (arrival._replace(tenant=tenant) for arrival in arrivals)


def through(name: str, *traffic: Iterator[Arrival], max_wait_s: int = 0, upstream: Upstream | None = None) -> Replay:
    """All of it, in the order of time, and of the arguments where that is the same."""
    found = replay(
        rules.load(FOLDER / f"{name}.yaml"),
        heapq.merge(*traffic, key=lambda arrival: arrival.at_us),
        max_wait_us=max_wait_s * SECOND_US,
        upstream=upstream,
    )
    assert not found.errors
    return found


def test_http_api_five_analyses_in_any_hour_and_more_for_those_who_pay() -> None:
    post = {"caller": "ann", "route": "POST /api/analysis/queue"}
    assert through("http-api", every(60, HOUR_S, "api", **post)).allowed == 5  # one a minute: those of 0:00 to 0:04
    assert through("http-api", every(60, 2 * HOUR_S, "api", **post)).allowed == 10  # and of 1:00 to 1:04
    assert through("http-api", every(60, HOUR_S, "api", **post, tier="signed-in")).allowed == 10
    assert through("http-api", every(60, HOUR_S, "api", **post, tier="premium")).allowed == 50


def test_http_api_reads_come_back_one_every_twelve_seconds() -> None:
    get = {"caller": "ann", "route": "GET /api/wallets/7"}
    found = through("http-api", every(1, HOUR_S, "api", **get))
    assert found.allowed == 60 + 299  # the burst, and 3,599 s / 12 s
    premium = through("http-api", every(0.5, HOUR_S, "api", **get, tier="premium"))
    assert premium.allowed == 500 + 4_999  # the burst, and 3,599.5 s / 0.72 s


def test_http_api_refreshes_of_all_wallets_share_a_bucket() -> None:
    def refresh(wallet: int) -> Iterator[Arrival]:
        return every(20, HOUR_S, "api", caller="ann", route=f"POST /api/wallets/{wallet}/refresh-balance")

    found = through("http-api", refresh(1), refresh(2))
    # 2 in the first minute, then one a minute as long as the minute before counts, until 30 of the hour are used.
    assert found.allowed == 30
    assert found.refused_by["refreshes.1h"] > 0


def test_shared_is_a_budget_of_all_tenants_of_which_none_has_more_than_its_share() -> None:
    def calls(tenant: str) -> Iterator[Arrival]:
        return of_tenant(tenant, every(0.1, 60, "shared", provider="alpha"))

    assert through("shared", calls("a")).allowed == 8 + 479  # its share: 8, and 59.9 s x 8
    assert through("shared", calls("a"), calls("b")).allowed == 2 * (8 + 479)  # 16 a second: both have theirs
    four = through("shared", *map(calls, "abcd"))
    assert four.allowed == 20 + 1_198  # 40 a second are asked for: the budget, 20, and 59.9 s x 20
    assert four.refused_by["budget"] > 0
    others = through("shared", calls("a"), of_tenant("b", every(0.1, 60, "shared", provider="beta")))
    assert others.allowed == 2 * (8 + 479)  # another provider has a budget of its own


def test_platform_takes_from_address_user_project_and_endpoint_together() -> None:
    found = through("platform", every(0.5, HOUR_S, "platform", ip="::1", user="ann", project="p", endpoint="GET /x"))
    assert found.allowed == 1_000 + 999  # the user's limit is the tightest: 1,000, and 3,599.5 s / 3.6 s
    assert found.refused_by.keys() == {"ip", "user"}
    crowd = (
        every(2, HOUR_S, "platform", ip=f"10.0.0.{n}", user=f"u{n}", project="p", endpoint=f"GET /{n}")
        for n in range(10)
    )
    assert through("platform", *crowd).allowed == 5_000 + 4_997  # ten users in one project: 5,000, and 3,598 s / 0.72 s


def test_platform_is_held_against_address_user_project_and_endpoint_in_this_order() -> None:
    reader = RequestReader(rules.load(FOLDER / "platform.yaml"), Meta())
    descriptors = {"endpoint": "POST /exports", "project": "p", "user": "ann", "ip": "::1"}
    asked = PermitRequest(namespace="platform", descriptors=descriptors)
    met = [bucket.rule.name for bucket in reader.ask(asked, "default", Mode.TAKE).buckets]
    assert met == ["ip", "user", "project", "endpoint", "exports.1h", "exports.1d"]


def test_platform_internal_projects_have_no_limit_of_their_own() -> None:
    crowd = (
        every(2, HOUR_S, "platform", ip=f"10.0.0.{n}", user=f"u{n}", project="internal-1", endpoint=f"GET /{n}")
        for n in range(10)
    )
    found = through("platform", *crowd)
    assert (found.allowed, found.refused) == (10 * 1_800, 0)  # 1,800 an hour is less than 1,000 and what comes back


def test_platform_three_exports_an_hour_and_twenty_a_day() -> None:
    export = {"project": "p", "endpoint": "POST /exports"}
    assert through("platform", every(60, HOUR_S, "platform", **export)).allowed == 3
    found = through("platform", every(60, 24 * HOUR_S, "platform", **export))
    assert found.allowed == 20  # 3 in each of six hours, 2 in the seventh
    assert found.times[6 * 60 + 1][1]
    assert not any(allowed for _, allowed in found.times[6 * 60 + 2 :])


def test_chat_five_at_once_and_never_more_than_twenty_a_minute_for_each() -> None:
    found = through("chat", every(1, HOUR_S, "chat", chat="a"))
    assert found.allowed == 5 + 899  # the burst, and 3,599 s / 4 s
    assert found.refused_by == {"per-chat": 3_600 - 904}
    times = [at_us for at_us, allowed in found.times if allowed]
    assert max(sum(at_us <= other < at_us + 60 * SECOND_US for other in times) for at_us in times) <= 20


def test_chat_who_waits_gets_its_turn() -> None:
    found = through("chat", every(2, 60, "chat", chat="a"), max_wait_s=600)
    # The nth may go at 4 (n - 5) s and comes at 2 (n - 1) s: from the 10th on they wait, and the 30th, which comes at
    # 58 s, goes at 100 s.
    assert (found.allowed, found.refused) == (30, 0)
    assert found.times[-1][0] == MIDNIGHT_US + 100 * SECOND_US
    assert (found.waited, found.longest_wait_us) == (21, 42 * SECOND_US)


def test_chat_thirty_a_second_in_all_and_a_slow_chat_holds_up_nobody() -> None:
    slow = every(0.1, 2, "chat", chat="slow")
    chats = (every(1, 20, "chat", chat=f"{n:02}") for n in range(8))
    found = through("chat", slow, *chats, max_wait_s=300)
    # 180 messages, fewer than the 200 that a bucket promises. Five of each chat wait for nothing but their turn in all.
    assert (found.allowed, found.refused) == (20 + 160, 0)
    assert sum(at_us < MIDNIGHT_US + 5 * SECOND_US for at_us in [at_us for at_us, _ in found.times]) >= 5 * 9
    times = [at_us for at_us, _ in found.times]
    assert min(later - at_us for at_us, later in itertools.pairwise(times)) >= SECOND_US // 30
    assert times[-1] - MIDNIGHT_US < 62 * SECOND_US  # the 20th of a chat: (20 - 5) x 4 s, and a turn in all


def test_metered_requests_cost_what_they_cause_by_tier() -> None:
    def allowed(route: str, seconds: float, **tier: str) -> int:
        return through("metered", every(seconds, HOUR_S, "metered", caller="ann", route=route, **tier)).allowed

    assert allowed("POST /api/analysis/queue", 60) == 6  # 300 / 50
    assert allowed("POST /api/analysis/queue", 60, tier="signed-in") == 20  # 1,000 / 50
    assert allowed("POST /api/analysis/queue", 10, tier="premium") == 200  # 10,000 / 50
    assert allowed("GET /api/export/2026", 60) == 15  # 300 / 20
    assert allowed("POST /api/notes", 30) == 60  # 300 / 5
    assert allowed("GET /api/notes", 10) == 300


def test_metered_requests_share_a_budget() -> None:
    found = through(
        "metered",
        every(600, HOUR_S, "metered", caller="ann", route="POST /api/analysis/queue"),
        every(60, HOUR_S, "metered", caller="ann", route="GET /api/notes"),
    )
    # The analyses at 0:00 to 0:40 take 250, the notes at 0:00 to 0:49 the other 50; then there is nothing for anyone.
    assert (found.allowed, found.refused, found.permits) == (5 + 50, 1 + 10, 300)


def test_metered_lets_those_on_call_through() -> None:
    post = {"caller": "ann", "route": "POST /api/analysis/queue"}
    found = through("metered", every(60, HOUR_S, "metered", **post, **{"break-glass": "an example, not a secret"}))
    assert (found.allowed, found.let_through, found.buckets) == (60, 60, 0)
    found = through("metered", every(60, HOUR_S, "metered", **post, **{"break-glass": "a guess"}))
    assert (found.allowed, found.let_through) == (6, 0)


def test_providers_have_limits_of_their_own() -> None:
    def calls(provider: str) -> int:
        return through("providers", every(0.1, HOUR_S, "providers", provider=provider)).allowed

    assert calls("alpha") == 100 + 5_999  # the burst, and 3,599.9 s / 0.6 s
    assert calls("beta") == 50 + 999  # 3,599.9 s / 3.6 s
    assert calls("gamma") == 20 + 11_999  # 3,599.9 s / 0.3 s
    assert calls("unknown") == 10 + 3_599


def test_providers_that_fail_are_left_alone_but_for_trials() -> None:
    minute_us = 60 * SECOND_US
    outage = Upstream(outage=(MIDNIGHT_US + 10 * minute_us, MIDNIGHT_US + 20 * minute_us))
    found = through("providers", every(1, HOUR_S, "providers", provider="unknown"), upstream=outage)
    # The 20 answers of 10:00 to 10:19 fail, and it opens for 30 s. One trial each at 10:49, 11:19, ... 19:49 fails as
    # well (19 of them); those of 20:19, 20:20 and 20:21 are good. In between are 599 seconds less 19 trials.
    assert (found.allowed, found.refused) == (3_600 - 580, 580)
    assert found.refused_by == {"health": 580}
    refused = [(at_us - MIDNIGHT_US) // SECOND_US for at_us, allowed in found.times if not allowed]
    assert (refused[0], refused[-1]) == (10 * 60 + 20, 20 * 60 + 18)


def test_providers_take_twenty_jobs_at_a_time_and_fewer_while_they_fail() -> None:
    def jobs(hold_s: int, upstream: Upstream) -> Replay:
        one = every(1, 600, "providers", provider="alpha", pool="jobs")
        return through("providers", one, upstream=upstream._replace(hold_us=hold_s * SECOND_US))

    assert jobs(9, Upstream()).refused == 0  # nine at a time
    slow = jobs(60, Upstream())
    # 20 begin at 0:00 to 0:19 and end at 1:00 to 1:19. Each took longer than 10 s and so lowers the limit by a tenth:
    # from then on fewer than 20 begin in a minute.
    assert 20 < slow.allowed < 200
    assert [allowed for _, allowed in slow.times[:60]] == [True] * 20 + [False] * 40
    assert slow.refused_by.keys() == {"jobs"}


def test_defaults() -> None:
    assert through("defaults", every(0.1, HOUR_S, "default", user="ann")).allowed == 1_000 + 999
    assert through("defaults", every(0.1, HOUR_S, "default", project="p")).allowed == 5_000 + 4_999
    assert through("defaults", every(0.1, 60, "default", ip="::1")).allowed == 100 + 99
    assert through("defaults", every(0.1, HOUR_S, "default", anonymous="yes")).allowed == 300 + 299
