"""One chaos run from beginning to verdict.

past     every gateway polls the last hours beside its meters, without network, with a gap that is
         longer than any gap counted as measured: so there are estimated intervals, and a backlog
chaos    all parts run, faults come and go by the schedule
calm     all is healed; the meters stand still; the gateways read them once more and end drained
proof    see `simulators.chaos.proof`
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import httpx

from contract.interval import HOUR_MS, MINUTE_MS, day_start, month_start
from simulators.chaos.acts import SECOND_MS, Acts
from simulators.chaos.faults import Fault, write_script
from simulators.chaos.moments import Moment, report, times_table
from simulators.chaos.proof import (
    LEVELS,
    Figures,
    Lost,
    check_figures,
    check_levels,
    check_outboxes,
    check_readings,
    check_truth,
    parse_figures,
)
from simulators.chaos.records import read_embedded, read_influx, read_served
from simulators.chaos.world import (
    AGGREGATOR,
    BROKER,
    DATABASE,
    GRID_MIN,
    HOST,
    STORE,
    ChaosError,
    Setting,
    World,
    wall_ms,
)
from simulators.demo.proof import Verdict, compare, parse_booked, parse_served

CALM_S = 240.0
WATCH_S = 0.2
PAGE_MS = 6 * HOUR_MS
"""So much is asked of the API at once."""
UNANSWERED_MS = 6_000
"""A meter is asked for at most so long before it is said to be lost."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to. problems: empty when all is proved."""

    problems: tuple[str, ...]
    channels: int = 0
    readings: int = 0
    intervals: int = 0
    estimated: int = 0
    excused: int = 0

    def __str__(self) -> str:
        return (
            f"{self.readings} readings stored, {self.excused} answers lost before a commit; "
            f"{self.channels} counters, {self.intervals} intervals, {self.estimated} estimated"
        )


class Run:
    """One run; `say` gets a line for everything that happens."""

    def __init__(
        self, setting: Setting, faults: Sequence[Fault], say: Callable[[str], None]
    ) -> None:
        """`faults` as of `faults.check_apart`."""
        self._setting = setting
        self._faults = faults
        self._moments = [Moment(fault) for fault in faults]
        self._say = say
        self._world = World(setting)
        self._acts = Acts(self._world)
        self._held_ms = 0
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}

    async def prove(self) -> Result:
        """All of it; nothing is left running."""
        folder = self._setting.folder
        (folder / "faults.csv").write_text(write_script(self._faults), "utf-8")
        try:
            await self._begin()
            await self._chaos()
            await self._calm()
            return await self._proof()
        except BaseException:
            self._world.freeze()
            raise
        finally:
            await self._world.stop()

    async def _begin(self) -> None:
        world = self._world
        await world.build()
        await asyncio.gather(*(self._past(edge) for edge in world.edges))
        if self._setting.influx:
            await world.start(STORE)
            await world.ready(STORE)
        await world.start(BROKER)
        await world.ready(BROKER)
        await world.start(AGGREGATOR)
        await world.ready(AGGREGATOR)
        for edge in world.edges:
            await world.control({"group": edge, "live": True})
            await world.start(edge)
        # A register that nobody has yet could be lost, and with it the energy before the next one.
        await world.until(self._all_known, "every meter is in the ledger", CALM_S)
        self._say("all parts run; a past with a gap is in the outboxes; chaos begins")

    async def _past(self, edge: str) -> None:
        draw = random.Random(f"{self._setting.seed} {edge}")
        now_ms = wall_ms() // MINUTE_MS * MINUTE_MS
        away_ms = draw.randrange(32, 50) * MINUTE_MS
        back_ms = now_ms - draw.randrange(5, 15) * MINUTE_MS
        left_ms = back_ms - away_ms
        await self._world.step(edge, left_ms - draw.randrange(5, 15) * MINUTE_MS, left_ms)
        await self._world.step(edge, back_ms, now_ms)

    async def _all_known(self) -> bool:
        world = self._world
        rows = [row for site in world.sites for row in await world.api.proof(site)]
        known = {(row["site"], row["meter"]) for row in rows if row["received"] > 1}
        return known >= world.ports.meters.keys()

    # ------------------------------------------------------------------------------- chaos

    async def _chaos(self) -> None:
        began_s = time.monotonic()
        tasks = {asyncio.create_task(self._one(one, began_s)) for one in self._moments}
        try:
            while tasks:
                done, tasks = await asyncio.wait(
                    tasks, timeout=WATCH_S, return_when=asyncio.FIRST_EXCEPTION
                )
                for task in done:
                    task.result()
                await self._world.watch()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            (self._setting.folder / "times.csv").write_text(times_table(self._moments), "utf-8")
            for line in report(self._moments):
                self._say(line)

    async def _one(self, moment: Moment, began_s: float) -> None:
        fault = moment.fault
        await asyncio.sleep(began_s + fault.at_s - time.monotonic())
        # What is put right takes its time: the next fault of the same part waits for it.
        async with self._locks.setdefault((fault.part, fault.target), asyncio.Lock()):
            self._say(str(fault))
            await self._acts.begin(fault)
            moment.began_s = time.monotonic() - began_s
            await asyncio.sleep(fault.for_s)
            moment.ended_s = time.monotonic() - began_s
            await self._acts.heal(fault)
            moment.healed_s = time.monotonic() - began_s
            moment.touched = self._acts.touched.get(fault)
            self._say(moment.over())

    # -------------------------------------------------------------------------------- calm

    async def _calm(self) -> None:
        world = self._world
        for name in [BROKER, AGGREGATOR, *([STORE] if STORE in world.running else [])]:
            await world.ready(name)
        await world.until(self._drained, "all edges are there and their outboxes empty", CALM_S)
        self._held_ms = wall_ms()
        for site in world.sites:
            await world.control({"group": site, "time_ms": self._held_ms})
        differences: list[Verdict] = []

        async def agreed() -> bool:
            rows = (await world.control({"served": True}))["served"]
            differences[:] = [one for one in await self._totals() if one.problems]
            return not differences and min(r["last"]["time_ms"] for r in rows) >= self._held_ms

        try:
            await world.until(agreed, "ledger = served", CALM_S)
        except ChaosError as error:
            raise ChaosError("\n".join([str(error), *map(_line, differences)])) from None
        for edge in world.edges:
            await world.end(edge)
        self._say("all is healed, the meters stand still, the outboxes are empty")

    async def _drained(self) -> bool:
        now = await self._world.api.now()
        edges = len(self._world.edges)
        return now is not None and now.edges_online == edges and now.outbox_batches <= 2 * edges

    async def _totals(self) -> list[Verdict]:
        world = self._world
        served = (await world.control({"served": True}))["served"]
        booked = [row for site in world.sites for row in await world.api.proof(site)]
        return compare(map(parse_served, served), map(parse_booked, booked))

    # ------------------------------------------------------------------------------- proof

    async def _proof(self) -> Result:
        world = self._world
        totals = await self._totals()
        problems = [_line(one) for one in totals if one.problems]
        figures = await self._figures("interval")
        await world.until(lambda: self._summed(figures), "hours, days and months", CALM_S)
        rows = (await world.control({"served": True}))["served"]
        scale = {
            (row["site"], row["meter"], row["channel"]): (
                row["multiplier"],
                row["step_micro"] * row["multiplier"],
            )
            for row in rows
        }
        outboxes = {edge: await world.outbox(edge) for edge in world.edges}
        await world.end(AGGREGATOR)
        if self._setting.influx:
            stored = read_influx(f"http://{HOST}:{world.store_port}", DATABASE)
        else:
            stored = read_embedded(self._setting.folder / "store" / "ledger.duckdb")
        served = read_served(self._setting.folder / "served.csv")
        problems += check_truth(served, scale)
        meters = {(s.id, m.id): m for s in world.district.sites for m in s.meters}
        wrong, excused = check_readings(
            served,
            stored,
            {name: meter.edge for name, meter in meters.items()},
            [*self._acts.lost, *(one for edge in world.edges for one in self._unanswered(edge))],
            self._held_ms,
        )
        problems += wrong
        problems += check_outboxes(stored, outboxes, doubles=self._setting.influx)
        multipliers = {name: meter.multiplier for name, meter in meters.items()}
        problems += check_figures(stored, multipliers, figures, GRID_MIN * MINUTE_MS)
        every = [one for intervals in figures.values() for one in intervals.values()]
        return Result(
            tuple(problems),
            channels=len(totals),
            readings=sum(map(len, stored.by_edge.values())),
            intervals=len(every),
            estimated=sum(bool(one.estimated_ms) for one in every),
            excused=excused,
        )

    def _unanswered(self, edge: str) -> Iterator[Lost]:
        """When a gateway said that a meter did not answer: it may have, too late for it."""
        with (self._setting.folder / "logs" / f"{edge}.log").open("rb") as log:
            for line in log:
                with contextlib.suppress(ValueError):
                    told = json.loads(line)
                    if told["event"] != "meter_lost":
                        continue
                    for off_ms in (0, *self._acts.jumps_ms[edge]):
                        time_ms = told["time_ms"] - off_ms
                        yield Lost(edge, time_ms - UNANSWERED_MS, time_ms + SECOND_MS)

    async def _summed(self, figures: Figures) -> bool:
        levels = {level: await self._figures(level) for level in LEVELS}
        return not check_levels(figures, levels)

    async def _figures(self, level: str) -> Figures:
        """All figures of a level since the meters' origin."""
        to_ms = wall_ms() + 1
        from_ms = day_start(self._world.origin_ms)
        step_ms = PAGE_MS
        if level != "interval":
            from_ms, step_ms = month_start(from_ms), to_ms
        rows = []
        async with httpx.AsyncClient(
            base_url=f"http://{HOST}:{self._world.api_port}", timeout=60, trust_env=False
        ) as client:
            for begin_ms in range(from_ms, to_ms, step_ms):
                period = {"from": begin_ms, "to": min(begin_ms + step_ms, to_ms)}
                answer = await client.get("/api/v1/intervals", params={"level": level, **period})
                answer.raise_for_status()
                rows += answer.json()["intervals"]
        return parse_figures(rows)


def _line(verdict: Verdict) -> str:
    return f"{verdict.site}/{verdict.meter}/{verdict.channel}: {'; '.join(verdict.problems)}"
