"""A module under a wall clock that is wrong: what it sees, and what the kernel says to it."""

import os
import subprocess
import sys
import time

import pytest

MODULE = """
import ctypes, sys, time
print(time.time_ns() // 1_000_000, time.time(), ctypes.CDLL(None).adjtimex(None), *sys.argv[1:])
"""


@pytest.mark.parametrize("off_ms", [0, 7_200_000, -946_080_000_000])
def test_the_wall_clock_is_wrong_and_no_time_server_disciplines_it(tmp_path, off_ms):
    (tmp_path / "seen.py").write_text(MODULE)
    file = tmp_path / "off"
    if off_ms:
        file.write_text(str(off_ms))
    before_ms = time.time() * 1000 + off_ms
    told = subprocess.run(
        [sys.executable, "-m", "simulators.demo.wallclock", file, "seen", "an", "argument"],
        capture_output=True, text=True, timeout=60, check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])},
    ).stdout.split()  # fmt: skip
    assert before_ms - 1 <= int(told[0]) <= before_ms + 60_000
    assert abs(float(told[1]) * 1000 - int(told[0])) < 5_000
    assert told[2] == "5", "TIME_ERROR: not synchronised"
    assert told[3:] == ["an", "argument"]
