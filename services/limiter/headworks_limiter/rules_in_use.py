"""The rules that requests are held against: those of the API, namespace by namespace, before those of the file."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from headworks_limiter.published import PublishedRules
from headworks_limiter.rulebook import RuleBook
from headworks_limiter.rules import Mistake, Rules

Heard = Callable[[], Awaitable[None]]


class RulesInUse:
    """Puts both sources together, and says when that has changed."""

    def __init__(self, book: RuleBook, published: PublishedRules) -> None:
        self.book = book
        self.published = published
        self._heard: Heard | None = None
        self._changing = asyncio.Lock()
        self.rules = _merged(book.rules, published.rules.values())

    @property
    def current(self) -> bool:
        """Whether these are the rules of the file and of the API as they are there."""
        return self.book.current and self.published.current

    def tell(self, heard: Heard) -> None:
        """`heard` is called whenever the rules have changed, or whether they are current."""
        self._heard = heard

    async def follow_file(self) -> None:
        """Until cancelled, use the file as it changes."""
        await self.book.follow(self._apply)

    async def look(self) -> None:
        """Use what the API has put since the last look. A store that is away changes nothing."""
        async with self._changing:
            if await self.published.look():
                await self._apply()

    async def reload(self) -> tuple[Mistake, ...]:
        """Read the file and the store now; what is wrong with the file. Raises Unavailable."""
        async with self._changing:
            mistakes = await self.book.reload()
            try:
                await self.published.refresh()
            finally:
                await self._apply()
        return mistakes

    async def _apply(self) -> None:
        self.rules = _merged(self.book.rules, self.published.rules.values())
        if self._heard is not None:
            await self._heard()


def _merged(file: Rules, published: Iterable[Rules]) -> Rules:
    """A namespace that the API has rules for has nothing of the file's."""
    namespaces, costs, bypasses = dict(file.namespaces), dict(file.costs), dict(file.bypasses)
    for rules in published:
        namespaces.update(rules.namespaces)
        costs.update(rules.costs)
        bypasses.update(rules.bypasses)
    return Rules(namespaces, costs, bypasses)
