"""What a case is written in: a meter's true life, what gateways send of it, what people say.

A `Story` is told once in its own order and then in others (shuffled, doubled, cut into other
commits, with restarts): each on a pipeline, an embedded store and records of its own, on disk.
What must come out is computed from the `Life`, which knows nothing of kernels.
"""

import io
import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from fractions import Fraction
from functools import partial
from itertools import accumulate
from math import isclose
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from aggregator.amendments import Amendments
from aggregator.api.proving import ProofRow, proof_rows
from aggregator.api.reader import StoreLedgerReader, cumulative
from aggregator.book import Book
from aggregator.config import PaceSection
from aggregator.directory import SeriesKey
from aggregator.events import Events
from aggregator.facts import Facts
from aggregator.ingest.subscriber import Inbox, Message
from aggregator.ledger.factor_tables import builtin_library
from aggregator.ledger.meter_events import EventKind, MeterEvent, check_event
from aggregator.ledger.tariff_tables import builtin_tariffs
from aggregator.live import Live
from aggregator.measures import Measures
from aggregator.parameters import Parameters
from aggregator.pipeline import Pipeline
from aggregator.proof import ChannelProof, prove
from aggregator.records import Quarantined, Records
from aggregator.register.model import IntegratedChannel, Meter, Node, Register, Role, Site
from aggregator.register.profiles import Profile
from aggregator.restatements import Restatement, Restatements
from aggregator.rollups import Rollups
from aggregator.site_tariffs import SiteTariffs
from aggregator.store.embedded import EmbeddedStore
from aggregator.stuck import Stuck
from contract.ack import decode_ack
from contract.channels import catalogue
from contract.data import Batch, blocks_of, encode_data
from contract.interval import DAY_MS, GRID_MS, HOUR_MS, MINUTE_MS
from contract.meta import Meta, MetaChannel, MetaMeter, encode_meta, meta_hash
from contract.reading import Reading
from contract.stored import (
    AMOUNT_FIELDS,
    BALANCES,
    NODE_FIGURES,
    TARIFF_DAY,
    Level,
    Measurement,
)
from contract.topics import Address, MessageKind, topic
from contract.units import MICRO
from contract.wire import Range

REGION, SITE = "370114", "works"
KWH = MICRO
IMPORT, EXPORT = "energy_import", "energy_export"
TWICE = 2
ROLLOVER, HELD, SUSPECT, ESTIMATED = 1, 2, 4, 8
EVER_MS = 2**47

NODES = (
    Node(SITE, "hall", "", "车间", "hall", None, 0),
    Node(SITE, "line", "hall", "产线", "line", None, 0),
)
OF_NODES = (*NODE_FIGURES.values(), *BALANCES.values(), TARIFF_DAY)
TOLD = (*AMOUNT_FIELDS, "measured_ms", "estimated_ms", "received", "parent", "residual")
"""Fields of which one is not 0 where anything is known."""
Point = Mapping[str, Any]
"""Fields of one stored point of a node, a balance or a tariff's period."""

Shown = list[tuple[int, int]]
"""(time [ms UTC], what the display shows [micro-units])."""


def at(text: str) -> int:
    """`2026-03-10 08:15`, Beijing time [ms UTC]."""
    local = datetime.fromisoformat(text) - timedelta(hours=8)
    return round((local - datetime(1970, 1, 1)).total_seconds()) * 1_000  # noqa: DTZ001 - both UTC


class Life:
    """What one meter really counts, from `since_ms` on: whole display steps of 0.01 each `step_ms`.

    At most `most` per minute [micro-units]; the display begins at `first` and wraps at `modulus`.
    """

    def __init__(
        self,
        since_ms: int,
        days: float,
        *,
        first: int = 1_000 * KWH,
        modulus: int = 0,
        most: int = 8 * KWH // 10,
        step_ms: int = MINUTE_MS,
        seed: int = 1,
    ) -> None:
        draw = random.Random(seed)
        top = most * step_ms // MINUTE_MS // 10_000
        parts = (draw.randint(1, top) * 10_000 for _ in range(round(days * DAY_MS / step_ms)))
        self._sum = list(accumulate(parts, initial=0))
        self._since_ms, self._step_ms = since_ms, step_ms
        self._first, self._modulus = first, modulus

    def used(self, from_ms: int, to_ms: int) -> int:
        """Energy between two moments [micro-units], exact."""
        return self._counted(to_ms) - self._counted(from_ms)

    def shown(self, time_ms: int) -> int:
        total = self._first + self._counted(time_ms)
        return total % self._modulus if self._modulus else total

    def polls(self, from_ms: int, to_ms: int, every_ms: int = 5 * MINUTE_MS) -> Shown:
        """What is read from `from_ms` to `to_ms`, both included."""
        return [(t, self.shown(t)) for t in range(from_ms, to_ms + 1, every_ms)]

    def _counted(self, time_ms: int) -> int:
        steps, rest = divmod(time_ms - self._since_ms, self._step_ms)
        assert rest == 0, "a moment that this life knows nothing of"
        return self._sum[steps]


def linear(used: int, elapsed_ms: int, span_ms: int) -> int:
    """Part of a gap's energy, rounded half up."""
    return int(Fraction(used * elapsed_ms, span_ms) + Fraction(1, 2))


class Row(NamedTuple):
    """One stored figure, as integers: micro-units, ms, counts."""

    amount: int
    estimated: int
    held: int
    measured_ms: int
    estimated_ms: int
    missing_ms: int
    received: int
    flags: int
    measures: tuple[str, ...]

    @property
    def known(self) -> bool:
        return any(self[:5]) or self.received > 0


class Ledger:
    """What a story ended in; `meter` and `channel` default to the one of most cases."""

    def __init__(
        self,
        reader: StoreLedgerReader,
        restatements: Restatements,
        records: Records,
        store: EmbeddedStore,
    ) -> None:
        self.reader = reader
        self._store = store
        self._restatements = restatements
        self._records = records
        self.counts: dict[str, int] = {}
        self.acks: dict[tuple[str, str], int] = {}
        """(edge, outbox) -> all sequence numbers up to this are settled."""
        self.need_meta: set[str] = set()
        self.logged: list[dict[str, object]] = []

    def rows(
        self,
        level: Level = Level.INTERVAL,
        from_ms: int = 0,
        to_ms: int = EVER_MS,
        *,
        meter: str = "em-1",
        channel: str = IMPORT,
    ) -> dict[int, Row]:
        """Figures of which something is known, by start."""
        found = [s for s in self.reader.series(SITE) if s.key[2:] == (meter, channel)]
        if not found:
            return {}
        rows = self.reader.figures(level, [found[0].index], from_ms, to_ms)
        integers = [
            getattr(rows, name).tolist()
            for name in ("amount", "amount_estimated", "amount_held", "measured_ms",
                         "estimated_ms", "missing_ms", "received", "flags")
        ]  # fmt: skip
        measures = [map(repr, column.tolist()) for column in rows.columns()[-4:]]
        made = map(Row, *integers, zip(*measures, strict=True))
        return {
            start: row for start, row in zip(rows.start_ms.tolist(), made, strict=True) if row.known
        }

    def total(self, from_ms: int = 0, to_ms: int = EVER_MS, of: str = "amount", **which) -> int:
        """Sum of a figure over the base intervals that start in [from_ms, to_ms)."""
        rows = self.rows(Level.INTERVAL, from_ms, to_ms, **which)
        return sum(getattr(row, of) for row in rows.values())

    def day(self, start_ms: int, **which) -> Row:
        return self.rows(Level.DAY, start_ms, start_ms + 1, **which)[start_ms]

    def month(self, start_ms: int, **which) -> Row:
        return self.rows(Level.MONTH, start_ms, start_ms + 1, **which)[start_ms]

    def amounts(self, from_ms: int, to_ms: int, **which) -> dict[int, int]:
        rows = self.rows(Level.INTERVAL, from_ms, to_ms, **which)
        return {start: row.amount for start, row in rows.items()}

    def restated(self, measure: str = "amount") -> dict[int, tuple[float | None, float | None]]:
        """By day: from and to of what was restated, the last record of each."""
        return {one.day_ms: (one.from_value, one.to_value) for one in self.records(measure)}

    def records(self, measure: str = "amount", *, newer: bool = False) -> list[Restatement]:
        """Records of one figure; with `newer` also of what readings added at a channel's end."""
        found = self._restatements.find(REGION, SITE, 0, EVER_MS)
        return [
            one
            for one in found
            if one.measure == measure and (newer or one.cause != "newer readings")
        ]

    def quarantined(self) -> Sequence[Quarantined]:
        return self._records.quarantined()

    def proof(self, meter: str = "em-1", channel: str = IMPORT) -> ChannelProof:
        return self.proofs()[meter, channel]

    def proofs(self) -> dict[tuple[str, str], ChannelProof]:
        """The proof of every register of a registered meter, as the API makes it."""
        made: dict[tuple[str, str], ChannelProof] = {}
        known, integrated = self.reader.register.rows, self.reader.register.integrated_from
        for series in self.reader.series(SITE):
            key = series.key
            if not catalogue()[key.channel].cumulative:
                continue
            if (SITE, key.meter) in known and integrated(SITE, key.meter, key.channel) is None:
                readings, rows = self.reader.history(series.index)
                made[series.key.meter, series.key.channel] = prove(
                    readings.time_ms, readings.value.astype(np.int64),
                    self.reader.facts(series.index),
                    int(rows.amount.sum()), int(rows.amount_held.sum()),
                )  # fmt: skip
        return made

    def proof_rows(self) -> dict[tuple[str, str], ProofRow]:
        """The lines that the API gives of all channels that count up, integrated ones too."""
        return {
            found.key[2:]: row
            for found in cumulative(self.reader.series(SITE), REGION)
            for meter in self.reader.register.rows.get((SITE, found.key.meter), ())[-1:]
            for row in proof_rows(self.reader, found, meter, [(None, None)])
        }

    def points(self, of: Measurement, **where: str) -> dict[tuple[object, ...], Point]:
        """Points of which something is known, by tags and start."""
        found = self._store.points(of, 0, 2**60, {name: [one] for name, one in where.items()})
        return {(*tags, at): row for tags, at, row in found.rows() if any(map(row.get, TOLD))}

    def everything(self) -> dict[tuple[object, ...], Row | Point]:
        """All that is known, at all levels: of channels, of nodes and the region, balances."""
        of_nodes: dict[tuple[object, ...], Row | Point] = {
            (of.name, *key): row for of in OF_NODES for key, row in self.points(of).items()
        }
        return of_nodes | {
            (level.value, *series.key, start): row
            for series in self.reader.series(SITE)
            for level in Level
            for start, row in self.rows(
                level, meter=series.key.meter, channel=series.key.channel
            ).items()
        }


def _same(one: Row | Point | None, other: Row | Point | None) -> bool:
    """Whether two figures are the same; measures of nodes, sums in any order, to 1e-9."""
    if not isinstance(one, Mapping) or not isinstance(other, Mapping):
        return one == other
    return all(
        isclose(value, other[name], rel_tol=1e-9, abs_tol=1e-9)
        if isinstance(value, float) and isinstance(other[name], float)
        else value == other[name]
        for name, value in one.items()
    )


def agree(ledger: Ledger, life: Life, from_ms: int, to_ms: int, ratio: int = 1, **which) -> None:
    """Every interval of [from_ms, to_ms) holds what was used in it, to the micro-unit."""
    truth = {t: ratio * life.used(t, t + GRID_MS) for t in range(from_ms, to_ms, GRID_MS)}
    booked = ledger.amounts(from_ms, to_ms, **which)
    wrong = {t: (booked.get(t), truth[t]) for t in truth if booked.get(t) != truth[t]}
    assert not wrong, f"{len(wrong)} intervals differ: {list(wrong.items())[:4]}"


# --------------------------------------------------------------------------- what happens


@dataclass(frozen=True)
class Sent:
    """One batch, and when it comes."""

    now_ms: int
    edge: str
    batch: Batch
    payload: bytes = b""
    """What comes instead of the batch, for a batch that no codec would make."""

    def message(self) -> Message:
        return Message(
            topic(Address(REGION, SITE, self.edge), MessageKind.DATA),
            self.payload or encode_data(self.batch),
        )


@dataclass(frozen=True)
class Said:
    """A person's word; with `undone`, the earlier word is taken back."""

    now_ms: int
    event: MeterEvent
    undone: bool = False


@dataclass(frozen=True)
class Restarted:
    """The aggregator is started again, with these rows of the register and these metas."""

    now_ms: int
    rows: tuple[Meter, ...]
    metas: Mapping[str, bytes]
    profiles: tuple[Profile, ...] = ()
    integrated: tuple[IntegratedChannel, ...] = ()


Deed = Sent | Said | Restarted
_OUTBOX = {"gw-1": "00000000000000aa", "gw-2": "00000000000000bb"}


@dataclass
class Story:
    """Deeds in the order in which they happen; times only go forward unless a case says so."""

    folder: Path
    rating: float | None = 60.0
    modulus: float | None = 1_000_000.0
    meters: tuple[str, ...] = ("em-1",)
    channels: tuple[str, ...] = (IMPORT,)
    deeds: list[Deed] = field(default_factory=list)
    unsettled: bool = False
    """The case says itself what is acknowledged and what other orders end in."""
    told: int = 0
    _seq: dict[str, int] = field(default_factory=dict)
    _now_ms: int = 0
    _open: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        self._metas = dict.fromkeys(_OUTBOX, self.meta())
        self._rows = tuple(self.row(meter) for meter in self.meters)
        self._profiles: tuple[Profile, ...] = ()
        self._integrated: tuple[IntegratedChannel, ...] = ()

    def close(self) -> None:
        self._open.close()

    # ------------------------------------------------------------------ telling it

    def row(self, meter: str = "em-1", ratio: int = 1, since_ms: int = 0, edge: str = "") -> Meter:
        return Meter(SITE, meter, "electricity", Role.BOUNDARY_IN, "", ratio, edge, since_ms, "")

    def meta(self, unit: str = "kWh") -> bytes:
        channels = tuple(
            MetaChannel(name, "kWh", self.modulus, self.rating, 0.01) for name in self.channels
        )
        meters = {*self.meters, "em-1"}
        payload = encode_meta(Meta(tuple(MetaMeter(m, "s", "m", channels) for m in sorted(meters))))
        return payload.replace(b'"kWh"', f'"{unit}"'.encode())

    def batch(
        self,
        shown: Shown,
        *,
        meter: str = "em-1",
        channel: str = IMPORT,
        edge: str = "gw-1",
        seq: int = 0,
        void: Sequence[Range] = (),
        more: Iterable[Reading] = (),
    ) -> Batch:
        """The gateway's next batch, or the one numbered `seq`."""
        if not seq:
            seq = self._seq[edge] = self._seq.get(edge, 0) + 1
        readings = [*(Reading(meter, channel, t, micro) for t, micro in shown), *more]
        readings.sort(key=lambda reading: reading.time_ms)
        blocks = blocks_of(readings)
        return Batch(_OUTBOX[edge], seq, meta_hash(self._metas[edge]), 1, tuple(void), blocks)

    def send(
        self,
        shown: Shown,
        *,
        arrives: int | None = None,
        hours: float = 12,
        edge: str = "gw-1",
        **which,
    ) -> None:
        """Batches of so many hours, each coming when its last reading is made, or at `arrives`."""
        parts: dict[int, Shown] = {}
        for time, micro in shown:
            parts.setdefault(time // round(hours * HOUR_MS), []).append((time, micro))
        for part in parts.values():
            now_ms = part[-1][0] if arrives is None else arrives
            self.give(self.batch(part, edge=edge, **which), edge=edge, arrives=now_ms)

    def give(self, batch: Batch, *, arrives: int, edge: str = "gw-1", payload: bytes = b"") -> None:
        self._add(Sent(arrives, edge, batch, payload))

    def say(self, kind: EventKind, at_ms: int, *, when: int, **more) -> MeterEvent:
        named = {} if kind is EventKind.CLOCK else {"meter": "em-1", "channel": IMPORT}
        told = MeterEvent(
            kind, REGION, SITE, at_ms, author="li", reason="seen on site", **(named | more)
        )
        self._add(Said(when, check_event(told)))
        return told

    def undo(self, event: MeterEvent, *, when: int) -> None:
        self._add(Said(when, event, undone=True))

    def restart(
        self,
        *rows: Meter,
        when: int | None = None,
        metas: Mapping[str, bytes] | None = None,
        profiles: Iterable[Profile] | None = None,
        integrated: Iterable[IntegratedChannel] | None = None,
    ) -> None:
        self._rows = rows or self._rows
        self._profiles = self._profiles if profiles is None else tuple(profiles)
        self._integrated = self._integrated if integrated is None else tuple(integrated)
        self._metas = {**self._metas, **(metas or {})}
        now_ms = self._now_ms if when is None else when
        self._add(self._restarted(now_ms))

    def _restarted(self, now_ms: int) -> "Restarted":
        return Restarted(now_ms, self._rows, self._metas, self._profiles, self._integrated)

    def _add(self, deed: Deed) -> None:
        self.deeds.append(deed)
        self._now_ms = max(self._now_ms, deed.now_ms)

    # ------------------------------------------------------------------ playing it

    def so_far(self) -> Ledger:
        """What stands in the ledger at this point of the story."""
        return self._play(self.deeds)

    def end(self) -> Ledger:
        """Play the story; see that it closes, and that no other order ends in other figures."""
        ledger = self._play(self.deeds)
        assert [key for key, proof in ledger.proofs().items() if not proof.closes] == []
        if self.unsettled:
            return ledger
        for edge, last in self._seq.items():
            assert ledger.acks[edge, _OUTBOX[edge]] == last
        figures = ledger.everything()
        for deeds, together in ((self._mixed(), False), (self._words_first(), True)):
            other = self._play(deeds, together=together)
            assert [key for key, proof in other.proofs().items() if not proof.closes] == []
            seen = other.everything()
            wrong = {
                key: (figures.get(key), seen.get(key))
                for key in figures.keys() | seen.keys()
                if not _same(figures.get(key), seen.get(key))
            }
            assert not wrong, f"{len(wrong)} figures hang on the order: {list(wrong.items())[:3]}"
        return ledger

    def _late(self, deed: Deed) -> Deed:
        return replace(deed, now_ms=self._now_ms)

    def _mixed(self) -> list[Deed]:
        """Shuffled, half of the batches twice, a restart; people's words keep their order."""
        draw = random.Random(len(self.deeds))
        sent: list[Deed] = [deed for deed in self.deeds if isinstance(deed, Sent)]
        sent += [deed for deed in sent if draw.random() < 1 / TWICE]
        draw.shuffle(sent)
        sent.insert(len(sent) // 2, self._restarted(self._now_ms))
        words = [deed for deed in self.deeds if not isinstance(deed, Sent)]
        places = sorted(draw.randint(0, len(sent)) for _ in words)
        for place, word in reversed(list(zip(places, words, strict=True))):
            sent.insert(place, word)
        return [self._late(deed) for deed in sent]

    def _words_first(self) -> list[Deed]:
        """All that people say before anything is read; then everything at once, newest first."""
        sent = [deed for deed in self.deeds if isinstance(deed, Sent)]
        said = [deed for deed in self.deeds if not isinstance(deed, Sent)]
        return [self._late(deed) for deed in (*said, *reversed(sent))]

    def _play(self, deeds: Sequence[Deed], *, together: bool = False) -> Ledger:
        self.told += 1
        place = self.folder / f"told-{self.told}"
        place.mkdir()
        first = Restarted(0, tuple(self.row(m) for m in self.meters), self._metas)
        if deeds and isinstance(deeds[0], Restarted):
            first, deeds = deeds[0], deeds[1:]
        lives: list[tuple[Restarted, list[Deed]]] = [(first, [])]
        for deed in deeds:
            if isinstance(deed, Restarted):
                lives.append((deed, []))
            else:
                lives[-1][1].append(deed)
        seen: list[Process] = []
        for i, (start, part) in enumerate(lives):
            process = Process(place, start, {**self._metas, **start.metas}, together=together)
            with ExitStack() as stack:
                stack.callback(process.close)
                process.run(part)
                if i == len(lives) - 1:
                    stack.pop_all()
                    self._open.callback(process.close)
            seen.append(process)
        ledger = seen[-1].ledger
        for process in seen:
            for name, count in process.events.counts().items():
                ledger.counts[name] = ledger.counts.get(name, 0) + count
            ledger.acks |= process.acks
            ledger.need_meta |= process.need_meta
            ledger.logged += [json.loads(line) for line in process.log.getvalue().splitlines()]
        return ledger


class _Script(Inbox):
    """Hands out one prepared cycle after the other, then stops the pipeline."""

    def __init__(self, events: Events) -> None:
        super().__init__(1, events)
        self.cycles: list[Callable[[], list[Message]]] = []
        self.stop: Callable[[], None] = lambda: None
        self.busy: Callable[[], bool] = lambda: False

    def take(self, wait_s: float, most_bytes: int = 0) -> list[Message]:
        if self.cycles:
            return self.cycles.pop(0)()  # while figures are amended, too
        if not self.busy():
            self.stop()
        return []


class Process:
    """One aggregator process, from start to end, on the data in a folder."""

    def __init__(
        self, folder: Path, start: Restarted, metas: Mapping[str, bytes], *, together: bool
    ) -> None:
        self._metas = metas
        self._now_ms = start.now_ms
        self.log = io.StringIO()
        self.acks: dict[tuple[str, str], int] = {}
        self.need_meta: set[str] = set()
        self.events = Events(self._time, self.log)
        url = f"sqlite:///{folder / 'records.sqlite'}"
        self._records, self._facts, restatements = Records(url), Facts(url), Restatements(url)
        self._records.open()
        self._store = store = EmbeddedStore(folder / "ledger.duckdb", GRID_MS, memory_limit="512MB")
        store.open()
        site = Site(SITE, REGION, "厂", "works", "foundry", None, None, None, None)
        register = Register.of(
            [site],
            start.rows,
            nodes=NODES,
            profiles=start.profiles,
            integrated=start.integrated,
        )
        parameters = Parameters(store.directory, register)
        for place in self._facts.sites():
            parameters.declare(*place, self._facts.declared(*place))
        factors = builtin_library().choose("national")
        tariffs = SiteTariffs(register, builtin_tariffs(), GRID_MS)
        book = Book(store, parameters, Measures(store.directory, parameters, factors, tariffs))
        stuck = Stuck(store, parameters)
        if any(row.node for row in start.rows):
            self._rollups = Rollups.with_nodes(
                store, self.events, register, factors.counts, tariffs, self._time, stuck
            )
        else:  # nothing that a node would add, and half of the time
            self._rollups = Rollups(store, self.events, stuck)
        self._script = _Script(self.events)
        late = 300.0 if together else 0.0
        many = 1_000_000 if together else 1
        self._pipeline = Pipeline(
            store=store,
            records=self._records,
            book=book,
            parameters=parameters,
            amendments=Amendments(store, book, parameters, self._facts, restatements, self._time),
            rollups=self._rollups,
            live=Live(),
            inbox=self._script,
            publish=self._published,
            events=self.events,
            pace=PaceSection(
                commit_ms=10_000, commit_readings=many, late_debounce_s=late, late_quiet_s=late
            ),
            time_ms=self._time,
        )
        self._script.stop = self._pipeline.stop
        self._script.busy = lambda: self._pipeline.amending
        reader = StoreLedgerReader(
            store, register, factors, tariffs, Live(),
            facts=parameters.facts, counters=self.events.counts, now_ms=self._time,
            quarantine=self._records,
        )  # fmt: skip
        self.ledger = Ledger(reader, restatements, self._records, store)
        self._restatements = restatements

    def _time(self) -> int:
        return self._now_ms

    def _published(self, name: str, payload: bytes) -> None:
        ack = decode_ack(payload)
        edge = name.split("/")[4]
        self.need_meta |= set(ack.need_meta)
        for outbox, settled in ack.outboxes.items():
            self.acks[edge, outbox] = settled.upto

    def run(self, deeds: Sequence[Deed]) -> None:
        """Work through the deeds and end in order; what a job raises is raised."""
        jobs = []

        def cycle(deed: Sent | Said) -> list[Message]:
            self._now_ms = deed.now_ms
            if isinstance(deed, Sent):
                return [deed.message()]
            if deed.undone:
                told = self._facts.events(REGION, SITE)
                stands = [t.id for t in told if t.event == deed.event and t.undone_ms is None]
                self._facts.undo(stands[0], "li", "was wrong", deed.now_ms)
            else:
                self._facts.tell(deed.event, deed.now_ms)
            jobs.append(self._pipeline.amend(REGION, SITE))
            return []

        self._script.cycles = [self._retained]
        self._script.cycles += [
            partial(cycle, deed) for deed in deeds if not isinstance(deed, Restarted)
        ]
        self._pipeline.run()
        while self._rollups.catch_up():  # as the next start would
            pass
        for job in jobs:
            job.result(timeout=0)

    def _retained(self) -> list[Message]:
        return [
            Message(topic(Address(REGION, SITE, edge), MessageKind.META), payload)
            for edge, payload in self._metas.items()
        ]

    def close(self) -> None:
        self._store.close()
        self._records.close()
        self._facts.close()
        self._restatements.close()
        # The traceback of a failed case lives until the very end and would keep DuckDB with it.
        self.ledger.__dict__.clear()
        del self._store, self._pipeline, self._script, self._rollups


__all__ = [
    "DAY_MS", "ESTIMATED", "EXPORT", "GRID_MS", "HELD", "HOUR_MS", "IMPORT", "KWH", "MINUTE_MS",
    "ROLLOVER", "SUSPECT", "EventKind", "Ledger", "Level", "Life", "SeriesKey", "Story", "agree",
    "at", "linear",
]  # fmt: skip
