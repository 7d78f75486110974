"""The lockstep run against a control port of the test's own and a meter that is not there."""

import asyncio
import json
import sys

from edge_agent.outbox.inspection import inspect
from simulators.demo.processes import free_port

TOML = """
[edge]
region = "370114"
site = "foundry"
id = "gw1"
data_dir = "data"
[uplink]
host = "127.0.0.1"
[[bus]]
id = "bus1"
host = "127.0.0.1"
port = {port}
timeout_s = 0.5
[[bus.meter]]
id = "em-01"
model = "eastron-sdm630"
"""


async def run_steps(tmp_path, answer: bytes, *times: str):
    asked: list[dict[str, object]] = []

    async def control(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            asked.append(json.loads(line))
            writer.write(answer)
        writer.close()

    config = tmp_path / "edge.toml"
    config.write_text(TOML.format(port=free_port()))
    server = await asyncio.start_server(control, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "edge_agent", "run", "--config", str(config)),
            *("--step-from", times[0], "--step-to", times[1], "--step-s", "60"),
            *("--control", f"127.0.0.1:{port}"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode, asked, out.splitlines(), err.splitlines()


async def test_each_step_sets_the_time_of_the_site_first(tmp_path):
    code, asked, out, err = await run_steps(
        tmp_path, b'{"ok":true}\n', "2026-11-20T08:00:00+08:00", "2026-11-20T10:00:00+08:00"
    )
    first = 1_795_132_800_000
    assert code == 0, err
    assert asked == [{"group": "foundry", "time_ms": first + 60_000 * i} for i in range(121)]
    told = [json.loads(line) for line in out]
    assert [line["time_ms"] for line in told] == [
        first + 60_000 * 59, first + 60_000 * 119, first + 60_000 * 120,
    ]  # fmt: skip
    assert {line["event"] for line in told} == {"step"}
    assert [json.loads(line)["event"] for line in err] == ["meter_lost"]
    assert inspect(tmp_path / "data" / "outbox.sqlite").next_seq == 1


async def test_a_simulator_that_refuses_ends_the_run(tmp_path):
    code, asked, _, err = await run_steps(tmp_path, b'{"ok":false}\n', "0", "60000")
    assert code == 1
    assert len(asked) == 1
    last = json.loads(err[-1])
    assert last["event"] == "agent_failed"
    assert "control 127.0.0.1" in last["reason"]
