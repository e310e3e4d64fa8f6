"""The bound on the rate of a library's log lines."""

from __future__ import annotations

import logging

from headworks_scheduler.sinks.quiet import OncePerPeriod, quiet_aiokafka


def line(text: str, *values: object, name: str = "aiokafka.client", level: int = logging.ERROR) -> logging.LogRecord:
    """A record."""
    return logging.LogRecord(name, level, __file__, 1, text, values, None)


def test_a_kind_of_line_passes_once_in_a_period_whatever_its_values() -> None:
    once = OncePerPeriod(60)
    assert once.filter(line("no node %s", 1))
    assert not once.filter(line("no node %s", 2))


def test_other_kinds_of_lines_pass() -> None:
    once = OncePerPeriod(60)
    assert once.filter(line("a"))
    assert once.filter(line("b"))
    assert once.filter(line("a", level=logging.WARNING))
    assert once.filter(line("a", name="aiokafka.conn"))


def test_a_line_passes_again_in_the_next_period() -> None:
    once = OncePerPeriod(0)
    assert once.filter(line("a"))
    assert once.filter(line("a"))


def test_the_loggers_are_left_as_they_were() -> None:
    logger = logging.getLogger("aiokafka.client")
    before = list(logger.filters)
    with quiet_aiokafka():
        assert len(logger.filters) == len(before) + 1
    assert logger.filters == before
