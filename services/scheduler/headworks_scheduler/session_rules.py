"""The bounds of what workers say, as the protos state them. What only tells people something is cut, never refused."""

from __future__ import annotations

from collections.abc import Sequence

from headworks.scheduler.v1 import job_pb2
from headworks.worker.v1 import session_pb2 as pb
from headworks_core.errors import FailedPrecondition, InvalidArgument, Reason, Violation, invalid
from headworks_core.names import JOB_NAME, QUEUE, TASK, WORKER

from headworks_scheduler.queues import Queues

PROTOCOL = 1
SLOTS_MAX = 10_000
QUEUES_MAX = 64
TASKS_MAX = 1_000
WEIGHT_MAX = 1_000
CAPABILITIES_MAX = 100
CAPABILITY_MAX = 100
STEP_MAX = 200


def check_attach(attach: pb.Attach, queues: Queues) -> None:
    """Raises InvalidArgument with every field at fault, NotFound for a queue, FailedPrecondition for the protocol."""
    if attach.protocol != PROTOCOL:
        message = f"protocol {attach.protocol} is not spoken here; {PROTOCOL} is"
        raise FailedPrecondition(message, reason=Reason.PROTOCOL_VERSION)
    violations = [*_subscriptions(attach.queues)]
    if not WORKER.fullmatch(attach.worker):
        violations.append(Violation("attach.worker", "1 to 128 of [A-Za-z0-9_.:@-]"))
    if attach.order not in pb.QueueOrder.values():
        violations.append(Violation("attach.order", "a value of QueueOrder"))
    if len(attach.tasks) > TASKS_MAX or not all(map(TASK.fullmatch, attach.tasks)):
        violations.append(Violation("attach.tasks", f"at most {TASKS_MAX:,} names of tasks"))
    if not 1 <= attach.slots <= SLOTS_MAX:
        violations.append(Violation("attach.slots", f"1 to {SLOTS_MAX:,}"))
    if len(attach.held) > SLOTS_MAX:
        violations.append(Violation("attach.held", f"at most {SLOTS_MAX:,}"))
    names = attach.capabilities
    if len(names) > CAPABILITIES_MAX or any(not 1 <= len(name) <= CAPABILITY_MAX for name in names):
        rule = f"at most {CAPABILITIES_MAX} names of 1 to {CAPABILITY_MAX} characters"
        violations.append(Violation("attach.capabilities", rule))
    if violations:
        raise invalid(violations)
    for entry in attach.queues:
        queues.get(entry.queue)


def _subscriptions(entries: Sequence[pb.QueueSubscription]) -> list[Violation]:
    violations = []
    if not 1 <= len(entries) <= QUEUES_MAX:
        violations.append(Violation("attach.queues", f"1 to {QUEUES_MAX}"))
    if len({entry.queue for entry in entries}) != len(entries):
        violations.append(Violation("attach.queues", "each queue once"))
    for index, entry in enumerate(entries[:QUEUES_MAX]):
        if not QUEUE.fullmatch(entry.queue):
            violations.append(Violation(f"attach.queues[{index}].queue", "1 to 64 of [a-z0-9_-]"))
        if not 0 <= entry.weight <= WEIGHT_MAX:
            violations.append(Violation(f"attach.queues[{index}].weight", f"1 to {WEIGHT_MAX:,}, or unset"))
    return violations


def check_credit(slots: int, field: str, *, least: int) -> None:
    """Raises InvalidArgument."""
    if not least <= slots <= SLOTS_MAX:
        raise invalid([Violation(field, f"{least} to {SLOTS_MAX:,}")])


def check_lease(job: str, lease_id: int, cells: int, field: str) -> None:
    """Whether it can be a lease at all; InvalidArgument otherwise. `field` is the path of the message that has both."""
    match = JOB_NAME.fullmatch(job)
    if match is None or int(match[3]) >= cells:
        raise invalid([Violation(f"{field}.job", f"the name of a job in one of the {cells} cells")])
    if lease_id < 1:
        raise invalid([Violation(f"{field}.lease_id", "1 or more")])


def check_results(results: pb.Results, batch_max: int) -> None:
    """Raises InvalidArgument."""
    if not 1 <= len(results.results) <= batch_max:
        rule = f"{len(results.results)} results; 1 to {batch_max}"
        violations = [Violation("results.results", rule)]
        raise InvalidArgument(f"results: {rule}", reason=Reason.BATCH_SIZE, violations=violations)
    if results.batch < 1:
        raise invalid([Violation("results.batch", "1 or more")])
    check_credit(results.credit, "results.credit", least=0)


def stored_progress(progress: job_pb2.Progress) -> bytes:
    """What is kept of it."""
    if progress.done < 0 or progress.total < 0 or len(progress.message) > STEP_MAX:
        progress = job_pb2.Progress(
            done=max(0, progress.done), total=max(0, progress.total), message=progress.message[:STEP_MAX]
        )
    return progress.SerializeToString()
