"""The demo as a person runs it, on a small district; and that nothing of it stays behind."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from simulators.demo.clients import parse_now
from simulators.demo.conductor import DemoFailedError, prepare_work_dir
from simulators.demo.processes import Processes, ProcessFailedError, free_port, listens
from simulators.demo.proof import Line, Verdict
from simulators.demo.view import Scene, plain_line, proof_table, render, save_picture

SMALL = Path(__file__).with_name("small-district.toml")
START_S = 60.0


def until(condition: Callable[[], bool], what: str, timeout_s: float = START_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not in {timeout_s} s: {what}"
        time.sleep(0.05)


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `nenghao demo` on the small district; kills what a failed test leaves."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "simulators.demo", "--no-live-view"]
        command += ["--district", str(SMALL), "--work-dir", str(tmp_path / "w")]
        process = subprocess.Popen(
            [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()
        assert process.stdout is not None
        process.stdout.close()


def children_and_ports(process: subprocess.Popen[str]) -> tuple[list[psutil.Process], list[int]]:
    children = psutil.Process(process.pid).children(recursive=True)
    ports = [
        connection.laddr.port
        for child in children
        for connection in child.net_connections(kind="tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    return children, ports


def assert_gone(children: list[psutil.Process], ports: list[int]) -> None:
    until(lambda: not any(child.is_running() for child in children), "children end", 15)
    for port in ports:
        assert not asyncio.run(listens("127.0.0.1", port)), f"port {port} is still taken"


def wait_for_line(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if text in line:
            return
    pytest.fail(f"no line with {text!r} in:\n{''.join(seen)}")


@pytest.mark.timeout(240)
def test_the_whole_road_twice(demo: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    """Meters, edges, broker, aggregator, store, proof: exit 0; and at once again, interrupted."""
    picture = tmp_path / "picture.svg"
    first = demo("--seconds", "1", "--keep", "--save-picture", str(picture))
    output, _ = first.communicate(timeout=200)
    assert first.returncode == 0, output
    assert "All 6 registers agree" in output
    assert re.search(r"console .*: http://127\.0\.0\.1:\d+/\n", output)
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)\S*", picture.read_text("utf-8")) == []

    second = demo("--seconds", "0")
    wait_for_line(second, "backlog")
    until(lambda: len(children_and_ports(second)[0]) >= 5, "broker, meters, aggregator, 2 edges")
    children, ports = children_and_ports(second)
    assert len(ports) >= 7  # broker, API, 3 meters, control ports
    second.send_signal(signal.SIGINT)
    assert second.wait(30) == 130
    assert_gone(children, ports)


@pytest.mark.timeout(120)
def test_killed_without_warning_it_leaves_nothing(
    demo: Callable[..., subprocess.Popen[str]],
) -> None:
    process = demo("--seconds", "0")
    wait_for_line(process, "aggregator")
    until(lambda: len(children_and_ports(process)[0]) >= 3, "broker, meters, aggregator")
    children, ports = children_and_ports(process)
    process.kill()
    process.wait()
    assert_gone(children, ports)


@pytest.mark.timeout(60)
def test_a_broker_that_is_not_there_is_said(
    demo: Callable[..., subprocess.Popen[str]],
) -> None:
    process = demo("--broker", f"127.0.0.1:{free_port()}")
    output, _ = process.communicate(timeout=50)
    assert process.returncode == 1
    assert "no broker answers" in output


def test_a_part_that_fails_shows_its_log(tmp_path: Path) -> None:
    async def play() -> None:
        processes = Processes(tmp_path)
        child = await processes.start("edge", "edge_agent", ["run", "--config", "nowhere.toml"])
        with pytest.raises(ProcessFailedError, match=r"(?s)edge ended with 2.*nowhere\.toml"):
            await processes.finish(child)

        async def never() -> bool:
            return False

        with pytest.raises(ProcessFailedError, match="edge ended"):
            await processes.until_ready(child, never, 10)
        with pytest.raises(ProcessFailedError, match="edge ended with 2"):
            processes.check_running([child])

    asyncio.run(play())


def test_who_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stubborn.py").write_text(
        "import signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('here', flush=True)\n"
        "time.sleep(600)\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{Path.cwd()}")

    async def play() -> None:
        processes = Processes(tmp_path)
        here = asyncio.Event()
        child = await processes.start("stubborn", "stubborn", [], lambda _: here.set())
        async with asyncio.timeout(20):
            await here.wait()
        await processes.stop_all(0.2)
        assert child.process.returncode == -signal.SIGKILL

    asyncio.run(play())


def test_a_folder_with_other_things_is_not_emptied(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(DemoFailedError, match="other things"):
        prepare_work_dir(tmp_path)
    assert (tmp_path / "thesis.txt").exists()
    folder = tmp_path / "new" / "demo"
    prepare_work_dir(folder)
    (folder / "old.log").write_text("x")
    prepare_work_dir(folder)
    assert not (folder / "old.log").exists()


NOW = {
    "time_ms": 1,
    "readings_per_s": 41234.0,
    "edges_online": 1,
    "edges_total": 2,
    "outbox_depth_batches": 3,
    "outbox_depth_readings": 4567,
    "sites": [
        {
            "site": "works",
            "name_zh": "厂",
            "name_en": "Works",
            "power_kw": None,
            "today": {
                "carriers": [
                    {"carrier": "electricity", "consumption": {"energy_kwh": 1234.5}},
                    {"carrier": "water", "consumption": {"volume_m3": 8.0}},
                ],
                "total": {"tce_calorific": 0.15, "co2_t": None},
                "measured_share": 0.995,
            },
        }
    ],
}


def test_the_view_shows_unknown_as_unknown(tmp_path: Path) -> None:
    scene = Scene("title", "live", {"gw1": 0.25}, parse_now(NOW), 12.0, "note")
    line = plain_line(scene)
    assert "works – kW 0.15 tce" in line
    assert "backlog 25%" in line
    assert "edges 1/2" in line
    verdict = Verdict("works", "m", "energy_import", "electricity", 5, 4, 3, 10, ("one off",))
    table = proof_table([Line("works", "electricity", "kWh", 1, 0, 5, 4, 3, 1, 0.1)], [verdict])
    path = tmp_path / "shown.svg"
    save_picture(path, render(scene), table)
    shown = re.sub(r"<[^>]*>|&#160;", " ", path.read_text("utf-8"))
    for text in ("1,234.5", "99.5%", "4,567", "41,234", "one off", "FAIL"):
        assert text in re.sub(r"\s+", " ", shown), text
