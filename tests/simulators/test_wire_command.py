"""`nenghao simulate wire`: meters on one line, read by the edge as the printed bus says."""

import asyncio
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.clock import SystemClock
from edge_agent.config import PollConfig
from edge_agent.events import MeterLost
from edge_agent.links.registry import make_link
from edge_agent.poller import BusPoller
from edge_agent.registers import load_device_maps
from simulators.__main__ import main
from simulators.bench import build_bench, spoil
from tests.edge_agent.test_shared_wire import edge_config

MODELS = ("chint-dtsu666", "dlt645-2007-single-phase", "kamstrup-multical-601")


@pytest.mark.parametrize("where", ["pty", "tcp"])
async def test_the_printed_bus_reads_the_meters(tmp_path, where):
    options = ["--pty", str(tmp_path / "line"), "--baud", "115200"] if where == "pty" else []
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "simulators", "wire", *MODELS, *options, "--fault", "2=silent",
        "--fault", "3=foreign", "--echo", stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parent.parent.parent, env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        text = b""
        async with asyncio.timeout(30):
            while b'id = "m3"' not in text or not text.endswith(b"\n\n"):
                text += await process.stdout.readline()
        (bus,) = edge_config(text.decode()).buses
        taken: dict[str, int] = {}
        events: list[object] = []

        class Sink:
            def append(self, readings):
                taken[readings[0].meter] = len(readings)

        poller = BusPoller(
            replace(bus, timeout_s=1.5), PollConfig(60), load_device_maps(MODELS), make_link,
            SystemClock(), Sink(), events.append,
        )  # fmt: skip
        await poller.poll_once()
        await poller.close()
        assert set(taken) == {"m1", "m3"}
        assert [type(event) for event in events] == [MeterLost]
    finally:
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            assert await process.wait() == 0
    assert not (tmp_path / "line").is_symlink()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["wire", "acme-1"], "no register map acme-1.toml"),
        (["wire", "abb-b23", "--fault", "2=silent"], "2=silent: NUMBER=KIND"),
        (["wire", "abb-b23", "--fault", "one=silent"], "NUMBER=KIND"),
        (["wire", "abb-b23", "--fault", "1=asleep"], "silent, garbled"),
        (["wire", "abb-b23", "--fault", "1=garbled:0"], "with a share"),
        (["wire", "manual-water"], "nothing speaks 'manual'"),
    ],
)
def test_wrong_calls_are_named(capsys, arguments, says):
    assert main(arguments) == 2
    assert says in capsys.readouterr().err


def test_defects_by_name_change_what_a_meter_shows():
    hour_ms = 3_600_000
    for kind, channel in (
        ("stuck", "energy_import"), ("reset", "energy_import"), ("swapped", "power_b"),
        ("reversed", "power_a"), ("ratio", "power"), ("exchange", "energy_import"),
        ("rollover", "energy_import"),
    ):  # fmt: skip
        shown = []
        for spoiled in (False, True):
            bench = build_bench(["dlt645-2007-three-phase"], 0, lambda: 0)
            (meter,) = bench.meters
            if spoiled:
                spoil(bench, 1, kind, 5 * hour_ms)
            register = next(r for r in meter.device.registers if r.channel == channel)
            shown.append(meter.number(register, 7 * hour_ms))
        if kind != "swapped":  # the phases of this load are alike
            assert shown[0] != shown[1], kind
