"""Credit under every order of events: never more than the slots, and all of them in the end."""

from __future__ import annotations

from headworks.worker.v1 import session_pb2 as pb
from headworks_worker.ledger import BATCH_BYTES, Ledger
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.unit.worker.ledgers import attached, jobs, success


class CreditMachine(RuleBasedStateMachine):
    """A scheduler that keeps the count: what it has out and what was announced never exceed the slots."""

    @initialize(slots=st.integers(1, 6))
    def begin(self, slots: int) -> None:
        self.slots = slots
        self.ledger = Ledger(slots)
        self.running: set[tuple[str, int]] = set()
        self.zombies = 0
        self.in_flight: list[pb.Results] = []
        self.made = 0
        self.connect([])

    def connect(self, lost: list[tuple[str, int]]) -> None:
        held = self.ledger.attach()
        self.out = {(lease.job, lease.lease_id) for lease in held} - set(lost)
        self.credit = 0
        self.in_flight = []
        self.ledger.attached(attached(lost), 0.0)

    @rule(data=st.data())
    def cut(self, data: st.DataObject) -> None:
        gone = [key for key in sorted(self.out) if data.draw(st.booleans())]
        self.connect(gone)

    @rule()
    def send(self) -> None:
        self.sent_one()

    def sent_one(self) -> bool:
        request = self.ledger.next(0.0)
        if request is None:
            return False
        if request.WhichOneof("message") == "credit":
            self.credit += request.credit.slots
        else:
            self.in_flight.append(request.results)
            self.out -= {(result.job, result.lease_id) for result in request.results.results}
            self.credit += request.results.credit
        return True

    @precondition(lambda self: self.credit)
    @rule(data=st.data())
    def assign(self, data: st.DataObject) -> None:
        count = data.draw(st.integers(1, self.credit))
        given = jobs(*(f"job-{self.made + n}" for n in range(count)))
        self.made += count
        self.credit -= count
        self.out |= {(job.job, job.lease_id) for job in given}
        self.running |= {(job.job, job.lease_id) for job in given}
        self.ledger.assigned(given, 0.0)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), frees=st.booleans())
    def end(self, data: st.DataObject, frees: bool) -> None:
        name, lease_id = data.draw(st.sampled_from(sorted(self.running)))
        self.running.discard((name, lease_id))
        self.zombies += not frees
        size = BATCH_BYTES * data.draw(st.booleans())  # such a result fills a batch
        self.ledger.ended([success(name, lease_id, size)._replace(frees=frees)])

    @precondition(lambda self: self.zombies)
    @rule()
    def end_late(self) -> None:
        self.zombies -= 1
        self.ledger.freed()

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.out)))
        self.out.discard(key)
        self.ledger.lost([pb.LeaseRef(job=key[0], lease_id=key[1])])

    @precondition(lambda self: self.in_flight)
    @rule()
    def ack(self) -> None:
        self.ledger.acked(pb.Ack(batch=self.in_flight.pop(0).batch))

    @invariant()
    def credit_stays_within_the_slots(self) -> None:
        assert self.credit + len(self.out) <= self.slots
        assert self.credit + len(self.running) + self.zombies <= self.slots

    def teardown(self) -> None:
        """Once everything has ended, every slot is announced."""
        if not hasattr(self, "slots"):
            return
        self.ledger.ended([success(*key) for key in self.running])
        for _ in range(self.zombies):
            self.ledger.freed()
        while self.sent_one():
            pass
        assert self.credit == self.slots


TestCredit = CreditMachine.TestCase
TestCredit.settings = settings(max_examples=30, deadline=None)
