"""Exit codes, and how what went wrong becomes one sentence and one of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

import typer
from headworks_core import errors

from headworks_devkit import interrupts
from headworks_devkit.backends import BackendUnavailable
from headworks_devkit.processes import ChildFailed

OK = 0
FAILED = 1
"""Refused, denied, or ended otherwise than well."""
USAGE = 2
NOT_FOUND = 3
UNAVAILABLE = 4

HELP = "Exit codes: 0 ok, 1 failed or denied, 2 wrong usage, 3 not found, 4 service unavailable."

CODE_OF: dict[type[errors.ServiceError], int] = {
    errors.InvalidArgument: USAGE,
    errors.NotFound: NOT_FOUND,
}


def execute(main: Callable[[], Coroutine[Any, Any, int]], *, asking: str = "") -> NoReturn:
    """Run a command and end with its exit code; an expected error is one line on standard error.

    `asking` names the service that the command talks to, for when it cannot be reached.
    """
    try:
        code = interrupts.run(main)
    except errors.Unavailable as error:
        code = fail(f"{asking}: {error.message}" if asking else error.message, UNAVAILABLE)
    except errors.ServiceError as error:
        where = f"{asking}: " if asking and type(error) is errors.ServiceError else ""  # it is not what we think it is
        code = fail(f"{where}{error.message} [{error.reason}]", CODE_OF.get(type(error), FAILED))
    except (BackendUnavailable, ChildFailed) as error:
        code = fail(str(error), UNAVAILABLE)
    except interrupts.Interrupted as interrupted:
        code = interrupted.exit_code
    except BrokenPipeError:  # the reader of our output has gone, e.g. `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = OK
    raise typer.Exit(code)


def fail(message: str, code: int = FAILED) -> int:
    """Say what went wrong; returns the code to end with."""
    typer.secho(f"error: {message}", err=True, fg=typer.colors.RED)
    return code


def misused(message: str) -> typer.BadParameter:
    """The error to raise for an argument that cannot be understood."""
    return typer.BadParameter(message)
