"""deploy/compose.yaml without a container engine: its parts are there, fit, and hide no default."""

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from aggregator.config import load
from aggregator.register.database import RegisterDatabase
from simulators.district import find_district, load_district

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name for name, one in SERVICES.items() if one["image"].startswith("nenghao:")}
ONCE = {name for name, one in SERVICES.items() if one["restart"] == "no"}
PINNED = re.compile(r"[a-z/-]+:[0-9]+\.[0-9]+\.[0-9]+(@sha256:[0-9a-f]{64})?")
SECRET = re.compile(r"password|passwd|token|secret", re.IGNORECASE)


def text_of(service: dict[str, Any]) -> str:
    return json.dumps(service)


def mounts(service: dict[str, Any]) -> Iterator[tuple[str, str, bool]]:
    """(source, target, read only); of a variable its default."""
    for line in service.get("volumes", ()):
        plain = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", line)
        source, target, *more = plain.split(":")
        yield source, target, more == ["ro"]


def test_every_image_is_pinned_by_a_whole_version() -> None:
    assert [one["image"] for one in SERVICES.values() if not PINNED.fullmatch(one["image"])] == []
    froms = re.findall(r"^FROM (\S+)", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert froms
    assert [one for one in froms if not re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", one)] == []


def test_our_image_is_the_version_of_the_project(pyproject: dict[str, Any]) -> None:
    version = pyproject["project"]["version"]
    assert {SERVICES[name]["image"] for name in OURS} == {f"nenghao:{version}"}


def test_whatever_stays_up_says_whether_it_is_well() -> None:
    for name, service in SERVICES.items():
        if name in ONCE:
            continue
        assert service["restart"] == "unless-stopped", name
        check = service["healthcheck"]
        assert check["test"][0] in ("CMD", "CMD-SHELL"), name
        assert {"interval", "timeout", "retries"} <= check.keys(), name


def test_no_secret_is_written_down_only_files_that_are_made() -> None:
    for name, service in SERVICES.items():
        for key, value in service.get("environment", {}).items():
            if SECRET.search(key):
                assert key.endswith("_FILE"), f"{name}: {key}"
                assert str(value).startswith("/secrets/"), f"{name}: {key}"
    for file in (DEPLOY / "compose").iterdir():
        for line in file.read_text("utf-8").splitlines():
            if SECRET.search(line) and not line.startswith("#"):
                assert re.fullmatch(r'\w+ = "/secrets/[\w/.-]+"', line), f"{file}: {line}"


def test_only_the_broker_leaves_the_host() -> None:
    published = {
        port for service in SERVICES.values() for port in service.get("ports", ())
        if not port.startswith("127.0.0.1:")
    }  # fmt: skip
    assert published == {"8883:8883"}
    assert "listener 8883\n" in (DEPLOY / "mosquitto" / "mosquitto.conf").read_text()


def test_ours_run_with_no_privileges_and_only_what_runs_once_as_root() -> None:
    for name in OURS:
        service = SERVICES[name]
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert ("user" in service) == (name in ONCE), name
    assert "USER nenghao" in (DEPLOY / "Dockerfile").read_text()


def test_what_is_mounted_is_there() -> None:
    declared = set(COMPOSE["volumes"])
    used = set()
    for name, service in SERVICES.items():
        for source, target, read_only in mounts(service):
            assert target.startswith("/"), f"{name}: {target}"
            if source.startswith("."):
                assert read_only, f"{name}: {source}"
                if source.startswith("../grafana") and not (ROOT / "grafana").exists():
                    continue
                assert (DEPLOY / source).exists(), f"{name}: {source}"
            else:
                used.add(source)
    assert used == declared


def test_what_is_waited_for_is_there_and_can_be_waited_for() -> None:
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            finished = how["condition"] == "service_completed_successfully"
            assert finished == (other in ONCE), f"{name} waits for {other}"
            hidden = "demo" in SERVICES[other].get("profiles", ())
            shown = "demo" not in service.get("profiles", ())
            assert not (hidden and shown) or how["required"] is False, f"{name}, {other}"


def test_the_image_holds_every_program_that_is_started() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    copied: list[str] = []
    for line in re.findall(r"^COPY (?!--from)(.+)$", dockerfile, re.MULTILINE):
        *sources, _target = line.split()
        copied += sources
    for source in copied:
        assert (ROOT / source).exists(), source
    programs = {Path(source).name for source in copied} | {"nenghao", "/bin/sh"}
    for name in OURS:
        entry = SERVICES[name].get("entrypoint", ["nenghao"])
        assert entry[0] in programs, name
        if entry[0] == "/bin/sh":
            assert entry[2].removeprefix("exec ").split()[0] in programs, name
    for script in ("ca", "first-start", "influx2-tokens", "demo-setup"):
        assert os.access(DEPLOY / script, os.X_OK), script
    for name in ("deploy/locks/stack.txt", "contract", "edge_agent", "aggregator", "simulators"):
        assert name in copied


def test_commands_are_those_of_the_product() -> None:
    """Each `nenghao` line is understood up to the files that only exist in the container."""
    from aggregator.__main__ import main as aggregate
    from edge_agent.__main__ import _parser as edge_parser
    from simulators.__main__ import _parser as simulate_parser

    command, config, file = SERVICES["aggregator"]["command"]
    assert (command, config) == ("aggregate", "--config")
    assert file in {target for _, target, _ in mounts(SERVICES["aggregator"])}
    for name in ("aggregator.toml", "aggregator-demo.toml"):
        assert aggregate(["--config", str(DEPLOY / "compose" / name), "--check-config"]) == 0
    assert simulate_parser().parse_args(SERVICES["simulators"]["command"][1:]).ports_file
    line = SERVICES["foundry-gw1"]["entrypoint"][2].removeprefix("exec nenghao edge ")
    assert edge_parser().parse_args(line.split()).config


def test_the_demo_has_the_edges_of_its_district() -> None:
    district = load_district(find_district("zhangqiu-demo"))
    edges = {edge for site in district.sites for edge in site.edges}
    demo = {name for name, one in SERVICES.items() if "NENGHAO_EDGE" in text_of(one)}
    assert demo == edges
    assert all(SERVICES[name]["environment"] == {"NENGHAO_EDGE": name} for name in demo)
    settings = dict(
        line.split("=", 1)
        for line in (DEPLOY / "compose" / "demo.env").read_text().splitlines()
        if not line.startswith("#")
    )
    assert settings["COMPOSE_PROFILES"] == "demo"
    assert (DEPLOY / settings["NENGHAO_CONFIG"]).exists()


def test_variables_are_those_that_are_read() -> None:
    text = (DEPLOY / "compose.yaml").read_text("utf-8")
    used = set(re.findall(r"\$\{(\w+)", text))
    assert used == {"NENGHAO_CONFIG", "NENGHAO_BROKER_NAMES", "NENGHAO_LANGUAGE"}
    head = text.partition("\nname:")[0]
    assert all(name in head for name in used)
    # $$ is the container's: it must be given there
    for name, service in SERVICES.items():
        for variable in re.findall(r"\$\$([A-Z_]+)", text_of(service)):
            given = service.get("environment", {}).keys() | {"SYS"}
            assert variable in given, f"{name}: {variable}"


def test_grafana_is_given_what_its_provisioning_asks_for() -> None:
    folder = ROOT / "grafana" / "provisioning"
    if not folder.exists():
        pytest.skip("grafana/ is not in this tree")
    grafana = SERVICES["grafana"]
    given = grafana["environment"].keys()
    secrets = [
        f"{target}/influxdb-token" for _, target, _ in mounts(grafana) if "secrets" in target
    ]
    for source, _, _ in mounts(grafana):
        path = DEPLOY / source
        if "provisioning" in source:
            for file in [path] if path.is_file() else path.rglob("*.yaml"):
                text = file.read_text("utf-8")
                assert set(re.findall(r"\$\{(\w+)\}", text)) <= given, file
                assert set(re.findall(r"\$__file\{(.*?)\}", text)) <= set(secrets), file


def test_the_demo_is_set_up_by_what_it_runs(tmp_path: Path) -> None:
    """Simulators, authority, register and edges' files, in the order of the profile."""
    nenghao = tmp_path / "bin" / "nenghao"
    nenghao.parent.mkdir()
    nenghao.write_text(f'#!/bin/sh\nexec {sys.executable} {ROOT}/nenghao.py "$@"\n')
    nenghao.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{nenghao.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    demo, config = tmp_path / "demo", tmp_path / "aggregator.toml"
    demo.mkdir()
    text = (DEPLOY / "compose" / "aggregator-demo.toml").read_text("utf-8")
    config.write_text(text.replace("/var/lib/nenghao", str(tmp_path / "data")), "utf-8")
    first_start(tmp_path / "secrets")
    meters = subprocess.Popen(
        [nenghao, "simulate", "meters", "--ports-file", demo / "ports.json"], env=environment
    )
    try:
        deadline = time.monotonic() + 30
        while not (demo / "ports.json").exists():
            assert meters.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        for _ in range(2):  # as often as the stack is started
            subprocess.run(
                [DEPLOY / "demo-setup", demo, tmp_path / "secrets" / "ca", config,
                 tmp_path / "data", "mosquitto:8883"],
                env=environment, check=True, timeout=60,
            )  # fmt: skip
        for name in ("foundry-gw1", "hospital-gw1"):
            file = demo / "edges" / f"{name}.toml"
            done = subprocess.run(
                [nenghao, "edge", "check-config", "--config", file],
                env=environment, capture_output=True, text=True, timeout=60,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            assert 'host = "mosquitto"' in file.read_text("utf-8")
    finally:
        meters.terminate()
        meters.wait(20)
    certificate = demo / "tls" / "foundry-gw1" / "cert.pem"
    shown = subprocess.run(
        ["openssl", "x509", "-in", certificate, "-noout", "-subject"],
        capture_output=True, text=True, check=True, timeout=20,
    )  # fmt: skip
    assert "370114/foundry/foundry-gw1" in shown.stdout
    with RegisterDatabase(load(config).aggregator.database_url()) as database:
        database.open()
        assert {"foundry", "chemical", "offices", "hospital"} == set(database.register().sites)


# ------------------------------------------------------------------------------- the first start


def first_start(folder: Path) -> dict[str, Path]:
    subprocess.run(
        [DEPLOY / "first-start", folder, "mosquitto", "localhost", "127.0.0.1"],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    return {str(file.relative_to(folder)): file for file in folder.rglob("*") if file.is_file()}


def digests(files: dict[str, Path]) -> dict[str, str]:
    return {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items()}


def test_secrets_are_made_once_each_for_its_reader_alone(tmp_path: Path) -> None:
    files = first_start(tmp_path / "a")
    other = first_start(tmp_path / "b")
    public = {"cert.pem", "ca.pem"}
    owners = {"mosquitto": 1883, "influxdb": 1000, "grafana": 472, "aggregator": 1000, "ca": 0}
    for name, file in files.items():
        status = file.stat()
        assert status.st_mode & 0o777 == (0o644 if file.name in public and "ca/" not in name
                                          else 0o600), name  # fmt: skip
        if os.getuid() == 0:
            assert status.st_uid == owners[name.partition("/")[0]], name
    passwords = [name for name in files if "password" in name or "token" in name]
    assert len(passwords) == 3
    for name in passwords:
        assert len(files[name].read_text().strip()) == 48
        assert files[name].read_bytes() != other[name].read_bytes()
    before = digests(files)
    assert digests(first_start(tmp_path / "a")) == before | {
        # the authority writes its configuration for where it lies
        "ca/openssl.cnf": digests(files)["ca/openssl.cnf"]
    }


def test_files_that_services_read_are_made_by_the_first_start(tmp_path: Path) -> None:
    made = {f"/secrets/{name}" for name in first_start(tmp_path)}
    later = {"/secrets/aggregator/influxdb-token", "/secrets/grafana/influxdb-token"}
    for name in ("aggregator.toml", "aggregator-demo.toml"):
        config = load(DEPLOY / "compose" / name)
        broker = config.broker
        wanted = {broker.tls_ca, broker.tls_certificate, broker.tls_key, config.store.token_file}
        assert wanted <= made | later
        assert not config.api.local  # so that nobody reads before a token is made
        assert (broker.host, config.store.url) == ("mosquitto", "http://influxdb:8086")
        assert config.store.org == SERVICES["influxdb"]["environment"]["DOCKER_INFLUXDB_INIT_ORG"]
        bucket = SERVICES["influxdb"]["environment"]["DOCKER_INFLUXDB_INIT_BUCKET"]
        assert config.store.database == bucket
        assert SERVICES["influxdb-tokens"]["entrypoint"][2:4] == [config.store.org, bucket]
    for service in SERVICES.values():
        for path in re.findall(r"/secrets/[\w-]+/[\w-]+", text_of(service)):
            assert path in made | later, path
    tls = "/mosquitto/nenghao/tls/"
    text = text_of(SERVICES["mosquitto"]) + (DEPLOY / "mosquitto" / "mosquitto.conf").read_text()
    names = re.findall(tls + r"([\w/]+\.pem)", text) + re.findall(r"file tls/(\w+\.pem)", text)
    assert len(names) == 7
    assert {f"/secrets/mosquitto/{name}" for name in names} <= made


class Influx2(BaseHTTPRequestHandler):
    """The four calls of InfluxDB 2's API that are made, as its documentation has them."""

    def _answer(self, status: int, body: object) -> None:
        payload = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        server: Any = self.server
        if self.headers["Authorization"] != f"Token {server.token}":
            self._answer(401, {"code": "unauthorized"})
        elif self.path.startswith("/api/v2/buckets?name=nenghao&org=nenghao"):
            self._answer(200, {"buckets": [{"id": "b1", "orgID": "o1", "name": "nenghao"}]})
        elif self.path.startswith("/api/v2/dbrps?orgID=o1&bucketID=b1&db=nenghao"):
            self._answer(200, {"content": server.mapped})
        else:
            self._answer(404, {"code": "not found"})

    def do_POST(self) -> None:
        server: Any = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server.asked.append((self.path.rstrip("?"), body))
        if self.path.startswith("/api/v2/dbrps"):
            server.mapped = [body | {"id": "d1"}]
            self._answer(201, body)
        else:
            self._answer(201, body | {"token": f"made-{len(server.asked)}"})


@pytest.fixture
def influx2(tmp_path):
    first_start(tmp_path / "secrets")
    server: Any = HTTPServer(("127.0.0.1", 0), Influx2)
    server.token = (tmp_path / "secrets" / "influxdb" / "admin-token").read_text().strip()
    server.mapped, server.asked = [{"database": "nenghao", "virtual": True}], []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def tokens(
    server: Any, secrets: Path, bucket: str = "nenghao"
) -> "subprocess.CompletedProcess[str]":
    url = f"http://127.0.0.1:{server.server_port}"
    return subprocess.run(
        [DEPLOY / "influx2-tokens", url, "nenghao", bucket, secrets],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_aggregator_and_grafana_get_tokens_for_what_they_do_and_once(influx2, tmp_path) -> None:
    secrets = tmp_path / "secrets"
    done = tokens(influx2, secrets)
    assert done.returncode == 0, done.stderr
    files = [secrets / reader / "influxdb-token" for reader in ("aggregator", "grafana")]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert [file.stat().st_uid for file in files] == [file.parent.stat().st_uid for file in files]
    granted = {
        body["description"]: {one["action"] for one in body["permissions"]}
        for path, body in influx2.asked
        if path == "/api/v2/authorizations"
    }
    assert granted == {"nenghao aggregator": {"read", "write"}, "nenghao grafana": {"read"}}
    assert influx2.mapped[0]["database"] == "nenghao"
    asked = len(influx2.asked)
    assert tokens(influx2, secrets).returncode == 0
    assert len(influx2.asked) == asked


def test_a_bucket_that_is_not_there_or_a_wrong_token_is_told(influx2, tmp_path) -> None:
    secrets = tmp_path / "secrets"
    refused = tokens(influx2, secrets, "other")
    assert (refused.returncode, "404" in refused.stderr) == (1, True)
    influx2.token = "another"
    refused = tokens(influx2, secrets)
    assert (refused.returncode, "401" in refused.stderr) == (1, True)
    assert not (secrets / "grafana" / "influxdb-token").exists()
