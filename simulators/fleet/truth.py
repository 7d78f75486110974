"""Whether the ledger holds what the registers truly counted, asked of the aggregator's API."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from simulators.fleet.messages import meter_id
from simulators.fleet.plan import CUMULATIVE, Plan

_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """Registers of some sites, truth and ledger [micro-units of kWh and kvarh together]."""

    sites: int
    registers: int
    true_micro: int
    booked_micro: int
    problems: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether every register asked for is right to the micro-unit."""
        return not self.problems and self.registers > 0


def chosen_sites(plan: Plan, sites: int) -> Sequence[int]:
    """The edges whose sites are asked for: all (0), or a seeded sample."""
    if not sites or sites >= plan.edges:
        return range(plan.edges)
    return sorted(random.Random(plan.seed).sample(range(plan.edges), sites))


def check_truth(api: str, plan: Plan, made: Sequence[int], sites: int) -> Verdict:
    """Compare /proof with the plan; made: per edge the batches that were acknowledged.

    httpx.HTTPError when the API does not answer.
    """
    chosen = chosen_sites(plan, sites)
    registers = true_micro = booked_micro = 0
    problems: list[str] = []
    with httpx.Client(base_url=api, timeout=_TIMEOUT_S, trust_env=False) as client:
        for edge in chosen:
            site = plan.address(edge).site
            answer = client.get("/api/v1/proof", params={"site": site})
            answer.raise_for_status()
            rows = {(row["meter"], row["channel"]): row for row in answer.json()["channels"]}
            for meter in range(plan.meters_per_edge):
                for channel in CUMULATIVE:
                    row = rows.get((meter_id(meter), channel))
                    name = f"{site}/{meter_id(meter)}/{channel}"
                    if row is None:
                        if made[edge]:
                            problems.append(f"{name}: no reading is in the ledger")
                        continue
                    registers += 1
                    true = _true(plan, edge, meter, channel, row["first_ms"], row["last_ms"])
                    true_micro += true
                    booked_micro += row["booked_micro"]
                    problems += [
                        f"{name}: {found}" for found in _differences(plan, edge, made, row, true)
                    ]
    return Verdict(len(chosen), registers, true_micro, booked_micro, tuple(problems))


def _true(plan: Plan, edge: int, meter: int, channel: str, first_ms: int, last_ms: int) -> int:
    counted = plan.register_micro(edge, meter, channel, last_ms) - plan.register_micro(
        edge, meter, channel, first_ms
    )
    return plan.multiplier(edge, meter) * counted


def _differences(
    plan: Plan, edge: int, made: Sequence[int], row: dict[str, Any], true: int
) -> Iterator[str]:
    last_ms = plan.reading_ms(edge, made[edge] * plan.samples - 1)
    if row["last_ms"] != last_ms:
        yield f"the last reading is of {row['last_ms']}, not of {last_ms}"
    rows = (row["last_ms"] - row["first_ms"]) // plan.poll_ms + 1
    # Of an earlier run of the same fleet the readings between the two runs were never made.
    if row["first_ms"] >= plan.start_ms and row["received"] != rows:
        yield f"{row['received']} readings count, {rows} were sent"
    level = row["level_end_micro"] - row["level_start_micro"]
    if level != true:
        yield f"the register moved by {level}, truly by {true}"
    if row["booked_micro"] != true:
        yield f"{row['booked_micro']} booked and {row['held_micro']} held, truly {true}"
    if not row["closes"]:
        yield f"the proof does not close: {row['difference_micro']}"
