"""The whole look at a bus: find who is there, read each by every map, weigh, say. Reads only."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from contract.channels import catalogue
from contract.reading import Quality
from contract.units import MICRO
from edge_agent.codecs import mbus
from edge_agent.config import BusConfig, MeterConfig
from edge_agent.decoders.registry import make_decoder
from edge_agent.errors import LinkError, MeterError
from edge_agent.links.base import MeterLink
from edge_agent.links.registry import LinkFactory
from edge_agent.maps.base import DeviceMap
from edge_agent.maps.cjt188 import Cjt188Map
from edge_agent.maps.mbus import MbusMap
from edge_agent.probe.physics import BROKEN, Fit, Reason, Snapshot, judge, rank
from edge_agent.probe.plan import Setting, Stage, Wanted, settings, stage
from edge_agent.probe.seek import Found, Seeker

READ_S = 60.0
"""Longest time to read one meter by all maps [s]."""
TRIES = 2

_MEDIA: Mapping[str, frozenset[int]] = {
    "electricity": frozenset({0x02}),
    "natural_gas": frozenset({0x03}),
    "heat": frozenset({0x04, 0x0A, 0x0B, 0x0C, 0x0D}),
    "water": frozenset({0x06, 0x07, 0x15, 0x16, 0x17}),
}
"""Carrier -> media of EN 13757-3."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One meter and the maps that were tried on it, best first."""

    setting: Setting
    found: Found
    fits: tuple[Fit, ...]

    @property
    def best(self) -> Fit | None:
        """The map to use; None when none fits."""
        return self.fits[0] if self.fits and self.fits[0].fits else None

    @property
    def equals(self) -> tuple[str, ...]:
        """Other models that fit as well, with no more values."""
        best = self.best
        return tuple(
            fit.device.model
            for fit in self.fits[1:]
            if best is not None and fit.score == best.score
        )


@dataclass(slots=True)
class Survey:
    """What came of it."""

    verdicts: list[Verdict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What a person should know besides."""


Progress = Callable[[Stage, int, int], None]
"""Stage, questions put in it, meters found so far."""


async def survey(
    bus: BusConfig,
    kinds: Sequence[str],
    wanted: Wanted,
    devices: Iterable[DeviceMap],
    link_factory: LinkFactory,
    progress: Progress,
) -> Survey:
    """Look at a bus. LinkError when it cannot be opened, or another process uses it.

    Args:
        bus: where it is; its setting is tried out.
        kinds: kinds of bus that may be there.
        wanted: what to look for.
        devices: maps to try.
        link_factory: makes the links.
        progress: called at each question.
    """
    done = Survey()
    bus = replace(bus, timeout_s=wanted.timeout_s)
    places: dict[Setting, list[Found]] = {}
    try:
        async with asyncio.timeout(wanted.limit_s):
            await _look(bus, kinds, wanted, link_factory, progress, places, done.notes)
    except TimeoutError:
        done.notes.append(f"stopped looking after {wanted.limit_s:g} s: not everything was tried")
    maps = list(devices)
    for setting, found in places.items():
        here = setting.on(bus)
        link = link_factory(here, here.host, here.port)
        try:
            done.verdicts += await _weigh(link, setting, found, maps, wanted.watch_s)
        finally:
            await link.close()
    done.verdicts = _once_each(done.verdicts, done.notes)
    return done


async def _look(
    bus: BusConfig,
    kinds: Sequence[str],
    wanted: Wanted,
    link_factory: LinkFactory,
    progress: Progress,
    places: dict[Setting, list[Found]],
    notes: list[str],
) -> None:
    for setting in settings(kinds, wanted):
        here = setting.on(bus)
        link = link_factory(here, here.host, here.port)
        found: list[Found] = []
        try:
            await link.open()
            for protocol in _protocols(setting, wanted, found):
                at = stage(setting, protocol, wanted)
                questions = itertools.count(1)
                seeker = Seeker(link, wanted, lambda: progress(at, next(questions), len(found)))  # noqa: B023 - used up before the next stage
                try:
                    async for meter in seeker.look(protocol):
                        found.append(meter)
                        places[setting] = found
                except LinkError as error:
                    notes.append(f"{setting}, {protocol}: given up, {error}")
                if seeker.broken:
                    notes.append(f"{setting}, {protocol}: {seeker.broken} {_BROKEN_HINT}")
        finally:
            await link.close()
        if found and not wanted.every_setting:
            return


_BROKEN_HINT = (
    "answers came broken: two meters with one address, several at a wildcard (give their addresses "
    "from the plates), noise, or another baud rate or parity"
)


def _protocols(setting: Setting, wanted: Wanted, found: Sequence[Found]) -> Iterator[str]:
    """Those usual at the setting; on a serial wire where a meter answers, the others as well."""
    yield from setting.protocols
    if found and setting.kind == "serial":
        yield from (p for p in wanted.protocols if p not in setting.protocols)


async def _weigh(
    link: MeterLink,
    setting: Setting,
    found: Sequence[Found],
    devices: Sequence[DeviceMap],
    watch_s: float,
) -> list[Verdict]:
    """Read all meters by all maps, and those that are still in question once more."""
    loop = asyncio.get_running_loop()
    firsts, read_at = [], []
    for meter in found:
        candidates = [device for device in devices if _may_be(meter, device)]
        read_at.append(loop.time())
        firsts.append(await _read_by_all(link, meter, candidates))
    fits = [_fits(meter, first, {}) for meter, first in zip(found, firsts, strict=True)]
    hopeful = [[fit.device for fit in some if fit.score > 0] for some in fits]
    for at, meter in enumerate(found):
        if hopeful[at]:
            await asyncio.sleep(read_at[at] + watch_s - loop.time())
            later = await _read_by_all(link, meter, hopeful[at])
            fits[at] = _fits(meter, firsts[at], later)
    return [Verdict(setting, meter, tuple(some)) for meter, some in zip(found, fits, strict=True)]


def _may_be(meter: Found, device: DeviceMap) -> bool:
    if isinstance(device, Cjt188Map):
        return meter.protocol == "cjt188" and meter.kind >> 4 == device.kind >> 4
    return meter.protocol == device.protocol


def _fits(meter: Found, first: Mapping[str, "_Taken"], later: Mapping[str, "_Taken"]) -> list[Fit]:
    return rank(
        [
            judge(
                taken.device,
                taken.snapshot,
                later[model].snapshot if model in later else None,
                tuple(_known(meter, taken.device)),
            )
            for model, taken in first.items()
        ]
    )


def _known(meter: Found, device: DeviceMap) -> Iterator[Reason]:
    """What an M-Bus address says of the meter."""
    if not meter.secondary or not isinstance(device, MbusMap):
        return
    maker, medium = mbus.maker_of(meter.secondary), mbus.medium_of(meter.secondary)
    if device.flag:
        good = maker == device.flag
        yield Reason(6 if good else -5, f"its address names maker {maker}, the map {device.flag}")
    if medium not in _MEDIA.get(device.carrier, {medium}):
        yield Reason(BROKEN, f"its address names medium {medium:02X}: no {device.carrier} meter")


@dataclass(frozen=True, slots=True)
class _Taken:
    device: DeviceMap
    snapshot: Snapshot


async def _read_by_all(
    link: MeterLink, meter: Found, devices: Iterable[DeviceMap]
) -> dict[str, _Taken]:
    """One reading by each map that gets an answer to each of its questions, by model.

    Maps share what was answered: no question is put twice.
    """
    answers: dict[Any, Any] = {}
    taken: dict[str, _Taken] = {}
    loop = asyncio.get_running_loop()
    ends = loop.time() + READ_S
    for device in devices:
        config = MeterConfig("probe", device.model, meter.unit, meter.address)
        decoder = make_decoder(config, device)
        at_s = loop.time()
        values: dict[str, float] = {}
        implausible: list[str] = []
        for index, question in enumerate(decoder.questions):
            if question not in answers:
                answers[question] = (loop.time(), await _answer(link, question, ends))
            at_s, answer = answers[question]
            if answer is _SILENCE:  # a poll would lose the whole meter
                break
            if answer is None:
                continue
            for reading in decoder.decode(index, answer, 0, Counter()):
                unit = MICRO if catalogue()[reading.channel].cumulative else 1
                values[reading.channel] = reading.value / unit
                if reading.quality == Quality.RANGE:
                    implausible.append(reading.channel)
        else:
            taken[device.model] = _Taken(device, Snapshot(at_s, values, tuple(implausible)))
    return taken


_SILENCE = object()


async def _answer(link: MeterLink, question: Any, ends: float) -> Any:
    """The answer, None when the meter refuses, `_SILENCE` when there is none in some tries."""
    for _ in range(TRIES):
        if asyncio.get_running_loop().time() > ends:
            break
        try:
            return await link.read(question)
        except MeterError:
            return None
        except LinkError:
            continue
    return _SILENCE


def _once_each(verdicts: Sequence[Verdict], notes: list[str]) -> list[Verdict]:
    """Leave out units that are one meter: many answer on TCP whatever unit is asked."""
    kept: list[Verdict] = []
    seen: dict[tuple[str, tuple[tuple[str, float], ...]], Verdict] = {}
    for verdict in verdicts:
        best = verdict.best
        if best is None or verdict.setting.kind != "modbus-tcp" or not any(best.counts.values()):
            kept.append(verdict)
            continue
        key = (best.device.model, tuple(sorted(best.counts.items())))
        if key in seen:
            notes.append(f"{verdict.found} shows what {seen[key].found} shows: the same meter")
        else:
            seen[key] = verdict
            kept.append(verdict)
    return kept
