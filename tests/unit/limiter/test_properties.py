"""What every algorithm keeps, whatever is asked of it and when. The scripts do the same (test_conformance.py)."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

from headworks_limiter.domain import holds
from headworks_limiter.domain.adaptive import LEARN, Adaptive
from headworks_limiter.domain.algorithms import Params, release, renew, report, settle, take
from headworks_limiter.domain.circuit_breaker import CircuitBreaker
from headworks_limiter.domain.concurrency import Concurrency
from headworks_limiter.domain.decision import Answer, Mode, Terms, decide
from headworks_limiter.domain.fixed_window import FixedWindow
from headworks_limiter.domain.gcra import Gcra
from headworks_limiter.domain.leaky_bucket import LeakyBucket
from headworks_limiter.domain.periods import Period
from headworks_limiter.domain.sliding_window_counter import SlidingWindowCounter
from headworks_limiter.domain.sliding_window_log import SlidingWindowLog
from headworks_limiter.domain.token_bucket import TokenBucket
from headworks_limiter.domain.upstream import Kind
from hypothesis import assume, given
from hypothesis import strategies as st

SECOND_US = 1_000_000
NOW_US = 1_772_323_199_000_000

small = st.integers(1, 12)
gcras = st.builds(Gcra, limit=small, period_us=st.sampled_from([SECOND_US, 7 * SECOND_US]), burst=small)
tokens = st.builds(TokenBucket, small, st.sampled_from([SECOND_US, 7 * SECOND_US]), small)
windows = st.builds(
    FixedWindow, small, st.sampled_from([Period(us=SECOND_US), Period(us=7 * SECOND_US)]), st.booleans()
)
logs = st.builds(SlidingWindowLog, small, st.sampled_from([SECOND_US, 7 * SECOND_US]))
counters = st.builds(SlidingWindowCounter, small, st.sampled_from([SECOND_US, 7 * SECOND_US]))
slots = st.builds(Concurrency, small, st.sampled_from([SECOND_US, 3 * SECOND_US]))
ttls = st.sampled_from([SECOND_US, 3 * SECOND_US])
adaptives = st.builds(Adaptive, st.integers(1, 3), st.integers(3, 12), ttls, st.sampled_from([0, LEARN]))
breakers = st.builds(CircuitBreaker, st.just(50), small, st.just(SECOND_US), st.just(SECOND_US), st.integers(1, 3))
rates = st.one_of(gcras, tokens, windows, logs, counters)
every = st.one_of(rates, slots, adaptives, breakers)


class Step(NamedTuple):
    """Time passes (it may step back), and permits are asked for; then perhaps the grant is settled, or ended."""

    after_us: int
    permits: int
    cost: int | None
    """What it turns out to have cost, of the permits; None: all of them."""


forward = st.integers(0, 3 * SECOND_US)
steps = st.lists(st.builds(Step, forward, small, st.none() | st.integers(0, 12)), max_size=40)
restless = st.lists(st.builds(Step, st.integers(-SECOND_US, 3 * SECOND_US), small, st.none()), max_size=40)


class Grant(NamedTuple):
    """Permits that were granted at a time, less what was given back."""

    at_us: int
    permits: int


def walked(params: Params, todo: list[Step]) -> list[tuple[str | None, int]]:
    """The states and times that such steps lead to."""
    state, now_us, seen = None, NOW_US, []
    for number, step in enumerate(todo):
        now_us += step.after_us
        state = take(state, min(step.permits, params.capacity), params, now_us, f"holder-{number}")[1]
        seen.append((state, now_us))
    return [(None, NOW_US), *seen]


def granted(params: Params, todo: list[Step]) -> list[Grant]:
    """Grants, each settled at once at what it has cost in the end."""
    state, now_us, grants = None, NOW_US, []
    for number, step in enumerate(todo):
        now_us += step.after_us
        permits, holder = min(step.permits, params.capacity), f"holder-{number}"
        outcome, after = take(state, permits, params, now_us, holder)
        if not outcome.allowed:
            assert after == state  # what is refused changes nothing
            continue
        state, net = after, permits
        if step.cost is not None and step.cost < permits:
            net = 0 if isinstance(params, Concurrency) else step.cost
            state = release(settle(state, step.cost - permits, params, now_us, now_us), params, now_us, holder)
        grants.append(Grant(now_us, net))
    return grants


def most_in(grants: list[Grant], length_us: int) -> int:
    """The most net permits in any stretch of time that is so long, its end not included."""
    return max(
        (
            sum(grant.permits for grant in grants if first.at_us <= grant.at_us < first.at_us + length_us)
            for first in grants
        ),
        default=0,
    )


@given(logs, steps)
def test_no_period_of_a_log_has_more_than_the_limit_net(params: SlidingWindowLog, todo: list[Step]) -> None:
    assert most_in(granted(params, todo), params.period_us) <= params.limit


@given(windows, steps)
def test_no_window_has_more_than_the_limit_net(params: FixedWindow, todo: list[Step]) -> None:
    grants, length_us = granted(params, todo), params.period.us
    begun: dict[int, int] = {}
    end_us = 0
    for grant in grants:
        if params.first_hit:
            end_us = grant.at_us + length_us if grant.at_us >= end_us and grant.permits else end_us
            window = end_us
        else:
            window = (grant.at_us - params.period.origin_us) // length_us
        begun[window] = begun.get(window, 0) + grant.permits
    if not params.first_hit:
        assert max(begun.values(), default=0) <= params.limit
    assert most_in(grants, length_us) <= 2 * params.limit


@given(st.one_of(gcras, tokens), steps, st.integers(1, 20 * SECOND_US))
def test_no_stretch_has_more_than_the_burst_and_what_comes_back_net(
    params: Gcra | TokenBucket, todo: list[Step], length_us: int
) -> None:
    back = params.limit * length_us / params.period_us
    assert most_in(granted(params, todo), length_us) <= params.capacity + back


@given(slots, steps)
def test_no_more_is_held_than_there_is(params: Concurrency, todo: list[Step]) -> None:
    grants = [(grant.at_us, grant.at_us + params.ttl_us, grant.permits) for grant in granted(params, todo)]
    for at_us, _, _ in grants:
        assert sum(permits for begins, ends, permits in grants if begins <= at_us < ends) <= params.limit


@given(every, restless, small)
def test_what_is_left_is_between_nothing_and_the_limit(params: Params, todo: list[Step], permits: int) -> None:
    for state, now_us in walked(params, todo):
        for asked in (0, min(permits, params.capacity)):
            outcome, after = take(state, asked, params, now_us, "x")
            assert 0 <= outcome.remaining <= params.capacity
            assert outcome.retry_after_us >= 0
            assert outcome.reset_after_us >= 0
            if not (outcome.allowed and asked):
                assert after == state


@given(st.one_of(rates, slots), restless, small)
def test_who_waits_as_told_is_let_in_and_who_comes_a_microsecond_early_is_not(
    params: Params, todo: list[Step], permits: int
) -> None:
    asked = min(permits, params.capacity)
    for state, now_us in walked(params, todo):
        outcome, _ = take(state, asked, params, now_us, "x")
        assert outcome.allowed == (outcome.retry_after_us == 0)
        if not outcome.allowed:
            then_us = now_us + outcome.retry_after_us
            assert take(state, asked, params, then_us, "x")[0].allowed
            assert not take(state, asked, params, then_us - 1, "x")[0].allowed


@given(st.one_of(rates, slots), restless, small, st.integers(1, 10 * SECOND_US))
def test_time_that_steps_back_grants_nothing(params: Params, todo: list[Step], permits: int, back_us: int) -> None:
    asked = min(permits, params.capacity)
    for state, now_us in walked(params, todo):
        if not take(state, asked, params, now_us, "x")[0].allowed:
            assert not take(state, asked, params, now_us - back_us, "x")[0].allowed


@given(every, restless, st.data())
def test_another_limit_holds_at_once_and_the_old_one_again_when_it_is_put_back(
    params: Params, todo: list[Step], data: st.DataObject
) -> None:
    kinds: dict[type[Any], st.SearchStrategy[Params]] = {
        Gcra: gcras,
        TokenBucket: tokens,
        Concurrency: slots,
        Adaptive: adaptives,
        CircuitBreaker: breakers,
    }
    windowed = small.map(lambda limit: replace(params, limit=limit))  # type: ignore[arg-type]
    other: Params = data.draw(kinds.get(type(params), windowed))
    for state, now_us in walked(params, todo):
        outcome, after = take(state, 0, other, now_us)
        assert after == state
        assert outcome.remaining <= other.capacity
        if outcome.remaining < other.capacity:
            assert not take(state, outcome.remaining + 1, other, now_us, "x")[0].allowed
    # A window or a log knows what was taken, so only what is left of the new limit is given.
    if isinstance(params, FixedWindow | SlidingWindowLog | Concurrency) and isinstance(other, type(params)):
        state, now_us = walked(params, todo)[-1]
        taken = params.capacity - take(state, 0, params, now_us)[0].remaining
        left = take(state, 0, other, now_us)[0].remaining
        assert left == max(0, other.capacity - taken)


@given(st.one_of(slots, adaptives), st.lists(st.tuples(st.sampled_from("abc"), forward, st.sampled_from("thn"))))
def test_nobody_ends_or_keeps_what_another_holds(
    params: Concurrency | Adaptive, todo: list[tuple[str, int, str]]
) -> None:
    """t: take, h: hand back, n: renew; by three holders whose holds end by themselves too."""
    state, now_us = None, NOW_US
    known: dict[str, int] = {}
    for who, after_us, what in todo:
        now_us += after_us
        known = {name: until for name, until in known.items() if until > now_us}
        if what == "t" and who not in known:
            outcome, state = take(state, 1, params, now_us, who)
            assert outcome.allowed == (len(known) < params.capacity)
            if outcome.allowed:
                known[who] = now_us + params.ttl_us
        elif what == "h":
            state = release(state, params, now_us, who)
            known.pop(who, None)
        elif what == "n":
            renewed = renew(state, params, now_us, who)
            assert (renewed is not None) == (who in known)
            if renewed is not None:
                state, known[who] = renewed, now_us + params.ttl_us
        text = (state or "").rpartition("/")[2]
        assert {hold.holder: hold.until for hold in holds.read(text, now_us)} == known


@given(st.lists(every, min_size=1, max_size=4), restless, small)
def test_all_or_nothing_and_the_most_that_fits(rules: list[Params], todo: list[Step], permits: int) -> None:
    states: list[str | None] = [None] * len(rules)
    now_us = NOW_US
    most = min(params.capacity for params in rules)
    for number, step in enumerate(todo):
        now_us += step.after_us
        asked = min(step.permits, most)
        buckets = list(zip(states, rules, strict=True))
        what = decide(buckets, asked, Mode.TAKE, now_us, terms=Terms(holder=f"h{number}"))
        alone = [take(state, asked, params, now_us, f"h{number}") for state, params in buckets]
        assert (what.answer is Answer.ALLOWED) == all(outcome.allowed for outcome, _ in alone)
        if what.answer is Answer.REFUSED:
            assert list(what.states) == states
            fewer = decide(buckets, asked, Mode.TAKE, now_us, terms=Terms(partial=True, holder=f"h{number}"))
            left = min(take(state, 0, params, now_us)[0].remaining for state, params in buckets)
            assert fewer.permits == min(left, asked)
            assert (fewer.answer is Answer.ALLOWED) == (left > 0)
            states = list(fewer.states)
        else:
            assert list(what.states) == [state for _, state in alone]
            states = list(what.states)


@given(st.lists(gcras, min_size=1, max_size=3), steps, st.integers(0, 5 * SECOND_US))
def test_who_waits_begins_in_time_when_all_rules_allow_it(rules: list[Params], todo: list[Step], wait_us: int) -> None:
    states: list[str | None] = [None] * len(rules)
    now_us, starts = NOW_US, []
    most = min(params.capacity for params in rules)
    for step in todo:
        now_us += step.after_us
        buckets = list(zip(states, rules, strict=True))
        what = decide(buckets, min(step.permits, most), Mode.TAKE, now_us, terms=Terms(wait_us=wait_us))
        if what.answer is Answer.ALLOWED:
            assert 0 <= what.wait_us <= wait_us
            starts.append(Grant(now_us + what.wait_us, what.permits))
            states = list(what.states)
        else:
            assert list(what.states) == states
    for params in rules:
        assert isinstance(params, Gcra)
        for length_us in (SECOND_US, 7 * SECOND_US):
            back = params.limit * length_us / params.period_us
            assert most_in(sorted(starts), length_us) <= params.capacity + back


@given(st.builds(LeakyBucket, small, st.just(SECOND_US), small), steps)
def test_a_queue_lets_out_one_by_one_in_turn(params: LeakyBucket, todo: list[Step]) -> None:
    assume(params.exact)
    state, now_us, starts = None, NOW_US, []
    for step in todo:
        now_us += step.after_us
        what = decide([(state, params)], min(step.permits, params.capacity), Mode.TAKE, now_us)
        state = what.states[0]
        if what.answer is Answer.ALLOWED:
            starts.append(Grant(now_us + what.wait_us, what.permits))
    assert starts == sorted(starts, key=lambda grant: grant.at_us)
    for one, other in pairwise(starts):
        assert other.at_us - one.at_us >= one.permits * SECOND_US // params.limit - 1


def test_a_breaker_opens_tries_and_closes_by_itself() -> None:

    params = CircuitBreaker(failures=50, calls=4, window_us=SECOND_US, open_us=SECOND_US, probes=2)
    state = None
    for kind in (Kind.OK, Kind.OK, Kind.FAILURE, Kind.OVERLOAD, Kind.FAILURE):  # to be asked later is no failure
        assert take(state, 1, params, NOW_US)[0].allowed
        state = report(state, params, NOW_US, kind=kind)
    outcome, _ = take(state, 1, params, NOW_US)
    assert (outcome.allowed, outcome.retry_after_us) == (False, SECOND_US)
    then = NOW_US + SECOND_US
    for _ in range(2):
        outcome, state = take(state, 1, params, then)
        assert outcome.allowed
    assert not take(state, 1, params, then)[0].allowed
    state = report(state, params, then, kind=Kind.OK)
    state = report(state, params, then, kind=Kind.OK)
    assert (state, take(state, 1, params, then)[0].allowed) == (None, True)


def test_an_adaptive_limit_falls_with_trouble_and_rises_with_use() -> None:

    params = Adaptive(least=2, most=10, ttl_us=SECOND_US, latency_us=500_000)

    def limit(state: str | None) -> int:
        return take(state, 0, params, NOW_US)[0].remaining

    state = None
    for kind, latency_us in ((Kind.FAILURE, 1), (Kind.OVERLOAD, 1), (Kind.OK, 500_001)):
        before = limit(state)
        state = report(state, params, NOW_US, kind=kind, latency_us=latency_us)
        assert limit(state) < before
    for _ in range(50):
        state = report(state, params, NOW_US, kind=Kind.FAILURE)
    assert limit(state) == 2
    for _ in range(50):
        state = report(state, params, NOW_US, kind=Kind.OK)
    assert limit(state) == 2  # nobody uses what there is
    for number in range(60):
        _, state = take(state, 1, params, NOW_US, f"h{number}")
        state = report(state, params, NOW_US, kind=Kind.OK)
    assert sum(hold.permits for hold in holds.read((state or "").rpartition("/")[2], NOW_US)) > 5


def test_a_limit_that_learns_follows_latency_down_and_up_again() -> None:
    params = Adaptive(least=2, most=200, ttl_us=60 * SECOND_US, latency_us=LEARN)

    def limit(state: str | None) -> int:
        return int((state or "200000").partition("~")[0]) // 1_000

    def held(state: str | None) -> int:
        return holds.held(holds.read((state or "").rpartition("/")[2], NOW_US))

    def answers(state: str | None, latency_us: int, times: int) -> str | None:
        for number in range(times):
            if held(state) < limit(state):  # as many callers as may
                state = take(state, 1, params, NOW_US, f"{times}-{number}")[1]
            state = report(state, params, NOW_US, kind=Kind.OK, latency_us=latency_us)
        return state

    usual = answers(None, 10_000, 500)
    assert limit(usual) == 200  # nothing speaks against it
    slower = answers(usual, 14_000, 400)
    assert limit(slower) == 200  # within what is usual
    overloaded = answers(slower, 80_000, 400)
    assert 120 < limit(overloaded) < 180
    known = answers(overloaded, 80_000, 2_000)  # by now this is usual
    again = answers(known, 80_000, 2_000)
    assert limit(again) > limit(known)
    quicker = answers(again, 5_000, 100)
    assert limit(answers(quicker, 20_000, 200)) < limit(quicker)  # what was slow is soon forgotten


def test_who_uses_little_learns_what_is_usual_and_keeps_the_limit() -> None:
    params = Adaptive(least=2, most=200, ttl_us=60 * SECOND_US, latency_us=LEARN)
    state = "50000~10000000/"
    for _ in range(100):
        state = report(state, params, NOW_US, kind=Kind.OK, latency_us=500_000) or ""
    assert state.startswith("50000~")
    assert int(state.partition("~")[2].partition("/")[0]) > 90_000_000
