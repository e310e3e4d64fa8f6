"""An hour of what really comes at once, through the example file of each need; the sums are worked out by hand."""

from __future__ import annotations

import pytest

from tests.unit.limiter.test_example_rules import HOUR_S, every, through


def test_need_a_an_api_with_anonymous_signed_in_and_paying_callers() -> None:
    found = through(
        "http-api",
        every(60, HOUR_S, "api", caller="ann", route="POST /api/analysis/queue"),  # 60 come, 5 are allowed
        every(60, HOUR_S, "api", caller="bob", route="POST /api/analysis/queue", tier="signed-in"),  # 60, 10
        every(1, HOUR_S, "api", caller="ann", route="GET /api/wallets/7"),  # 3,600; 60 + 3,599 / 12 = 359
        every(
            0.5, HOUR_S, "api", caller="eve", route="GET /api/x", tier="premium"
        ),  # 7,200; 500 + 3,599.5 / 0.72 = 5,499
        every(300, HOUR_S, "api", caller="dan", route="POST /api/wallets/7/refresh-balance"),  # 12, 12
    )
    assert found.allowed == 5 + 10 + 359 + 5_499 + 12
    assert found.refused_by == {"analyses": 55 + 50, "reads": 3_241 + 1_701}


def test_need_b_projects_of_a_platform_do_not_feel_each_other() -> None:
    crowd = (
        every(2.5, HOUR_S, "platform", ip=f"10.0.0.{n}", user=f"u{n}", project="busy", endpoint=f"GET /{n}")
        for n in range(8)
    )
    found = through(
        "platform",
        # 1,800 an hour is less than the user's 1,000 and the 999 that come back, and less than 100 a minute.
        every(2, HOUR_S, "platform", ip="::1", user="ann", project="calm", endpoint="GET /x"),
        # Of 60 exports the hour's first 3.
        every(60, HOUR_S, "platform", ip="::2", user="bob", project="calm", endpoint="POST /exports"),
        # 8 x 1,440 come, and the project has 5,000 and 3,597.5 s / 0.72 s = 4,996.
        *crowd,
        # No limit of the project's; of the user's 3,600 come, 1,000 + 3,599 s / 3.6 s = 1,999 are allowed.
        every(1, HOUR_S, "platform", ip="::3", user="dan", project="internal-1", endpoint="GET /y"),
    )
    assert found.allowed == 1_800 + 3 + 9_996 + 1_999
    assert found.refused_by == {"exports.1h": 57, "project": 11_520 - 9_996, "user": 3_600 - 1_999}


def test_need_c_a_busy_chat_beside_ten_calm_ones() -> None:
    calm = (every(10, HOUR_S, "chat", chat=f"calm-{n}") for n in range(10))
    found = through("chat", every(1, HOUR_S, "chat", chat="busy"), *calm)
    assert found.allowed == 5 + 899 + 10 * 360  # a burst and 3,599 s / 4 s; one in 10 s is less than one in 4 s
    assert found.refused_by == {"per-chat": 3_600 - 904}
    assert found.longest_wait_us == pytest.approx(10 * 1_000_000 / 30, abs=20)  # eleven at once: a third of a second


def test_need_d_providers_have_budgets_of_their_own() -> None:
    found = through(
        "providers",
        every(0.5, HOUR_S, "providers", provider="alpha"),  # 7,200 come; 100 + 3,599.5 s / 0.6 s = 6,099
        every(10, HOUR_S, "providers", provider="beta"),  # 360 of 1,000
        every(1, HOUR_S, "providers", provider="unheard-of"),  # 3,600, one a second
    )
    assert found.allowed == 6_099 + 360 + 3_600
    assert found.refused_by == {"calls": 7_200 - 6_099}
