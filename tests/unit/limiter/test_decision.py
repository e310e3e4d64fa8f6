"""A request takes from all its buckets or from none."""

from __future__ import annotations

from headworks_limiter.domain.algorithms import Params, take
from headworks_limiter.domain.decision import Answer, Mode, decide, governing
from headworks_limiter.domain.fixed_window import FixedWindow
from headworks_limiter.domain.gcra import Gcra
from headworks_limiter.domain.outcome import RuleOutcome
from headworks_limiter.domain.periods import Period
from hypothesis import given
from hypothesis import strategies as st

SECOND_US = 1_000_000
NOW_US = 1_772_323_200_000_000
GCRA: Params = Gcra(limit=10, period_us=SECOND_US, burst=10)
WINDOW: Params = FixedWindow(4, Period(us=60 * SECOND_US))


def test_mixed_algorithms_are_taken_from_together() -> None:
    answer, outcomes, states, *_ = decide([(None, GCRA), (None, WINDOW)], 3, Mode.TAKE, NOW_US)
    assert answer is Answer.ALLOWED
    assert [outcome.remaining for outcome in outcomes] == [7, 1]
    assert states == [f"{NOW_US}:300000:100000", f"{NOW_US + 60 * SECOND_US}:3"]


def test_one_refusal_leaves_every_bucket_as_it_was() -> None:
    _, _, states, *_ = decide([(None, GCRA), (None, WINDOW)], 3, Mode.TAKE, NOW_US)
    answer, outcomes, after, *_ = decide([(states[0], GCRA), (states[1], WINDOW)], 2, Mode.TAKE, NOW_US)
    assert answer is Answer.REFUSED
    assert after == states
    assert outcomes == [(True, 7, 300_000, 0), (False, 1, 60 * SECOND_US, 60 * SECOND_US)]


def test_a_rule_on_trial_refuses_nothing_and_is_taken_from_only_where_it_allows_it() -> None:
    _, _, states, *_ = decide([(None, GCRA), (None, WINDOW)], 3, Mode.TAKE, NOW_US)
    known = [(states[0], GCRA), (states[1], WINDOW)]
    answer, outcomes, after, *_ = decide(known, 2, Mode.TAKE, NOW_US, shadows=[1])
    assert answer is Answer.ALLOWED
    assert [outcome.allowed for outcome in outcomes] == [True, False]
    assert after == [f"{NOW_US}:500000:100000", states[1]]
    answer, outcomes, after, *_ = decide([(states[1], WINDOW), (states[0], GCRA)], 2, Mode.TAKE, NOW_US, shadows=[1])
    assert (answer, after) == (Answer.REFUSED, [states[1], states[0]])


def test_a_look_says_whether_permits_would_be_given_and_what_is_there_now() -> None:
    answer, outcomes, after, *_ = decide([(None, GCRA)], 3, Mode.LOOK, NOW_US)
    assert (answer, outcomes, after) == (Answer.ALLOWED, [(True, 10, 0, 0)], [None])


def outcome(*, remaining: int = 0, retry_after_us: int = 0) -> RuleOutcome:
    return RuleOutcome(retry_after_us == 0, remaining, 0, retry_after_us)


def test_the_longest_wait_governs_and_without_one_the_fewest_permits() -> None:
    assert governing([outcome(remaining=5), outcome(remaining=2), outcome(remaining=2)]) == 1
    assert governing([outcome(retry_after_us=1), outcome(retry_after_us=9), outcome(remaining=0)]) == 1


params = st.one_of(
    st.builds(Gcra, limit=st.integers(1, 9), period_us=st.just(SECOND_US), burst=st.integers(3, 9)),
    st.builds(FixedWindow, limit=st.integers(3, 9), period=st.just(Period(us=SECOND_US)), first_hit=st.booleans()),
)


@given(st.lists(params, min_size=1, max_size=4), st.lists(st.tuples(st.integers(0, SECOND_US), st.integers(1, 3))))
def test_waiting_for_the_governing_rule_is_exactly_enough(rules: list[Params], walk: list[tuple[int, int]]) -> None:
    states: list[str | None] = [None] * len(rules)
    now_us = NOW_US
    for passed_us, permits in walk:
        now_us += passed_us
        answer, outcomes, after, *_ = decide(list(zip(states, rules, strict=True)), permits, Mode.TAKE, now_us)
        if answer is Answer.REFUSED:
            assert list(after) == states
            wait_us = outcomes[governing(outcomes)].retry_after_us
            later = [take(state, permits, rule, now_us + wait_us)[0] for state, rule in zip(states, rules, strict=True)]
            sooner = [
                take(state, permits, rule, now_us + wait_us - 1)[0] for state, rule in zip(states, rules, strict=True)
            ]
            assert all(each.allowed for each in later)
            assert not all(each.allowed for each in sooner)
        states = list(after)
