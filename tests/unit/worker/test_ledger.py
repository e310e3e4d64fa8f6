"""The rules of the session protocol, without a session."""

from __future__ import annotations

import pytest
from headworks.scheduler.v1 import job_pb2
from headworks.worker.v1 import session_pb2 as pb
from headworks_worker.ledger import BATCH_BYTES, BATCH_MAX, BEAT_SHARE, SOON_S, Ended, Ledger

from tests.unit.worker.ledgers import INTERVAL_S, LEASE_S, attached, jobs, ready, refs, success


def listed(request: pb.SessionRequest | None) -> list[str]:
    """The jobs of a heartbeat."""
    assert request is not None
    assert request.WhichOneof("message") == "heartbeat"
    return [lease.job for lease in request.heartbeat.held]


def sent(ledger: Ledger, now: float = 0.0) -> pb.Results:
    """The batch of results that goes out next."""
    request = ledger.next(now)
    assert request is not None
    assert request.WhichOneof("message") == "results"
    return request.results


def test_nothing_is_sent_before_the_scheduler_has_answered() -> None:
    ledger = Ledger(10)
    ledger.attach()

    assert ledger.next(1000.0) is None


def test_credit_is_announced_once() -> None:
    assert ready().next(0.0) is None


def test_a_slot_is_announced_again_with_the_result_of_its_job() -> None:
    ledger = ready(slots=3)
    ledger.assigned(jobs("a", "b"), 0.0)
    ledger.ended([success("a")])

    results = sent(ledger)

    assert [result.job for result in results.results] == ["a"]
    assert results.credit == 1


def test_a_handler_that_was_reported_without_having_ended_keeps_its_slot() -> None:
    ledger = ready(slots=1)
    ledger.assigned(jobs("a"), 0.0)
    ledger.ended([success("a")._replace(frees=False)])
    assert sent(ledger).credit == 0
    assert ledger.next(0.0) is None

    ledger.freed()

    request = ledger.next(0.0)
    assert request is not None
    assert request.credit.slots == 1


def test_a_batch_ends_at_its_bounds() -> None:
    ledger = ready(slots=2000)
    names = [str(n) for n in range(BATCH_MAX + 1)]
    ledger.assigned(jobs(*names), 0.0)
    ledger.ended([success(name) for name in names])

    assert [len(sent(ledger).results) for _ in range(2)] == [BATCH_MAX, 1]

    ledger.assigned(jobs("x", "y", "z"), 0.0)
    ledger.ended([success(name, size=BATCH_BYTES // 2 + 1) for name in "xyz"])
    assert [len(sent(ledger).results) for _ in range(2)] == [2, 1]


def test_results_wait_again_in_their_order_for_the_next_session() -> None:
    ledger = ready(slots=5)
    ledger.assigned(jobs("a", "b", "c"), 0.0)
    for name in "abc":
        ledger.ended([success(name)])
        if name != "c":
            sent(ledger)

    held = ledger.attach()
    ledger.attached(attached(), 0.0)
    again = sent(ledger)

    assert [lease.job for lease in held] == ["a", "b", "c"]
    assert [result.job for result in again.results] == ["a", "b", "c"]
    assert again.batch == 3
    assert again.credit == 5


def test_an_acknowledged_batch_is_forgotten() -> None:
    ledger = ready()
    ledger.assigned(jobs("a"), 0.0)
    ledger.ended([success("a")])
    ledger.acked(pb.Ack(batch=sent(ledger).batch))

    assert ledger.attach() == []
    assert ledger.held == 0


def test_leases_that_were_lost_between_sessions_are_told_and_their_results_dropped() -> None:
    ledger = ready(slots=2)
    ledger.assigned(jobs("runs", "ended"), 0.0)
    ledger.ended([success("ended")])
    ledger.attach()

    lost = ledger.attached(attached([("runs", 1), ("ended", 1), ("never mine", 1)]), 0.0)

    assert lost == [("runs", 1), ("ended", 1)]
    request = ledger.next(0.0)
    assert request is not None
    assert request.credit.slots == 1  # "runs" has not ended yet
    ledger.ended([Ended(("runs", 1), None)])
    request = ledger.next(0.0)
    assert request is not None
    assert request.credit.slots == 1


def test_a_late_result_of_a_lost_lease_frees_its_slot_and_is_not_sent() -> None:
    ledger = ready(slots=1)
    ledger.assigned(jobs("a"), 0.0)
    ledger.lost(refs("a"))
    ledger.ended([success("a")])

    request = ledger.next(0.0)

    assert request is not None
    assert request.credit.slots == 1


def test_the_same_job_under_a_new_lease_is_another_matter() -> None:
    ledger = ready()
    ledger.assigned(jobs("a", lease_id=1), 0.0)
    ledger.lost(refs("a"))
    ledger.assigned(jobs("a", lease_id=2), 0.0)
    ledger.ended([success("a", 1)])

    assert ledger.next(0.0) is not None  # credit
    assert [(lease.job, lease.lease_id) for lease in ledger.attach()] == [("a", 2)]


def test_a_heartbeat_lists_every_running_job_well_within_the_interval() -> None:
    ledger = ready()
    ledger.assigned(jobs("a", "b", "ended"), 0.0)
    ledger.ended([success("ended")])
    sent(ledger)
    assert set(listed(ledger.next(SOON_S))) == {"a", "b"}

    due = ledger.due()
    assert due == INTERVAL_S * BEAT_SHARE
    assert ledger.next(due - 0.001) is None
    assert listed(ledger.next(due)) == ["a", "b"]
    assert ledger.due() == 2 * due


def test_a_worker_without_jobs_is_heard_all_the_same() -> None:
    ledger = ready()

    assert listed(ledger.next(INTERVAL_S * BEAT_SHARE)) == []


def test_a_new_lease_is_confirmed_early_unless_its_result_is_quicker() -> None:
    ledger = ready()
    ledger.assigned(jobs("quick", "slow"), 0.0)
    ledger.assigned(jobs("later"), SOON_S / 2)
    ledger.ended([success("quick")])
    sent(ledger)

    assert ledger.due() == SOON_S
    assert listed(ledger.next(SOON_S)) == ["slow"]
    assert listed(ledger.next(SOON_S * 1.5)) == ["later"]


def test_progress_goes_out_once_and_soon() -> None:
    ledger = ready()
    ledger.assigned(jobs("a"), 0.0)
    ledger.next(SOON_S)
    ledger.progressed(("a", 1), job_pb2.Progress(done=1), 1.0)
    ledger.progressed(("a", 1), job_pb2.Progress(done=2), 1.05)
    assert ledger.next(1.0) is None

    request = ledger.next(1.0 + SOON_S)

    assert listed(request) == ["a"]
    assert request is not None
    assert request.heartbeat.held[0].progress.done == 2
    full = ledger.next(INTERVAL_S * BEAT_SHARE)
    assert full is not None
    assert not full.heartbeat.held[0].HasField("progress")
    assert ledger.attach()[0].progress.done == 2


def test_progress_of_a_job_that_is_not_held_is_nothing() -> None:
    ledger = ready()
    ledger.progressed(("a", 1), job_pb2.Progress(done=1), 0.0)

    assert ledger.next(SOON_S) is None


def test_a_draining_worker_says_so_once_a_session_and_announces_nothing() -> None:
    ledger = ready(slots=1)
    ledger.assigned(jobs("a"), 0.0)
    ledger.drain()
    assert not ledger.settled
    for _ in range(2):
        request = ledger.next(0.0)
        assert request is not None
        assert request.WhichOneof("message") == "draining"
        assert ledger.next(0.0) is None
        ledger.attach()
        ledger.attached(attached(), 0.0)
    ledger.next(0.0)
    ledger.ended([success("a")])
    results = sent(ledger)
    assert results.credit == 0
    assert not ledger.settled

    ledger.acked(pb.Ack(batch=results.batch))

    assert ledger.settled


def test_control_goes_before_results() -> None:
    ledger = ready()
    ledger.assigned(jobs("a", "b"), 0.0)
    ledger.ended([success("b")])

    kinds = [str(r.WhichOneof("message")) for _ in range(2) if (r := ledger.next(INTERVAL_S))]

    assert kinds == ["heartbeat", "results"]


def test_a_lease_is_at_risk_when_nothing_can_have_renewed_it() -> None:
    ledger = ready(now=0.0)
    ledger.assigned(jobs("a"), 5.0)
    assert not ledger.at_risk(("a", 1), 5.0 + LEASE_S)
    assert ledger.at_risk(("a", 1), 5.1 + LEASE_S)

    ledger.next(20.0)

    assert not ledger.at_risk(("a", 1), 20.0 + LEASE_S)
    ledger.lost(refs("a"))
    assert ledger.at_risk(("a", 1), 20.0)


def test_attach_lists_running_jobs_first_and_no_more_than_there_are_slots() -> None:
    ledger = ready(slots=2)
    ledger.assigned(jobs("a", "b"), 0.0)
    ledger.ended([success("a"), success("b")])
    sent(ledger)
    ledger.assigned(jobs("runs"), 0.0)

    assert [lease.job for lease in ledger.attach()] == ["runs", "a"]
    ledger.attached(attached(), 0.0)
    assert [result.job for result in sent(ledger).results] == ["a", "b"]


@pytest.mark.parametrize("now", [0.0, SOON_S * 0.9])
def test_nothing_is_due_earlier_than_it_says(now: float) -> None:
    ledger = ready()
    ledger.assigned(jobs("a"), 0.0)

    assert ledger.due() == SOON_S
    assert ledger.next(now) is None
