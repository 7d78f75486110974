"""The verdict on a world: ledger against meters, levels against intervals, rows in the store."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import duckdb
import httpx

from contract.interval import HOUR_MS, day_start, month_start
from contract.stored import Level
from simulators.demo.proof import Verdict, compare, parse_booked, parse_served
from tests.integration.world import BACKLOG_MS, World, wall_ms

_SUMMED = ("amount", "amount_estimated", "amount_held")
Figures = dict[tuple[str, str, str, int], tuple[int, ...]]
"""(site, meter, channel, start) -> amounts [micro-units] and slots received."""


async def wait_read(world: World, *edges: str) -> None:
    """Wait until every meter of these edges, or of all, has readings in the ledger."""

    async def known() -> bool:
        rows = [row for site in world.district.sites for row in await world.api.proof(site.id)]
        return world.meters(edges) <= {(r["site"], r["meter"]) for r in rows if r["received"] > 1}

    await world.wait_until(known, f"readings of {edges or 'all edges'} in the ledger")


async def _hold(world: World) -> int:
    """Let all meters stand still from now on; returns the moment they show [UTC ms]."""
    now_ms = wall_ms()
    for site in world.district.sites:
        await world.control({"group": site.id, "time_ms": now_ms})
    return now_ms


async def _compare(world: World) -> tuple[list[Verdict], int]:
    """Served, true and booked by channel; and when the counter was read that waits longest."""
    served = (await world.control({"served": True}))["served"]
    booked = [row for site in world.district.sites for row in await world.api.proof(site.id)]
    verdicts = compare(map(parse_served, served), map(parse_booked, booked))
    return verdicts, min(row["last"]["time_ms"] for row in served)


async def settle(world: World, within_s: float = 30) -> None:
    """Hold the meters still, let the edges read them once more, and end them drained."""
    held_ms = await _hold(world)
    edges = [edge for edge in world.edges if edge in world.running]
    wrong: list[object] = []

    async def agreed() -> bool:
        verdicts, read_ms = await _compare(world)
        wrong[:] = [verdict for verdict in verdicts if verdict.problems]
        if edges and read_ms < held_ms:
            wrong.append("a meter was not read since it stands still")
        return not wrong

    try:
        await world.wait_until(agreed, "ledger = served = true", within_s)
    except AssertionError as error:
        error.add_note("\n".join(map(str, wrong)))
        raise
    for edge in edges:
        await world.end(edge)
        assert world.outbox(edge).unacked_batches == 0, f"{edge} kept batches back"


async def assert_proof(world: World, within_s: float = 30) -> None:
    """Served = ledger to the micro-unit, true within two steps, and all levels agree."""
    await settle(world, within_s)
    verdicts, _ = await _compare(world)
    wrong = [verdict for verdict in verdicts if verdict.problems]
    assert not wrong, "\n".join(map(str, wrong))
    moved = {(v.site, v.meter) for v in verdicts if v.true_micro > 10 * v.step_micro}
    still = sorted(world.meters() - moved)
    assert not still, f"nothing is proved of registers that stood still: {still}"
    await _assert_levels(world, {(v.site, v.meter, v.channel): v.ledger_micro for v in verdicts})


async def _assert_levels(world: World, booked: Mapping[tuple[str, str, str], int]) -> None:
    base = await figures(world, "interval")
    total: dict[tuple[str, str, str], int] = dict.fromkeys(booked, 0)
    for (site, meter, channel, _), amounts in base.items():
        total[site, meter, channel] += amounts[0]
    assert total == booked
    starts: dict[str, Callable[[int], int]] = {
        "hour": lambda time_ms: time_ms // HOUR_MS * HOUR_MS,
        "day": day_start,
        "month": month_start,
    }
    for level, start_of in starts.items():
        sums: Figures = {}
        for (site, meter, channel, start_ms), amounts in base.items():
            key = (site, meter, channel, start_of(start_ms))
            before = sums.get(key, (0,) * len(amounts))
            sums[key] = tuple(a + b for a, b in zip(before, amounts, strict=True))

        async def rolled_up(level: str = level, sums: Figures = sums) -> bool:
            return await figures(world, level) == sums

        await world.wait_until(rolled_up, f"{level} figures are sums of intervals", 10)


async def figures(world: World, level: str) -> Figures:
    """All figures of one level, as the API gives them."""
    now_ms = wall_ms()
    from_ms = day_start(now_ms - BACKLOG_MS)
    period = {"from": month_start(from_ms) if level == "month" else from_ms, "to": now_ms + 1}
    async with httpx.AsyncClient(base_url=world.url, timeout=20, trust_env=False) as client:
        answer = await client.get("/api/v1/intervals", params={"level": level, **period})
    assert answer.status_code == 200, answer.text
    return {
        (row["site"], row["meter"], row["channel"], row["start_ms"]): (
            *(round(sum(row[name].values()) * 1_000_000) for name in _SUMMED),
            row["received"],
        )
        for row in answer.json()["intervals"]
    }


def assert_raw_once(world: World) -> None:
    """Every reading that an outbox holds is in the embedded store, and none is there twice.

    Edges and aggregator have ended: the file belongs to one process.
    """
    held = {edge: world.outbox(edge).held_readings for edge in world.edges}
    assert _raw_rows(world.data_dir / "ledger.duckdb") == {
        edge: (readings, readings) for edge, readings in held.items()
    }


def _raw_rows(file: Path) -> dict[str, tuple[int, int]]:
    """Edge -> (rows, distinct readings) of the raw tables."""
    with duckdb.connect(str(file), read_only=True) as db:
        names = [row[0] for row in db.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
        every = " UNION ALL ".join(
            f"SELECT source, series, time_ms FROM {name}" for name in names if name[-6:].isdigit()
        )
        rows = db.execute(
            "SELECT edge, count(*), count(DISTINCT (source, series, time_ms)) "
            f"FROM ({every}) AS raw JOIN source ON source.id = raw.source GROUP BY edge"
        ).fetchall()
    return {edge: (count, distinct) for edge, count, distinct in rows}


def stored_figures(file: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Every field of every figure of all levels, by names instead of the store's indexes."""
    with duckdb.connect(str(file), read_only=True) as db:
        return {
            str(level): db.execute(
                f"SELECT site, meter, channel, {level}.* EXCLUDE series FROM {level} "
                f"JOIN series ON series.id = {level}.series ORDER BY ALL"
            ).fetchall()
            for level in Level
        }
