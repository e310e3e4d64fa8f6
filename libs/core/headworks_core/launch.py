"""Becomes another program that the kernel ends when its parent dies.

Run as `python -I -S launch.py PARENT_PID PROGRAM ARGUMENT...`. The parent-death signal survives exec, so nothing of
this script stays. Linux only; elsewhere the program simply starts.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask for the signal, make sure that the parent has not died before that, and exec."""
    parent, program = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            raise SystemExit(1)
    os.execvp(program[0], program)


if __name__ == "__main__":
    main()
