"""Runs a module as `python -m` would, or a program, as a child that does not outlive its parent.

    python -m simulators.demo.child PARENT_PID MODULE ARGUMENT...
    python -m simulators.demo.child PARENT_PID -- PROGRAM ARGUMENT...

Linux tells the child when its parent is gone (PR_SET_PDEATHSIG), however it went: so not even
`kill -9` of the demo leaves a process or a port behind.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import sys

PR_SET_PDEATHSIG = 1


def follow_parent(parent_pid: int) -> None:
    """Ask for SIGTERM at the parent's end; exits at once when it has ended already."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent_pid:
        raise SystemExit(1)


if __name__ == "__main__":
    follow_parent(int(sys.argv[1]))
    module = sys.argv[2]
    if module == "--":
        os.execv(sys.argv[3], sys.argv[3:])  # noqa: S606 - our own program; the request above survives it
    sys.argv = sys.argv[2:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
