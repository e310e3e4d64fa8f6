"""What a process writes to its log, and what it must not."""

from __future__ import annotations

import json
import subprocess
import sys

PROGRAM = """
import logging
import structlog
from headworks_core import logs

logs.configure("test")

def call(secret_argument):
    local = {"inner": secret_argument}
    raise ValueError("what went wrong")

for log in (structlog.get_logger("own"), logging.getLogger("library")):
    try:
        call("the secret")
    except ValueError as error:
        log.error("call.failed", exc_info=error)
"""


def test_an_exception_is_logged_with_its_frames_and_without_their_variables() -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=True)

    lines = [json.loads(line) for line in ran.stderr.splitlines()]
    assert [line["logger"] for line in lines] == ["own", "library"]
    for line in lines:
        (raised,) = line["exception"]
        assert (raised["exc_type"], raised["exc_value"]) == ("ValueError", "what went wrong")
        assert [frame["name"] for frame in raised["frames"]] == ["<module>", "call"]
    assert "the secret" not in ran.stderr
