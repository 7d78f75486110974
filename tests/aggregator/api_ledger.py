"""A small known ledger in a real embedded store, for the tests of the API.

Every cumulative channel was read each quarter of an hour from Beijing midnight to noon of one day,
and rose by the same step each time: 48 intervals, all measured.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import numpy as np
from fastapi import FastAPI

from aggregator.api.reader import StoreLedgerReader
from aggregator.batch import IntervalColumns, ReadingColumns
from aggregator.directory import SeriesKey, Source
from aggregator.ledger.factor_tables import builtin_library
from aggregator.ledger.factors import Measure
from aggregator.ledger.tariff_tables import builtin_tariffs
from aggregator.ledger.tariffs import Tariff
from aggregator.proof import ChannelFacts
from aggregator.register.carriers import carriers
from aggregator.register.model import Meter, Register, Role, Site
from aggregator.site_tariffs import SiteTariffs
from aggregator.store.base import Commit
from aggregator.store.embedded import EmbeddedStore
from contract.channels import catalogue
from contract.state import EdgeState, OutboxState
from contract.topics import Address

REGION = "370114"
MIDNIGHT_MS = 1_772_380_800_000  # 2026-03-02T00:00:00+08:00
QUARTER_MS = 900_000
QUARTERS = 48
NOON_MS = MIDNIGHT_MS + QUARTERS * QUARTER_MS
MODULUS_MICRO = 10_000_000_000


def site(id_: str, *tariffs: str) -> Site:
    return Site(
        id_,
        REGION,
        f"{id_} 厂",
        id_.title(),
        "metal casting",
        None,
        10,
        None,
        None,
        tariffs=tariffs,
    )


def meter(site_: str, id_: str, carrier: str, role: Role, multiplier: int = 1) -> Meter:
    return Meter(site_, id_, carrier, role, "", multiplier, "gw1", 0, "")


REGISTER = Register.of(
    [
        site("foundry", "demo-electricity", "demo-coal", "demo-water"),
        site("office"),
        site("empty"),
    ],
    [
        meter("foundry", "grid", "electricity", Role.BOUNDARY_IN, 100),
        meter("foundry", "pv", "electricity", Role.OWN_GENERATION),
        meter("foundry", "line", "electricity", Role.SUB),
        meter("foundry", "belt", "raw_coal", Role.BOUNDARY_IN),
        meter("foundry", "boiler", "steam", Role.CONVERSION_OUT),
        meter("foundry", "water", "water", Role.BOUNDARY_IN),
        meter("foundry", "gas", "natural_gas", Role.BOUNDARY_IN),
        meter("office", "em-01", "electricity", Role.BOUNDARY_IN),
    ],
)

SITE_TARIFFS = SiteTariffs(REGISTER, builtin_tariffs(), QUARTER_MS)

# (site, meter, channel) -> register at midnight and its step per quarter [micro-units of display]
REGISTERS = {
    ("foundry", "grid", "energy_import"): (5_000_000_000, 2_500_000),
    ("foundry", "grid", "energy_export"): (1_000_000, 100_000),
    ("foundry", "pv", "energy_import"): (0, 30_000_000),
    ("foundry", "line", "energy_import"): (7, 90_000_000),
    ("foundry", "belt", "mass"): (123_456, 500_000),
    ("foundry", "boiler", "heat"): (0, 8_000_000),
    ("foundry", "water", "volume"): (42_000_000, 1_000_001),
    ("foundry", "gas", "volume"): (1, 2_000_000),
    ("office", "em-01", "energy_import"): (MODULUS_MICRO - 20_000_000, 4_000_000),
    ("office", "em-99", "energy_import"): (0, 1_000_000),
}
UNREGISTERED = ("office", "em-99", "energy_import")
POWERS = {("foundry", "grid"): 11.0, ("foundry", "pv"): 120.0, ("office", "em-01"): 16.0}


@dataclass(frozen=True)
class Last:
    value: float
    time_ms: int


@dataclass
class FixedLive:
    """What the pipeline would hold in memory."""

    values: dict[int, Last] = field(default_factory=dict)
    edge_states: dict[Address, EdgeState] = field(default_factory=dict)

    def last(self, series: int) -> Last | None:
        return self.values.get(series)

    def states(self) -> Mapping[Address, EdgeState]:
        return dict(self.edge_states)

    def readings_per_s(self, now_ms: int) -> float:
        return 12.5

    @property
    def rolled_up_ms(self) -> int:
        return NOON_MS - 45_000


def multiplier_of(key: SeriesKey) -> int:
    rows = REGISTER.rows.get((key.site, key.meter))
    return rows[-1].multiplier if rows else 1


@dataclass
class Ledger:
    store: EmbeddedStore
    reader: StoreLedgerReader
    live: FixedLive
    clock: list[int]

    def series(self, site_: str, meter_: str, channel: str) -> int:
        return self.store.directory.series.find(SeriesKey(REGION, site_, meter_, channel))


def build(
    folder: Path, set_name: str = "demo", midnight_ms: int = MIDNIGHT_MS, quarters: int = QUARTERS
) -> Ledger:
    """Fill a new store in `folder` and return a reader on it."""
    store = EmbeddedStore(folder / "store.duckdb", QUARTER_MS)
    store.open()
    directory = store.directory
    source = Source(REGION, "foundry", "gw1", "00000000000000aa")
    directory.sources.add(source)
    readings, intervals = [], []
    for (site_, meter_, channel), (start, step) in REGISTERS.items():
        key = SeriesKey(REGION, site_, meter_, channel)
        index = directory.series.add(key)
        count = np.arange(quarters + 1)
        values = (start + step * count) % MODULUS_MICRO
        readings.append(
            ReadingColumns(
                np.full(len(count), index, np.int32),
                midnight_ms + count * QUARTER_MS,
                values.astype(np.int64),
                np.zeros(len(count), np.uint8),
                np.zeros(len(count), np.int32),
                np.ones(len(count), np.int64),
            )
        )
        if (site_, meter_, channel) != UNREGISTERED:
            starts = midnight_ms + count[:-1] * QUARTER_MS
            intervals.append(_intervals(key, index, step, set_name, starts))
    live = FixedLive()
    for (site_, meter_), value in POWERS.items():
        index = directory.series.add(SeriesKey(REGION, site_, meter_, "power"))
        live.values[index] = Last(value, NOON_MS - 5_000)
    live.edge_states[Address(REGION, "foundry", "gw1")] = EdgeState(
        online=True, time_ms=NOON_MS, outbox=OutboxState(depth_batches=3, depth_readings=210)
    )
    base = IntervalColumns.concatenate(intervals)
    empty = ReadingColumns.empty(cumulative=False)
    store.commit(
        Commit(ReadingColumns.concatenate(readings), empty, base, {source: ((1, 1),)}, frozenset())
    )
    clock = [midnight_ms + quarters * QUARTER_MS]
    reader = StoreLedgerReader(
        store,
        REGISTER,
        builtin_library().choose(set_name),
        SITE_TARIFFS,
        live,
        facts=lambda index: _facts(directory.series.key(index)),
        counters=lambda: {"committed_readings": 490},
        now_ms=lambda: clock[0],
    )
    return Ledger(store, reader, live, clock)


def _facts(key: SeriesKey) -> ChannelFacts:
    multiplier = multiplier_of(key)
    return ChannelFacts(multiplier, MODULUS_MICRO * multiplier, 0)


def _intervals(
    key: SeriesKey, index: int, step: int, set_name: str, starts: np.ndarray
) -> IntervalColumns:
    def full(value: int) -> np.ndarray:
        return np.full(len(starts), value, np.int64)

    amount = step * multiplier_of(key)
    row = REGISTER.rows[key.site, key.meter][-1]
    measures = []
    for measure in Measure:
        factor = np.nan
        if carriers()[row.carrier].accounted({key.channel}):
            unit = str(catalogue()[key.channel].unit)
            chosen = builtin_library().choose(set_name)
            steps = chosen.steps(row.carrier, unit, measure, REGION)
            factor = steps.factor[np.searchsorted(steps.valid_from_ms, starts[0], "right") - 1]
        measures.append(np.full(len(starts), amount / 1e6 * factor))
    cost = np.full(len(starts), np.nan)
    tariff = SITE_TARIFFS.find(key.site, row.carrier, str(catalogue()[key.channel].unit))
    if tariff is not None and key.channel in carriers()[row.carrier].forward:
        cost = np.array([amount / 1e6 * price_at(tariff, int(start)) for start in starts])
    return IntervalColumns(
        np.full(len(starts), index, np.int32),
        starts,
        full(amount),
        full(0),
        full(0),
        full(QUARTER_MS),
        full(0),
        full(0),
        full(1),
        full(1),
        full(0),
        measures[0],
        measures[1],
        measures[2],
        cost,
    )


def price_at(tariff: Tariff, time_ms: int) -> float:
    """CNY per unit of the channel at a time."""
    steps = tariff.steps(time_ms, time_ms + 1)
    return float(steps.price[np.searchsorted(steps.valid_from_ms, time_ms, "right") - 1])


class ApiClient:
    """Asks an application in this process; an exception in it comes back as status 500."""

    def __init__(self, app: FastAPI) -> None:
        self._reads_with: str | None = getattr(app.state, "reads_with", None)
        self._runner = asyncio.Runner()
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False),
            base_url="http://aggregator",
        )

    def get(
        self, path: str, params: Mapping[str, Any] | None = None, token: str | None = None
    ) -> httpx.Response:
        """Read, with the token of the app where it has one for that and none is named."""
        return self.ask("GET", path, params=params, token=token or self._reads_with)

    def post(self, path: str, json: Any = None, token: str | None = None) -> httpx.Response:
        return self.ask("POST", path, json=json, token=token)

    def ask(
        self, method: str, path: str, *, token: str | None = None, **more: Any
    ) -> httpx.Response:
        """Ask with a token, or with `headers` as they are given."""
        headers = more.pop("headers", {})
        if token is not None:
            headers = {**headers, "Authorization": f"Bearer {token}"}
        return self._runner.run(self._client.request(method, path, headers=headers, **more))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._runner.run(self._client.aclose())
        self._runner.close()
