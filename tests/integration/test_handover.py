"""`nenghao edge handover --short`, as a field engineer runs it."""

import os
import subprocess
import sys

import pytest


@pytest.mark.timeout(200)
def test_the_short_handover_proves_every_kilowatt_hour(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "edge_agent", "handover", "--short", "--keep", tmp_path / "run"],
        capture_output=True,
        text=True,
        timeout=190,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout.splitlines()
    proved = [line for line in said if " = stored" in line and "expected" in line]
    assert len(proved) >= 11, "ten counters and the verdict"
    assert "!=" not in done.stdout
    for act in ("cut", "SIGKILL", "2 h ahead", "30 years ago", "exchanged", "disk full"):
        assert any(act in line for line in said), act
    assert "expected kWh = stored kWh" in said[-1]
