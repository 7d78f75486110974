"""`nenghao edge handover`: what a gateway lives through in years, in a minute, and the proof.

Simulated meters, a broker, the aggregator with its store and one edge agent, each a process. The
network is cut, the agent killed, its clock set by hours and by decades, a meter exchanged, its disk
filled; in the end the energy that the meters served must be the energy that is stored.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from contract.channels import catalogue
from contract.units import MICRO
from simulators.demo.clients import Api, ask_control
from simulators.demo.conductor import aggregator_config
from simulators.demo.processes import Child, Processes, ProcessFailedError, free_port, listens
from simulators.demo.proof import Served, Verdict, compare, parse_booked, parse_served
from simulators.district import find_district, load_district
from simulators.server import read_ports
from simulators.workspace import Pace, write_edges, write_register

HOST = "127.0.0.1"
PACE = Pace(poll_s=1.0, commit_s=1.0, state_s=1.0)
NEW_METER_MICRO = 7 * MICRO
EXCHANGED = "em-furnace"
READY_S = 90.0
_UPLINK = "ack_timeout_s = 1.0\nack_timeout_max_s = 3.0\nreconnect_max_s = 1.0\n"
_HOUR_MS, _YEAR_MS = 3_600_000, 365 * 86_400_000


class HandoverFailedError(RuntimeError):
    """What should have happened did not; the message says what."""


class Handover:
    """One run in `folder`; `say` gets a line for everything that is done."""

    def __init__(self, folder: Path, phase_s: float, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._phase_s = phase_s
        self._say = say
        self._processes = Processes(folder / "logs")
        self._district = load_district(find_district("handover"))
        self._clock = folder / "clock-is-off-by"
        self._broker_port = free_port()
        self._api_port = free_port()
        self._api = Api(f"http://{HOST}:{self._api_port}")
        self._exchange: Mapping[str, Any] = {}
        self._edge: Child
        self._broker: Child

    async def run(self) -> list[Verdict]:
        """All of it; nothing is left running."""
        try:
            await self._start()
            for act in (
                self._cut_network,
                self._kill_agent,
                self._jump_clock,
                self._lose_the_time,
                self._exchange_meter,
                self._fill_disk,
            ):
                await act()
            return await self._prove()
        finally:
            await self._processes.stop_all()
            await self._api.aclose()

    # ---------------------------------------------------------------------------- parts

    async def _start(self) -> None:
        folder = self._folder
        ports_file = folder / "ports.json"
        child = await self._processes.start(
            "meters",
            "simulators",
            ["meters", "--district", "handover", "--ports-file", str(ports_file)],
        )

        async def written() -> bool:
            return ports_file.exists()

        await self._processes.until_ready(child, written, READY_S)
        self._ports = read_ports(ports_file)
        broker = (HOST, self._broker_port)
        (self._files,) = write_edges(
            self._district, self._ports.meters, broker, folder / "edges", PACE
        )
        text = self._files.config.read_text("utf-8")
        self._files.config.write_text(text.replace("[uplink]\n", f"[uplink]\n{_UPLINK}"), "utf-8")
        write_register(self._district, folder / "register")
        config = folder / "aggregator.toml"
        config.write_text(
            aggregator_config(self._district.region, folder, broker, self._api_port), "utf-8"
        )
        await self._start_broker()
        child = await self._processes.start("aggregator", "aggregator", ["--config", str(config)])
        await self._processes.until_ready(child, self._api.healthy, READY_S)
        await self._start_edge()
        await self._until(self._booked, "readings in the ledger")
        self._say("meters, broker, aggregator and edge run; readings are in the ledger")
        await asyncio.sleep(self._phase_s / 2)

    async def _start_broker(self) -> None:
        port = self._broker_port
        self._broker = await self._processes.start("broker", "simulators.demo.broker", [str(port)])
        await self._processes.until_ready(self._broker, lambda: listens(HOST, port), READY_S)

    async def _start_edge(self) -> None:
        arguments = [str(self._clock), "edge_agent", "run", "--config", str(self._files.config)]
        self._edge = await self._processes.start("edge", "simulators.demo.wallclock", arguments)

    @staticmethod
    async def _kill(child: Child) -> None:
        child.process.kill()
        await child.process.wait()

    # ----------------------------------------------------------------------------- acts

    async def _cut_network(self) -> None:
        await self._kill(self._broker)
        await asyncio.sleep(self._phase_s)
        await self._start_broker()
        self._say(f"network cut for {self._phase_s:.0f} s, broker killed with all it had")
        await self._drained()

    async def _kill_agent(self) -> None:
        await self._kill(self._broker)
        await asyncio.sleep(self._phase_s / 2)
        await self._kill(self._edge)
        await self._start_edge()
        await asyncio.sleep(self._phase_s / 2)
        await self._start_broker()
        self._say("agent killed (SIGKILL) without network, started again")
        await self._drained()

    async def _jump_clock(self) -> None:
        for off_ms in (2 * _HOUR_MS, -3 * _HOUR_MS):
            self._clock.write_text(str(off_ms), "ascii")
            await asyncio.sleep(self._phase_s / 2)
        self._say("wall clock set 2 h ahead, then 3 h back, while it runs")

    async def _lose_the_time(self) -> None:
        """As after a power cut on a gateway without a battery: the clock shows decades ago."""
        await self._kill(self._edge)
        self._clock.write_text(str(-30 * _YEAR_MS), "ascii")
        (self._files.config.parent / self._files.edge / "clock.json").unlink(missing_ok=True)
        await self._kill(self._broker)
        await self._start_edge()
        await asyncio.sleep(self._phase_s)
        held = (await self._outbox())["timeless_readings"]
        await self._start_broker()
        await self._drained()
        self._say(f"started 30 years ago without network: {held} readings held, then placed")
        if not held:
            raise HandoverFailedError("no reading was held while nobody knew the time")

    async def _exchange_meter(self) -> None:
        name = f"{self._files.site}/{EXCHANGED}"
        request = {"exchange": name, "shown_micro": NEW_METER_MICRO}
        self._exchange = await self._ask(request)
        await asyncio.sleep(self._phase_s)
        await self._processes.finish(
            await self._processes.start(
                "token",
                "aggregator.tokens_command",
                [
                    *("add", "--name", "handover", "--role", "engineer", "--everything"),
                    *("--file", str(self._folder / "token")),
                    *("--config", str(self._folder / "aggregator.toml")),
                ],
            )
        )
        self._api.authorize((self._folder / "token").read_text("ascii").strip())
        for channel, final_micro in self._exchange["final"].items():
            await self._api.tell(
                {
                    "kind": "exchange",
                    "site": self._files.site,
                    "meter": EXCHANGED,
                    "channel": channel,
                    "at_ms": self._exchange["time_ms"],
                    "final_kwh": str(final_micro / MICRO),
                    "start_kwh": str(NEW_METER_MICRO / MICRO),
                    "author": "handover test",
                    "reason": "the meter was exchanged",
                }
            )
        self._say(f"{EXCHANGED} exchanged, the new one begins at {NEW_METER_MICRO / MICRO:g} kWh")

    async def _fill_disk(self) -> None:
        """No file of the agent can grow: what a full disk does to it."""
        pid, log = self._edge.process.pid, self._edge.log
        shutil.copyfile(log, log.with_suffix(".before-full-disk.log"))
        os.truncate(log, 0)  # what happens now is read there, and it may not grow much either
        before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, before[1]))
        await asyncio.sleep(self._phase_s)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
        await self._until(self._recovered, "the outbox takes readings again")
        self._say(f"disk full for {self._phase_s:.0f} s: commits failed, then went on")

    async def _recovered(self) -> bool:
        log = self._edge.log.read_text("utf-8")
        return '"commit_failed"' in log and '"commit_recovered"' in log

    # ---------------------------------------------------------------------------- proof

    async def _prove(self) -> list[Verdict]:
        now_ms = time.time_ns() // 1_000_000
        await self._ask({"group": self._files.site, "time_ms": now_ms})
        verdicts: list[Verdict] = []

        async def agreed() -> bool:
            verdicts[:] = await self._compare()
            return bool(verdicts) and not any(verdict.problems for verdict in verdicts)

        with contextlib.suppress(HandoverFailedError):
            await self._until(agreed, "served = stored")
        return verdicts

    async def _compare(self) -> list[Verdict]:
        rows = (await self._ask({"served": True}))["served"]
        booked = [parse_booked(row) for row in await self._api.proof(self._files.site)]
        return compare([self._served(row) for row in rows], booked)

    def _served(self, row: Mapping[str, Any]) -> Served:
        """A counter's gain; over an exchange that of the old meter and that of the new one."""
        served = parse_served(row)
        if served.meter != EXCHANGED:
            return served
        final_micro = self._exchange["final"][served.channel]
        gained = (final_micro - served.first_micro) + (served.last_micro - NEW_METER_MICRO)
        return replace(served, gained_micro=gained * row["multiplier"])

    # ---------------------------------------------------------------------------- asking

    async def _ask(self, request: Mapping[str, object]) -> Mapping[str, Any]:
        return await ask_control(self._ports.host, self._ports.control, request)

    async def _outbox(self) -> Mapping[str, Any]:
        lines: list[str] = []
        arguments = ["show-outbox", "--config", str(self._files.config), "--json"]
        child = await self._processes.start("outbox", "edge_agent", arguments, lines.append)
        await self._processes.finish(child)
        shown: Mapping[str, Any] = json.loads("".join(lines))
        return shown

    async def _booked(self) -> bool:
        rows = await self._api.proof(self._files.site)
        return len({row["meter"] for row in rows if row["received"]}) == 3

    async def _drained(self) -> None:
        async def few_left() -> bool:
            now = await self._api.now()
            return now is not None and now.edges_online == 1 and now.outbox_batches <= 2

        await self._until(few_left, "the outbox is drained")

    async def _until(self, condition: Callable[[], Any], what: str) -> None:
        ends_s = time.monotonic() + READY_S
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if await condition():
                    return
            if time.monotonic() > ends_s:
                raise HandoverFailedError(f"not within {READY_S:.0f} s: {what}")
            await asyncio.sleep(0.2)


def table(verdicts: Sequence[Verdict]) -> list[str]:
    """One line per counter: expected kWh = stored kWh."""
    lines = []
    for verdict in verdicts:
        unit = catalogue()[verdict.channel].unit.value
        sign = "=" if verdict.served_micro == verdict.ledger_micro else "!="
        lines.append(
            f"{verdict.meter:<12} {verdict.channel:<22} "
            f"expected {verdict.served_micro / MICRO:>14.6f} {unit} {sign} "
            f"stored {verdict.ledger_micro / MICRO:>14.6f} {unit}"
            + "".join(f"\n    {problem}" for problem in verdict.problems)
        )
    return lines


def main(argv: Sequence[str]) -> int:
    """Run the test; 0 when every expected kWh is stored, 1 when not, 2 for a wrong call."""
    parser = argparse.ArgumentParser(
        prog="nenghao edge handover",
        description="Against simulated meters: cut the network, kill the agent, jump the clock, "
        "exchange a meter, fill the disk; then expected kWh = stored kWh.",
    )
    parser.add_argument(
        "--phase-s", type=float, default=20.0, metavar="S", help="length of each act (default: 20)"
    )
    parser.add_argument("--short", action="store_true", help="about a minute: acts of 3 s")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep logs and stores there")
    arguments = parser.parse_args(list(argv))
    folder = arguments.keep or Path(tempfile.mkdtemp(prefix="nenghao-handover-"))
    folder.mkdir(parents=True, exist_ok=True)
    began_s = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began_s:6.1f} s  {text}", flush=True)

    phase_s = 3.0 if arguments.short else arguments.phase_s
    try:
        verdicts = asyncio.run(Handover(folder.resolve(), phase_s, say).run())
    except (HandoverFailedError, ProcessFailedError, OSError) as error:
        print(f"nenghao edge handover: {error}\nlogs: {folder}", file=sys.stderr)
        return 1
    print("\n".join(table(verdicts)))
    good = bool(verdicts) and not any(verdict.problems for verdict in verdicts)
    say("expected kWh = stored kWh" if good else f"NOT proved; logs: {folder}")
    if good and arguments.keep is None:
        shutil.rmtree(folder)
    return 0 if good else 1


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main(sys.argv[1:]))
