"""What callers import needs nothing that they have not asked for."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
import headworks_client, headworks_client.limited, headworks_client.web
found = {"httpx", "starlette", "fastapi", "redis", "aiokafka", "yaml"} & set(sys.modules)
assert not found, found
"""


def test_the_client_imports_no_package_of_an_extra() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
