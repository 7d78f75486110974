"""What install.sh puts on a Debian: units, configurations, InfluxDB's users."""

import configparser
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from aggregator.config import load
from aggregator.store.base import StoreError
from aggregator.store.influx1 import Influx1Store
from tests.debian_influx import DebianInflux, debian_influx
from tests.secure_broker import DEPLOY

DEBIAN = DEPLOY / "debian"
INSTALL = (DEPLOY / "install.sh").read_text("utf-8")
SCRIPTS = [
    "install.sh", "ca", "first-start", "demo-setup", "backup.sh", "restore.sh",
    "debian/influx-settle",
]  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[DebianInflux]:
    with debian_influx(tmp_path_factory.mktemp("influxdb")) as server:
        yield server


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[DebianInflux]:
    """One that the test starts and kills."""
    server = DebianInflux(tmp_path / "influxdb")
    yield server
    server.kill(signal.SIGKILL)


def ask(server: DebianInflux, user: str | None, statement: str, **more: str) -> httpx.Response:
    auth = None if user is None else (user, server.password(user))
    return httpx.post(
        f"{server.url}/query", data={"q": statement, "db": "nenghao", **more}, auth=auth,
        trust_env=False,
    )  # fmt: skip


def write(server: DebianInflux, user: str | None) -> int:
    auth = None if user is None else (user, server.password(user))
    return httpx.post(
        f"{server.url}/write", params={"db": "nenghao"}, content="x v=1i 1", auth=auth,
        trust_env=False,
    ).status_code  # fmt: skip


@pytest.mark.influxdb
def test_who_has_no_password_is_told_nothing_and_grafana_only_reads(server: DebianInflux) -> None:
    assert ask(server, None, "SHOW MEASUREMENTS").status_code == 401
    assert write(server, None) == 401
    assert write(server, "nenghao") == 204
    assert write(server, "grafana") == 403
    read = ask(server, "grafana", "SELECT v FROM x").json()["results"][0]
    assert read["series"][0]["values"][0][1] == 1
    for statement in ("DROP MEASUREMENT x", "CREATE DATABASE y", "SHOW USERS"):
        refused = ask(server, "grafana", statement)
        assert refused.status_code == 403 or "error" in refused.json()["results"][0], statement


@pytest.mark.influxdb
def test_run_again_it_changes_nothing_and_renews_a_password(server: DebianInflux) -> None:
    assert server.users().returncode == 0
    (server.secrets / "influxdb-grafana").write_text("another\n")
    assert ask(server, "grafana", "SHOW MEASUREMENTS").status_code == 401
    assert server.users().returncode == 0
    assert ask(server, "grafana", "SHOW MEASUREMENTS").status_code == 200
    (server.secrets / "influxdb-admin").write_text("not the one\n")
    refused = server.users()
    assert refused.returncode == 1
    assert "influx-users: " in refused.stderr
    (server.secrets / "influxdb-admin").write_text("secret-of-admin\n")


@pytest.mark.influxdb
def test_the_aggregators_store_opens_with_its_own_user(server: DebianInflux) -> None:
    store = Influx1Store(
        server.url, "nenghao", 900_000, user="nenghao", password=server.password("nenghao")
    )
    store.open()
    assert store.health().ok
    store.close()
    other = Influx1Store(server.url, "nenghao", 900_000, user="nenghao", password="wrong")
    with pytest.raises(StoreError):
        other.open()
    other.close()


@pytest.mark.influxdb
@pytest.mark.parametrize("torn", ["cut", "zeros", "rubbish"])
def test_a_torn_log_loses_nothing_that_is_written_after_it_was_settled(
    own_server: DebianInflux, torn: str
) -> None:
    """Without the script all points of the second round are gone in the end."""
    server = own_server

    def start() -> None:
        server.start()
        assert server.users().returncode == 0

    def put(first: int) -> None:
        for i in range(first, first + 20):
            answer = httpx.post(
                f"{server.url}/write", params={"db": "nenghao"}, content=f"x v=1i {i}",
                auth=("nenghao", server.password("nenghao")), trust_env=False,
            )  # fmt: skip
            assert answer.status_code == 204

    start()
    put(0)
    server.kill(signal.SIGKILL)
    for log in server.folder.rglob("*.wal"):
        whole = log.read_bytes()
        ends = {"cut": whole[-9:-5], "zeros": bytes(700), "rubbish": b"\x01\0\0\1\0" + whole[:99]}
        log.write_bytes(whole + ends[torn])
    settled = subprocess.run(
        [DEBIAN / "influx-settle", server.conf], capture_output=True, text=True, timeout=60
    )
    assert settled.returncode == 0, settled.stderr
    assert "File corrupt" in settled.stderr
    start()
    put(100)
    server.kill(signal.SIGKILL)
    start()
    counted = ask(server, "nenghao", "SELECT count(v) FROM x").json()["results"][0]["series"]
    assert counted[0]["values"][0][1] == 40


@pytest.mark.influxdb
def test_a_database_that_cannot_start_is_said_and_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "influxdb.conf").write_text("[meta]\n  dir = 7\n")
    settled = subprocess.run(
        [DEBIAN / "influx-settle", tmp_path / "influxdb.conf"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert settled.returncode == 1
    assert settled.stderr


def test_the_aggregators_file_is_good_and_names_what_the_script_makes(tmp_path: Path) -> None:
    text = (DEBIAN / "aggregator.toml").read_text("utf-8")
    assert text.count("@REGION@") == 1
    file = tmp_path / "aggregator.toml"
    file.write_text(text.replace("@REGION@", "370114"), "utf-8")
    config = load(file)
    assert config.api.local
    assert list(config.exposed()) == []
    named = {
        config.broker.tls_ca, config.broker.tls_certificate, config.broker.tls_key,
        config.store.password_file, config.aggregator.register_dir,
    }  # fmt: skip
    assert {str(Path(one).parent) for one in named} == {
        "/etc/nenghao/tls", "/etc/nenghao/secrets", "/etc/nenghao"
    }  # fmt: skip
    assert "influxdb-nenghao" in INSTALL
    assert "$etc/register" in INSTALL
    assert config.broker.port == 8883
    assert config.store.url.rpartition(":")[2] in (DEBIAN / "influxdb.conf").read_text("utf-8")


def unit(name: str) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(DEBIAN / name, "utf-8")
    return parser


def test_the_unit_starts_what_is_installed_and_may_do_little() -> None:
    service = unit("nenghao-aggregator.service")["Service"]
    assert service["ExecStart"].split() == [
        "/opt/nenghao/current/bin/nenghao", "aggregate", "--config", "/etc/nenghao/aggregator.toml",
    ]  # fmt: skip
    assert service["User"] == "nenghao"
    assert service["CapabilityBoundingSet"] == ""
    for name in (
        "NoNewPrivileges",
        "PrivateTmp",
        "PrivateDevices",
        "ProtectHome",
        "LockPersonality",
    ):
        assert service[name] == "yes", name
    assert service["ProtectSystem"] == "strict"
    assert service["Environment"] == "NUMBA_CACHE_DIR=/var/cache/nenghao"
    assert service["StateDirectory"] == service["CacheDirectory"] == "nenghao"
    for name, config in (("mosquitto", "mosquitto/mosquitto.conf"), ("influxdb", "influxdb.conf")):
        dropped = unit(f"{name}-nenghao.conf")["Service"]
        assert dropped["ExecStart"].endswith(f" /etc/nenghao/{config}")
        assert f"{name}.service.d/nenghao.conf" in INSTALL
    settle = unit("influxdb-nenghao.conf")["Service"]["ExecStartPre"].lstrip("-").split()
    assert settle == ["/opt/nenghao/influx-settle", "/etc/nenghao/influxdb.conf"]
    assert "debian/influx-settle" in INSTALL
    assert unit("mosquitto-nenghao.conf")["Service"]["WorkingDirectory"] == "/etc/nenghao/mosquitto"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_understands_the_unit_and_finds_it_hardened(tmp_path: Path) -> None:
    text = (DEBIAN / "nenghao-aggregator.service").read_text("utf-8")
    file = tmp_path / "nenghao-aggregator.service"
    file.write_text(re.sub("^ExecStart=.*$", "ExecStart=/bin/true", text, flags=re.MULTILINE))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", file], capture_output=True, text=True, timeout=60
    )
    ours = [line for line in verified.stderr.splitlines() if "nenghao" in line]
    assert ours == []
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", file],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    exposure = re.search(r"exposure level for \S+: ([0-9.]+)", judged.stdout)
    assert exposure is not None, judged.stderr
    assert float(exposure[1]) <= 2.0


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_plain_sh(name: str) -> None:
    script = DEPLOY / name
    first = script.read_text("utf-8").splitlines()[0]
    assert first == "#!/bin/sh"
    checked = subprocess.run(["sh", "-n", script], capture_output=True, text=True, timeout=20)
    assert (checked.returncode, checked.stderr) == (0, "")
    shellcheck = shutil.which("shellcheck")
    if shellcheck is not None:
        found = subprocess.run([shellcheck, script], capture_output=True, text=True, timeout=60)
        assert found.returncode == 0, found.stdout


@pytest.mark.parametrize(
    "arguments",
    [["--region"], ["--region", "3701"], ["--colour", "red"], ["--region", "37011x"]],
)
def test_a_call_that_cannot_be_meant_changes_nothing(arguments: list[str], tmp_path: Path) -> None:
    """In a place of its own: the script is told that it is not root."""
    fake = tmp_path / "id"
    fake.write_text("#!/bin/sh\necho 1000\n")
    fake.chmod(0o755)
    done = subprocess.run(
        [DEPLOY / "install.sh", *arguments], capture_output=True, text=True, timeout=20,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode != 0
    assert done.stderr
