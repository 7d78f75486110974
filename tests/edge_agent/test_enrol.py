"""Key and request of a device; unit and install script are what they say."""

import shutil
import subprocess
from pathlib import Path

import pytest

from edge_agent.__main__ import main

DEPLOY = Path(__file__).parents[2] / "deploy" / "edge"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl")
def test_the_key_is_for_nobody_else_to_read_and_the_request_names_the_edge(tmp_path, capsys):
    folder = tmp_path / "tls"
    names = ["--region", "370114", "--site", "foundry", "--edge", "gw1"]
    assert main(["enrol", *names, "--folder", str(folder)]) == 0
    key = folder / "key.pem"
    assert key.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    said = subprocess.run(
        ["openssl", "req", "-in", folder / "request.csr", "-noout", "-verify", "-subject"],
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0
    assert "370114/foundry/gw1" in said.stdout.replace("\\", "")
    before = key.read_bytes()
    assert main(["enrol", *names, "--folder", str(folder)]) == 0
    assert key.read_bytes() == before, "a key that is there is kept"
    assert "kept" in capsys.readouterr().out
    assert main(["enrol", "--folder", str(folder)]) == 2
    assert main(["enrol", *names[:4], "--edge", "No Id", "--folder", str(folder)]) == 2


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
def test_the_unit_is_one_that_systemd_takes(tmp_path):
    unit = tmp_path / "nenghao-edge.service"
    text = (DEPLOY / "nenghao-edge.service").read_text()
    assert "MemoryMax=96M" in text
    unit.write_text(text.replace("/opt/nenghao-edge/current/bin/nenghao", "/bin/true"))
    said = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    assert [line for line in said.stderr.splitlines() if unit.name in line] == []


def test_the_install_script_is_sound():
    subprocess.run(["sh", "-n", DEPLOY / "install.sh"], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", "-S", "warning", DEPLOY / "install.sh"], check=True)
    said = subprocess.run([DEPLOY / "install.sh", "--what"], capture_output=True, text=True)
    assert said.returncode == 2
    assert "--broker HOST" in said.stderr
