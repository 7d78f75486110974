"""Keeps the stored figures of nodes, sites and regions, and their balances, as the ledger is.

Called by the roll-ups with the figures of channels they have just made, in the writing thread. What
a change of the register makes wrong is put right a site's month at a time (`catch_up`), and which
register a site's figures follow is noted (`node_plan`) only when all of them do: a crash between
means doing them again.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from aggregator.balance import CarrierBalance, MeterBalance, NodeBalance, balance
from aggregator.batch import IntervalColumns
from aggregator.node_rows import of_region, taken_back, unlike
from aggregator.nodes import (
    OF_REGIONS,
    Nodes,
    Place,
    SitePlan,
)
from aggregator.periods import level_with_borders
from aggregator.points import Points, Tags
from aggregator.register.limits import Limit, limit_of
from aggregator.restatements import is_settled
from aggregator.silent_sites import with_silent
from aggregator.store.base import CommitResult, Store, refuse
from aggregator.tariff_days import TariffDays
from contract.interval import BEIJING_OFFSET_MS, DAY_MS, day_start, month_start, next_month
from contract.stored import (
    BALANCES,
    INFO_TIME_MS,
    MEASUREMENTS,
    NODE_FIGURES,
    NODE_PLAN,
    PROOF_DAY,
    TARIFF_DAY,
    THE_REGION,
    TOTAL,
    Level,
)

_ALL_TIME_MS = 2**62
_LOOK_BACK_DAYS = 7
"""Days over while no aggregator ran whose balance is made at the start."""
_BALANCES = 100
"""So many are made at once."""
_PPM_PER_PERCENT = 10_000

Steps = Sequence[tuple[int, str]]


class NodeFigures:
    """Writes node figures and balances."""

    def __init__(
        self,
        store: Store,
        nodes: Nodes,
        time_ms: Callable[[], int],
        tariffs: TariffDays | None = None,
    ) -> None:
        """Take what makes the figures; without `tariffs` costs are not told by their periods."""
        self._store = store
        self._tariffs = tariffs
        self._nodes = nodes
        self._refused: Callable[[CommitResult], None] = refuse
        self._time_ms = time_ms
        self._noted: dict[Place, str] = {
            (tags[0], tags[1]): row["steps"]
            for tags, _, row in store.points(NODE_PLAN, INFO_TIME_MS, INFO_TIME_MS + 1).rows()
        }
        """By place: the steps that the stored figures follow."""
        self._seen: dict[Place, SitePlan] = {}
        known = {(key.region, key.site) for key in store.directory.series.keys(0)}
        self._unseen = deque(sorted(known))
        self._months: deque[tuple[Place, int]] = deque()
        self._regions: dict[tuple[str, int], None] = {}
        """(region, day) to be summed again after a change of the register."""
        self._to_note: dict[Place, None] = {}
        self._open: set[tuple[Place, int]] | None = None
        """(site, day) touched while the day was not over: their balance is still to be made."""

    def refused_to(self, note: Callable[[CommitResult], None]) -> None:
        """Let someone keep the lines that the store refuses; until then one ends the run."""
        self._refused = note

    # ------------------------------------------------------------------ with the roll-ups

    def follow(self, places: Iterable[Place]) -> None:
        """Take note of what the register and the channels of sites are now."""
        new = [plan for plan in map(self._nodes.plan, places) if plan is not self._seen_of(plan)]
        unlike = [plan for plan in new if self._noted.get(plan.place) != _text(plan.steps)]
        other = [
            plan
            for plan in unlike
            if (old := self._seen_of(plan)) is None or not self._nodes.only_gained(old, plan)
        ]
        self._months.extend(list(self._months_with_data(other)))
        self._to_note |= {plan.place: None for plan in unlike}
        self._seen |= {plan.place: plan for plan in new}

    def _seen_of(self, plan: SitePlan) -> SitePlan | None:
        return self._seen.get(plan.place)

    def keep(
        self,
        level: Level,
        places: Sequence[Place],
        rows: IntervalColumns,
        from_ms: int,
        to_ms: int,
    ) -> None:
        """Write the nodes of sites from all their channels' figures of a level in a time."""
        self._write(self._nodes.figures(level, places, rows, from_ms, to_ms))

    def keep_tariffs(
        self, places: Sequence[Place], hours: IntervalColumns, from_ms: int, to_ms: int
    ) -> int:
        """Write what sites bought by period of their tariffs on the days in [from_ms, to_ms).

        hours: all hour figures of their cumulative channels that start there, by series.
        """
        if self._tariffs is None:
            return 0
        regions, sites = {region for region, _ in places}, {site for _, site in places}
        where = {"region": regions, "site": sites}
        old = self._store.points(TARIFF_DAY, from_ms, to_ms, where)
        return self._right(old, self._tariffs.points(places, hours, from_ms, to_ms))

    def keep_region(self, region: str, day_ms: int, from_ms: int, to_ms: int) -> None:
        """Sum a region's sites: the hours in [from_ms, to_ms), and their day."""
        self._sum_region(Level.HOUR, region, from_ms, to_ms)
        self._sum_region(Level.DAY, region, day_ms, day_ms + DAY_MS)

    def keep_region_month(self, region: str, month_ms: int) -> int:
        """Sum a region's sites over a month."""
        return self._sum_region(Level.MONTH, region, month_ms, next_month(month_ms))

    def _sum_region(self, level: Level, region: str, from_ms: int, to_ms: int) -> int:
        where = {"region": [region], "node": OF_REGIONS}
        found = self._store.points(NODE_FIGURES[level], from_ms, to_ms, where)
        summed, grid_ms = of_region(level, found), self._store.grid_ms
        made = with_silent(self._nodes, level, region, found, summed, grid_ms)
        own = np.array([tags[1] == THE_REGION for tags in found.keys], np.bool_)
        return self._right(found.take(own[found.key]), made)

    def keep_balances(self, touched: Iterable[tuple[Place, int]]) -> Iterator[int]:
        """Write balances of (site, day) pairs whose day is over, and of those open until now.

        Yields after each some sites, how many. A settled day is due to be proved again.
        """
        now_ms = self._time_ms()
        if self._open is None:
            self._open = self._left_open(now_ms)
        self._open |= set(touched)
        over = sorted(pair for pair in self._open if pair[1] + DAY_MS <= now_ms)
        months = sorted({(place, month_start(day_ms)) for place, day_ms in over})
        for level, starts in ((Level.DAY, over), (Level.MONTH, months)):
            for first in range(0, len(starts), _BALANCES):
                some = starts[first : first + _BALANCES]
                found = [row for place, at in some for row in self._balance(level, place, at)]
                self._write(Points.of_rows(BALANCES[level], found))
                yield len(some)
        self._due_to_be_proved(over)
        self._open -= set(over)

    def _left_open(self, now_ms: int) -> set[tuple[Place, int]]:
        """Return the days with figures and without balance that an earlier process left."""
        since_ms = day_start(now_ms) - _LOOK_BACK_DAYS * DAY_MS

        def days(name: str) -> set[tuple[Place, int]]:
            found = self._store.points(MEASUREMENTS[name], since_ms, now_ms, {"node": [TOTAL]})
            return {
                ((found.keys[k][0], found.keys[k][1]), t)
                for k, t in zip(found.key.tolist(), found.time_ms.tolist(), strict=True)
                if not found.keys[k][1].startswith("_")
            }

        return days("node_day") - days("balance_day")

    # ------------------------------------------------------------------ after a change

    def catch_up(self) -> bool:
        """Do one piece of what a change of the register asks for; False when nothing is left."""
        if self._unseen:
            self.follow([self._unseen.popleft()])
        elif self._months:
            place, month_ms = self._months[0]
            self._redo(place, month_ms, next_month(month_ms))
            for day_ms in range(month_ms, next_month(month_ms), DAY_MS):
                self._regions[place[0], day_ms] = None
            self._months.popleft()
        elif self._regions:
            region, day_ms = next(iter(self._regions))
            self.keep_region(region, day_ms, day_ms, day_ms + DAY_MS)
            self.keep_region_month(region, month_start(day_ms))
            del self._regions[region, day_ms]
        elif self._to_note:
            noted = {place: _text(self._seen[place].steps) for place in self._to_note}
            rows = [(place, INFO_TIME_MS, {"steps": text}) for place, text in noted.items()]
            self._write(Points.of_rows(NODE_PLAN, rows))
            self._noted.update(noted)
            self._to_note.clear()
        else:
            return False
        return True

    def _months_with_data(self, plans: Sequence[SitePlan]) -> Iterator[tuple[Place, int]]:
        """Yield the months of sites whose figures follow another plan."""
        if not plans:
            return
        series = np.sort(np.concatenate([plan.series for plan in plans]))
        found = self._store.intervals(Level.MONTH, series, 0, _ALL_TIME_MS)
        months: dict[int, set[int]] = defaultdict(set)
        for index, month_ms in zip(found.series.tolist(), found.start_ms.tolist(), strict=True):
            months[index].add(month_ms)
        # Of what is new there may be days, and their month is still to be made.
        open_ms = month_start(self._time_ms())
        unlisted = [i for i in series.tolist() if open_ms not in months[i]]
        found = self._store.intervals(Level.DAY, np.array(unlisted, np.int32), 0, _ALL_TIME_MS)
        for index, day_ms in zip(found.series.tolist(), found.start_ms.tolist(), strict=True):
            months[index].add(month_start(day_ms))
        for plan in plans:
            spans = list(_differing(_steps(self._noted.get(plan.place)), plan.steps))
            own = set().union(*(months.get(index, ()) for index in plan.series.tolist()))
            for month_ms in sorted(own):
                if any(low < next_month(month_ms) and high > month_ms for low, high in spans):
                    yield plan.place, month_ms

    def redo(self, place: Place, from_ms: int, to_ms: int, *, changed: bool) -> int:
        """Make a site's figures in part of a month again, and its month's; how many were wrong.

        Its channels' are right. Where those were `changed`, or any is wrong, settled days are due
        to be proved again.
        """
        self.follow([place])
        wrong = self._redo(place, from_ms, to_ms)
        if changed or wrong:
            series = self._nodes.plan(place).series
            days = np.unique(self._store.intervals(Level.DAY, series, from_ms, to_ms).start_ms)
            self._due_to_be_proved((place, day_ms) for day_ms in days.tolist())
        return wrong

    def redo_region(self, region: str, from_ms: int, to_ms: int) -> int:
        """Sum a region's sites again over part of a month, and its month; how many were wrong."""
        days = range(from_ms, to_ms, DAY_MS)
        wrong = sum(self._sum_region(Level.HOUR, region, at, at + DAY_MS) for at in days)
        wrong += self._sum_region(Level.DAY, region, from_ms, to_ms)
        return wrong + self.keep_region_month(region, month_start(from_ms))

    def _due_to_be_proved(self, days: Iterable[tuple[Place, int]]) -> None:
        now_ms = self._time_ms()
        again = {"due": 1, "channels": 0, "not_closing": 0}
        rows = [(place, at, again) for place, at in sorted(days) if is_settled(at, now_ms)]
        self._write(Points.of_rows(PROOF_DAY, rows))

    def _redo(self, place: Place, from_ms: int, to_ms: int) -> int:
        plan, month_ms = self._nodes.plan(place), month_start(from_ms)
        month = month_ms, next_month(month_ms)
        days: list[int] = []
        wrong = 0
        where = {"region": [place[0]], "site": [place[1]]}
        for level in (Level.MONTH, Level.DAY, Level.HOUR, Level.INTERVAL):
            low_ms, high_ms = month if level is Level.MONTH else (from_ms, to_ms)
            rows = self._store.intervals(level, plan.series, low_ms, high_ms)
            if level is Level.DAY:
                days = np.unique(rows.start_ms).tolist()
            made = self._nodes.figures(level, [place], rows, low_ms, high_ms)
            old = self._store.points(NODE_FIGURES[level], low_ms, high_ms, where)
            wrong += self._right(old, made)
            if level is Level.HOUR:
                wrong += self.keep_tariffs([place], rows, low_ms, high_ms)
        now_ms = self._time_ms()
        over = [day_ms for day_ms in days if day_ms + DAY_MS <= now_ms]
        for level, starts, span in (
            (Level.DAY, over, (from_ms, to_ms)),
            (Level.MONTH, [month_ms] if month_ms + DAY_MS <= now_ms else [], month),
        ):
            rows_ = [row for at in starts for row in self._balance(level, place, at)]
            old = self._store.points(BALANCES[level], *span, where)
            wrong += self._right(old, Points.of_rows(BALANCES[level], rows_))
        return wrong

    # ------------------------------------------------------------------ balances

    def _balance(
        self, level: Level, place: Place, start_ms: int
    ) -> Iterator[tuple[Tags, int, Mapping[str, Any]]]:
        """Yield the rows of one site and period: the code and the rules of the API's /balance.

        Of a month that is not over, its days that are.
        """
        register, plan = self._nodes.register, self._nodes.plan(place)
        site = register.sites.get(place[1])
        if site is None or not plan.spans:
            return
        now_ms = self._time_ms()
        end_ms = next_month(start_ms) if level is Level.MONTH else start_ms + DAY_MS
        limit_month, end_ms = _month(end_ms - 1), min(end_ms, day_start(now_ms))
        if end_ms <= start_ms:
            return
        borders = register.tree_borders(site.id, start_ms, end_ms)
        finest = level_with_borders(level, self._store.grid_ms, [*borders, end_ms])
        rows = self._store.intervals(finest, plan.series, start_ms, end_ms)
        channels = self._nodes.channels(plan.series)
        for one in balance(register, site.id, channels, rows, start_ms, end_ms, end_ms):
            limit = limit_of(register, site, one.carrier, limit_month)
            row = partial(_row, place, one, limit, start_ms)
            yield row(TOTAL, "", *_node(one.site, limit))
            for node in one.nodes:
                yield row(node.node, "", *_node(node, limit))
            for meter in one.meters:
                yield row("", meter.meter, *_meter(meter, limit))

    def _right(self, old: Points, made: Points) -> int:
        """Write what is stored otherwise than made; return how many points that were."""
        wrong = unlike(old, taken_back(old, made))
        self._write(wrong)
        return len(wrong)

    def _write(self, points: Points) -> None:
        if len(points):
            result = self._store.write_points(points)
            self._refused(result)


def _node(found: NodeBalance, limit: Limit) -> tuple[int, int, bool | None, int]:
    whole = found.amount + found.made
    return whole, found.unexplained, found.exceeds(limit), len(found.known.without_data)


def _meter(found: MeterBalance, limit: Limit) -> tuple[int, int, bool | None, int]:
    return found.amount, found.gap, found.exceeds(limit), len(found.without_data)


def _row(
    place: Place,
    of: CarrierBalance,
    limit: Limit,
    start_ms: int,
    node: str,
    meter: str,
    parent: int,
    residual: int,
    over: bool | None,  # noqa: FBT001 - a figure
    without_data: int,
) -> tuple[Tags, int, Mapping[str, Any]]:
    return (
        (*place, node, meter, of.carrier, of.unit),
        start_ms,
        {
            "parent": parent,
            "children": parent - residual,
            "residual": residual,
            "limit_ppm": round(limit.percent * _PPM_PER_PERCENT),
            "over": None if over is None else int(over),
            "without_data": without_data,
        },
    )


def _month(time_ms: int) -> str:
    return str(np.datetime64(time_ms + BEIJING_OFFSET_MS, "ms").astype("datetime64[M]"))


def _text(steps: Steps) -> str:
    return " ".join(f"{since_ms}:{digest}" for since_ms, digest in steps)


def _steps(text: str | None) -> Steps:
    pairs = (word.split(":") for word in (text or "").split())
    return [(int(since_ms), digest) for since_ms, digest in pairs]


def _differing(old: Steps, new: Steps) -> Iterator[tuple[int, int]]:
    """Yield the times in which two plans differ."""

    def at(steps: Steps, time_ms: int) -> str:
        return next((digest for since, digest in reversed(steps) if since <= time_ms), "")

    borders = sorted({0, *(since for since, _ in (*old, *new)), _ALL_TIME_MS})
    for low, high in pairwise(borders):
        if at(old, low) != at(new, low):
            yield low, high
