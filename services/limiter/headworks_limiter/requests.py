"""Reads requests: from the proto message to what the store is asked."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from headworks.limiter.v1 import limiter_pb2
from headworks_core.cells import Meta
from headworks_core.errors import InvalidArgument, NotFound, Reason, Violation, invalid
from headworks_core.names import NAMESPACE, UUID

from headworks_limiter.domain.algorithms import HELD, QUEUES
from headworks_limiter.domain.ask import Ask, Platform
from headworks_limiter.domain.bypass import Bypass, longest
from headworks_limiter.domain.costs import cost_of
from headworks_limiter.domain.decision import PLAIN, Mode, Terms
from headworks_limiter.domain.met import Met, RuleGroup
from headworks_limiter.domain.rule import PLATFORM, Bucket, Rule, Rules, bucket_key, fingerprint, record_key
from headworks_limiter.extras_reader import MAX_PERMITS
from headworks_limiter.newcomers import Newcomers
from headworks_limiter.rules import DESCRIPTOR_KEY, MAX_KEYS, MAX_VALUE_BYTES

MAX_PLANS = 8192
MAX_WAIT_S = 3_600
MAX_HOLD_S = 86_400
MAX_SHOWN = 64
"""Characters of a bad key that an error repeats; values are never repeated."""
BY_TABLE = 0
"""Stands in fingerprints for permits that the caller leaves to the cost table, whatever it says at the time."""
DETAILS = frozenset(limiter_pb2.Detail.values())

MAX_REMEMBERED_BYTES = 512
ID_FIELD = bytes((limiter_pb2.PermitRequest.REQUEST_ID_FIELD_NUMBER << 3 | 2, 36))
"""What comes before the 36 characters of a request id in the bytes of a request."""
ID_BYTES = len(ID_FIELD) + 36
Detailed = tuple[Ask, limiter_pb2.Detail]
PlanKey = tuple[str, str, tuple[tuple[str, str], ...]]


class _Plan(NamedTuple):
    """What one tenant's descriptors mean in one namespace."""

    cell: int
    buckets: Met
    most_permits: int
    """What the smallest bucket can hold."""
    shadows: tuple[int, ...]
    """The indexes of the buckets whose rules refuse nothing."""
    most_on_trial: int
    """What the smallest of those can hold."""
    permits: int
    """What it costs, by the table, when the caller does not say."""
    bypass: Bypass | None
    """What lets it through while it holds."""
    ttl_us: int
    """How long what it takes is held by its rules; 0: they hold nothing."""
    platform: Platform | None
    """Where the buckets of its platform rules are, if not in `cell`."""
    unbookable: str
    """Its first platform rule, where several cells make booking ahead impossible."""
    queue: str
    """A rule that makes wait without being asked to; then `unbookable` refuses it all."""


class _Known(NamedTuple):
    """What the bytes of a request without an id mean."""

    ask: Ask
    detail: limiter_pb2.Detail
    fingerprint: str


class Inspection(NamedTuple):
    """What an operator asks about a request."""

    ask: Ask
    """To look, also where a bypass would let it through; for as many permits of what it costs as its rules can hold."""
    permits: int
    """What it costs, by the table, when the caller does not say."""
    bypass: Bypass | None
    """What lets it through now."""


class RequestReader:
    """Checks requests and finds their buckets. Remembers the latest descriptors, which were checked then."""

    def __init__(
        self,
        rules: Rules,
        meta: Meta,
        *,
        newcomers: Newcomers | None = None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        """`newcomers` caps the buckets that are met for the first time; `now_s` says when a bypass ends."""
        self._rules = rules
        self._meta = meta
        self._newcomers = newcomers or Newcomers(0)
        self._now_s = now_s
        self._plans: dict[PlanKey, _Plan] = {}
        self._groups: dict[tuple[Rule, ...], RuleGroup] = {}
        self._asks: dict[tuple[str, bytes, bytes], _Known] = {}

    def use(self, rules: Rules) -> None:
        """From the next request on these rules hold."""
        self._rules = rules
        self._plans.clear()
        self._groups.clear()
        self._asks.clear()

    @property
    def rules(self) -> Rules:
        """Those that hold now."""
        return self._rules

    @property
    def remembered(self) -> int:
        """How many descriptors it knows."""
        return len(self._plans)

    def take(self, raw: bytes, tenant: str, path: str = "") -> Detailed:
        """What to ask the store for, for permits, by the bytes of a PermitRequest; and how much to reply.

        Raises as `ask`. What comes before and after a request's id is remembered: where the first is a whole message,
        the same bytes around another id are the same request but for the id.
        """
        head, request_id, tail = _around_id(raw)
        known = self._asks.get((tenant, head, tail)) or self._learn(tenant, head, tail)
        if known is None:
            request = _decoded(raw)
            return self.ask(request, tenant, Mode.TAKE, path), request.detail
        ask = known.ask
        if request_id:
            record = self.record(tenant, request_id)
            ask = Ask(
                ask.cell,
                ask.mode,
                ask.permits,
                ask.buckets,
                ask.shadows,
                record,
                known.fingerprint,
                None,
                ask.terms,
                ask.platform,
            )
        return ask, known.detail

    def _learn(self, tenant: str, head: bytes, tail: bytes) -> _Known | None:
        """What a request without its id means; None where that depends on more than these bytes."""
        if len(head) + len(tail) > MAX_REMEMBERED_BYTES:
            return None
        try:
            request = _decoded(head)
            if tail:
                request = _decoded(head + tail)
            if request.request_id:
                return None
            ask = self.ask(request, tenant, Mode.TAKE)
        except InvalidArgument:  # which the whole request may not deserve
            return None
        if ask.bypass is not None or ask.terms.holder:
            return None
        known = _Known(ask, request.detail, _fingerprint(request))
        if len(self._asks) >= MAX_PLANS:
            self._asks.clear()
        self._asks[tenant, head, tail] = known
        return known

    def ask(self, request: limiter_pb2.PermitRequest, tenant: str, mode: Mode, path: str = "") -> Ask:
        """What to ask the store for; `path` goes before the names of fields at fault.

        Raises InvalidArgument with all the fields at fault, or PERMITS_EXCEED_LIMIT, and NotFound.
        """
        permits = request.permits if request.HasField("permits") else BY_TABLE
        request_id = request.request_id if mode is Mode.TAKE else ""
        violations = _scalar_violations(request, permits, request_id, path)
        key = (tenant, request.namespace, tuple(request.descriptors.items()))
        plan = self._plans.get(key)
        if plan is None:
            violations += _name_violations(request, path)
        if violations:
            raise invalid(violations)
        if plan is None:
            plan = self._remember(key)
        permits = permits or plan.permits
        if plan.bypass is not None and plan.bypass.holds(self._now_s()):
            return Ask(plan.cell, mode, permits, (), bypass=plan.bypass)
        if plan.unbookable and (plan.queue or request.max_wait.ToMicroseconds()):
            raise _unbookable(plan, path)
        ask = Ask(plan.cell, mode, permits, plan.buckets, plan.shadows, platform=plan.platform)
        if permits > plan.most_on_trial:
            ask.buckets, ask.shadows = _that_can_hold(permits, plan.buckets)
        ask.terms = terms = _terms(request, mode, request_id, plan.ttl_us)
        if request_id or terms.holder:
            ask.record = self.record(tenant, request_id or terms.holder)
            ask.fingerprint = _fingerprint(request)
        if permits > plan.most_permits and request.allow_partial:
            ask.permits = plan.most_permits
        elif permits > plan.most_permits:
            if not request_id:
                raise exceeds_limit(ask)
            ask.mode = Mode.RECALL  # it may have been granted when the limit was higher
        return ask

    def cell_of(self, tenant: str) -> int:
        """Where a tenant's buckets and grants are."""
        return self._meta.cell_of(tenant)

    def record(self, tenant: str, grant: str) -> str:
        """The key of the record of a tenant's grant."""
        return record_key(self._meta.prefix(self._meta.cell_of(tenant)), tenant, grant)

    def inspect(self, request: limiter_pb2.PermitRequest, tenant: str) -> Inspection:
        """What the rules make of a request. Raises as `ask`, but never PERMITS_EXCEED_LIMIT."""
        if violations := _name_violations(request, ""):
            raise invalid(violations)
        plan = self._remember((tenant, request.namespace, tuple(request.descriptors.items())))
        permits = min(plan.permits, plan.most_permits, plan.most_on_trial)
        bypass = plan.bypass if plan.bypass is not None and plan.bypass.holds(self._now_s()) else None
        ask = Ask(plan.cell, Mode.LOOK, permits, plan.buckets, plan.shadows, platform=plan.platform)
        return Inspection(ask, plan.permits, bypass)

    @property
    def platforms(self) -> list[Platform]:
        """The cells in which platform rules of the rules that hold now have their buckets, if there are others."""
        if self._meta.cells == 1:
            return []
        named = (name for name, rules in self._rules.namespaces.items() if any(rule.platform for rule in rules))
        return sorted({self._platform(name) for name in named})

    def _platform(self, namespace: str) -> Platform:
        """One cell a namespace, so that all its platform rules are asked in one step."""
        cell = self._meta.cell_of(f"{PLATFORM}/{namespace}")
        return Platform(cell, self._meta.prefix(cell))

    def _remember(self, key: PlanKey) -> _Plan:
        tenant, namespace, pairs = key
        plan = self._plan(tenant, namespace, dict(pairs))
        if plan.buckets and plan.bypass is None:
            self._newcomers.met(tenant, len(plan.buckets))
        if len(self._plans) >= MAX_PLANS:
            self._plans.clear()
            self._groups.clear()
        self._plans[key] = plan
        return plan

    def _plan(self, tenant: str, namespace: str, descriptors: Mapping[str, str]) -> _Plan:
        rules = self._rules.meeting(namespace, tenant, descriptors)
        if rules is None:
            raise NotFound(f"namespace {namespace} has no rules here", reason=Reason.NAMESPACE_NOT_FOUND)
        cell = self._meta.cell_of(tenant)
        prefix = self._meta.prefix(cell)
        group = self._groups.setdefault(tuple(rules), RuleGroup(rules))
        shared = [rule.name for rule in rules if rule.platform]
        platform = self._platform(namespace)

        def key_of(rule: Rule) -> str:
            owner = (platform.prefix, PLATFORM) if rule.platform else (prefix, tenant)
            return bucket_key(*owner, rule, descriptors)

        buckets = Met.of([Bucket(key_of(rule), rule) for rule in rules], group)
        queues = [rule.name for rule in rules if isinstance(rule.params, QUEUES) and not rule.shadow]
        shadows = tuple(index for index, rule in enumerate(rules) if rule.shadow)
        return _Plan(
            cell,
            buckets,
            most_permits=_least_capacity(rule for rule in rules if not rule.shadow),
            shadows=shadows,
            most_on_trial=_least_capacity(rule for rule in rules if rule.shadow),
            permits=cost_of(self._rules.costs.get(namespace, ()), descriptors),
            ttl_us=max((rule.params.ttl_us for rule in rules if isinstance(rule.params, HELD)), default=0),
            bypass=longest(self._rules.bypasses.get(namespace, ()), tenant, descriptors),
            platform=platform if shared and platform.cell != cell else None,
            unbookable=shared[0] if shared and self._meta.cells > 1 else "",
            queue=queues[0] if queues else "",
        )


def _decoded(raw: bytes) -> limiter_pb2.PermitRequest:
    try:
        return limiter_pb2.PermitRequest.FromString(raw)
    except DecodeError:
        raise InvalidArgument("the request cannot be decoded") from None


def _around_id(raw: bytes) -> tuple[bytes, str, bytes]:
    """What looks like the request's id, with the bytes before it and after it."""
    at = raw.rfind(ID_FIELD)
    if at >= 0:
        end = at + ID_BYTES
        request_id = raw[at + len(ID_FIELD) : end].decode("latin-1")
        if UUID.fullmatch(request_id):
            return raw[:at], request_id, raw[end:]
    return raw, "", b""


def _fingerprint(request: limiter_pb2.PermitRequest) -> str:
    return fingerprint(
        request.namespace, request.descriptors, request.permits if request.HasField("permits") else BY_TABLE
    )


def _terms(request: limiter_pb2.PermitRequest, mode: Mode, request_id: str, ttl_us: int) -> Terms:
    if not (ttl_us or request.allow_partial or request.HasField("max_wait") or request.HasField("hold")):
        return PLAIN
    hold_us = request.hold.ToMicroseconds() or ttl_us
    holder = (request_id or str(uuid.uuid4())) if hold_us and mode is Mode.TAKE else ""
    return Terms(request.max_wait.ToMicroseconds(), request.allow_partial, holder, hold_us)


def _least_capacity(rules: Iterable[Rule]) -> int:
    return min((rule.params.capacity for rule in rules), default=MAX_PERMITS)


def _that_can_hold(permits: int, buckets: Sequence[Bucket]) -> tuple[list[Bucket], list[int]]:
    """Without the rules on trial that can never allow so much; and the indexes of those that are left."""
    kept = [bucket for bucket in buckets if not (bucket.rule.shadow and permits > bucket.rule.params.capacity)]
    return kept, [index for index, bucket in enumerate(kept) if bucket.rule.shadow]


def _unbookable(plan: _Plan, path: str) -> InvalidArgument:
    what = f"rule {plan.queue} makes requests wait" if plan.queue else f"{path}max_wait"
    message = f"{what}: platform rule {plan.unbookable} lives in another cell, and cannot be booked at the same time"
    return InvalidArgument(message, reason=Reason.PLATFORM_RULE)


def exceeds_limit(ask: Ask) -> InvalidArgument:
    """The error of a request that a rule can never allow."""
    rule = min((bucket.rule for bucket in ask.buckets if not bucket.rule.shadow), key=lambda rule: rule.params.capacity)
    message = f"permits {ask.permits:,} exceed the {rule.params.capacity:,} that rule {rule.name} can ever hold"
    return InvalidArgument(message, reason=Reason.PERMITS_EXCEED_LIMIT)


def _scalar_violations(
    request: limiter_pb2.PermitRequest, permits: int, request_id: str, path: str
) -> tuple[Violation, ...]:
    good = 1 <= permits <= MAX_PERMITS or not request.HasField("permits")
    timed = request.HasField("max_wait") or request.HasField("hold")
    if good and request.detail in DETAILS and not timed and (not request_id or UUID.fullmatch(request_id)):
        return ()
    violations = []
    if not within(request.max_wait, 0, MAX_WAIT_S):
        violations.append(Violation(f"{path}max_wait", "must be 0 to 1 hour"))
    if not within(request.hold, 0, MAX_HOLD_S):
        violations.append(Violation(f"{path}hold", "must be 0 to 1 day"))
    if not good:
        violations.append(Violation(f"{path}permits", f"must be 1 to {MAX_PERMITS:,}"))
    if request_id and not UUID.fullmatch(request_id):
        violations.append(Violation(f"{path}request_id", "must be a UUID in lower case, or empty"))
    if request.detail not in DETAILS:
        violations.append(Violation(f"{path}detail", "must be a value of Detail"))
    return tuple(violations)


def _name_violations(request: limiter_pb2.PermitRequest, path: str) -> tuple[Violation, ...]:
    violations = []
    if not NAMESPACE.fullmatch(request.namespace):
        violations.append(Violation(f"{path}namespace", f"must match {NAMESPACE.pattern}"))
    descriptors = request.descriptors
    if not 1 <= len(descriptors) <= MAX_KEYS:
        violations.append(Violation(f"{path}descriptors", f"must have 1 to {MAX_KEYS} pairs, not {len(descriptors)}"))
        return tuple(violations)
    for key, value in sorted(descriptors.items()):
        field = f"{path}descriptors[{key[:MAX_SHOWN]!a}]"
        if not DESCRIPTOR_KEY.fullmatch(key):
            violations.append(Violation(field, f"the key must match {DESCRIPTOR_KEY.pattern}"))
        if not 1 <= len(value.encode()) <= MAX_VALUE_BYTES:
            violations.append(Violation(field, f"the value must be 1 to {MAX_VALUE_BYTES} bytes long"))
    return tuple(violations)


def within(duration: Duration, least_s: float, most_s: float) -> bool:
    """Whether it is well formed, and between the two."""
    whole = 0 <= duration.nanos < 1_000_000_000
    return whole and least_s <= duration.seconds + duration.nanos / 1e9 <= most_s
