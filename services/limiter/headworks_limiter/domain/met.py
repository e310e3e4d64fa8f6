"""The rules that requests meet together, so that counting a request needs no look at each of them."""

from __future__ import annotations

from collections.abc import Sequence

from headworks_limiter.domain.rule import Bucket, Rule


class RuleGroup:
    """Rules that are met together, in their order. Equal to itself only, so that it is a cheap key."""

    __slots__ = ("nears", "rules")

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)
        self.nears = tuple(rule.near for rule in self.rules)
        """Of each rule the permits left at which four fifths of its bucket are used."""


class Met(tuple[Bucket, ...]):
    """The buckets of a request, with the group of their rules."""

    group: RuleGroup

    @classmethod
    def of(cls, buckets: Sequence[Bucket], group: RuleGroup) -> Met:
        """These buckets, whose rules are those of the group."""
        made = cls(buckets)
        made.group = group
        return made


def group_of(buckets: Sequence[Bucket]) -> RuleGroup:
    """The group that is known of these buckets, or one of their own."""
    return buckets.group if type(buckets) is Met else RuleGroup([bucket.rule for bucket in buckets])
