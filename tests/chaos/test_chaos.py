"""The short run of every build: two epochs, a fixed seed. The long one is `make chaos`."""

from __future__ import annotations

import logging
import os

import pytest
from headworks_devkit.backends import BackendUnavailable
from headworks_devkit.backends.kafka_apache import find_installation

from tests.chaos.report import summary
from tests.chaos.run import Plan, running

SEED = 20
EPOCHS = 2
FAULTS_S = 35.0


@pytest.mark.kafka
@pytest.mark.timeout(240)
async def test_nothing_is_lost_whatever_is_done_to_the_system(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        find_installation()
    except BackendUnavailable as error:
        if os.environ.get("HEADWORKS_REQUIRE_KAFKA") == "1":
            raise
        pytest.skip(f"needs Apache Kafka: {error}")
    monkeypatch.setattr(logging.getLogger("aiokafka"), "disabled", True)  # it reports every attempt that fails
    plan = Plan(SEED, EPOCHS, FAULTS_S, rate=80)
    async with running(plan, print) as run:
        for number in range(1, EPOCHS + 1):
            await run.epoch(number)
        table = summary(plan, run.totals, 0)
    with capsys.disabled():
        print(f"\n{table}")

    assert not run.totals.findings, table
    assert run.totals.ordered > 50  # the rule of order had something to judge
    assert run.totals.grants > 200
    assert run.totals.lost_leases > 0
