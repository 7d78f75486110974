"""One simulated meter: the register image of a product at a moment, and a record of what it served.

The true totals are primary. A meter on the secondary side of its transformers shows true /
multiplier; what it showed first and last on each counter is kept beside the truth at that moment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from simulators.devices import Device, Register
from simulators.encode import (
    encode_cumulative,
    encode_instantaneous,
    in_micro,
    modulus_micro,
    shown_micro,
    step_micro,
)
from simulators.meter_faults import WHOLE, Defects
from simulators.noise import derive_seed, uniform
from simulators.quantities import (
    Flows,
    TariffHours,
    cumulative_signal,
    instantaneous_value,
    usual_share_ppm,
)
from simulators.signal import Signal
from simulators.wire import Faults

ILLEGAL_FUNCTION = 1
ILLEGAL_ADDRESS = 2
ILLEGAL_VALUE = 3
MAX_WORDS = 125

_OF_CURRENT = ("power", "current", "reactive_power", "apparent_power", "flow", "mass_flow")
"""What a wrong transformer ratio changes, beside the counts. A power factor it leaves alone."""
_CUMULATIVE = frozenset({"volume", "volume_standard", "mass", "heat"})


def is_cumulative(channel: str) -> bool:
    """Whether a catalogue channel is a counter."""
    return channel in _CUMULATIVE or channel.startswith(("energy_", "reactive_energy_"))


class IllegalRequestError(Exception):
    """The product refuses the request with this Modbus exception code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"modbus exception {code}")
        self.code = code


@dataclass(frozen=True, slots=True)
class MeterIdentity:
    """What a meter is in its district. multiplier: CT x VT, applied by the register's reader."""

    site: str
    id: str
    edge: str
    carrier: str
    role: str
    multiplier: int
    unit: int


@dataclass(frozen=True, slots=True)
class Served:
    """One answer of a counter.

    served_micro: the display [micro-units, before CT x VT]. true_micro: the true total since
    the signals' origin [micro-units]. wraps: how often the display had passed its modulus.
    """

    time_ms: int
    served_micro: int
    true_micro: int
    wraps: int


@dataclass(slots=True)
class _Counter:
    register: Register
    signal: Signal
    start_micro: int
    step_micro: int
    modulus_micro: int | None
    first: Served | None = None
    last: Served | None = None


def starting_micro(register: Register, seed: int, hourly_micro: int) -> int:
    """A seeded, realistic display value to start from [micro-units]: some years of service.

    hourly_micro: what the counter gains in an hour at full flow. A float32 is kept where its
    resolution is finer than the display step, an integer counter where it does not wrap unasked.
    """
    step = step_micro(register)
    modulus = modulus_micro(register)
    start = uniform(seed, 0, 3_000, 14_000) * hourly_micro + uniform(seed, 1, 0, 5_000_000)
    if register.type == "float32":
        start = min(start, uniform(seed, 2, 1_000_000, 3_000_000) * step)
    if modulus is not None:
        start = min(start, modulus // 10 * 4)
    return start - start % step


class SimulatedMeter:
    """Register image and served record of one meter; pure but for that record."""

    def __init__(
        self,
        identity: MeterIdentity,
        device: Device,
        flows: Flows,
        tariff: TariffHours,
        full_milli_per_hour: int,
        seed: int,
    ) -> None:
        """Raises ValueError when the product has a channel that the carrier has not.

        full_milli_per_hour: full flow [1/1000 carrier unit per hour], for the starting registers.
        seed: the district's.
        """
        self.identity = identity
        self.device = device
        self.defects = Defects()
        self.on_served: Callable[[str, Served], None] | None = None
        """Told the channel and what was answered, each time a counter is encoded for an answer."""
        self._flows = flows
        self._seed = derive_seed(seed, f"{identity.site}/{identity.id}")
        self.faults = Faults(seed=self._seed)
        """Of whatever station speaks for this meter."""
        self._registers = {register.address: register for register in device.registers}
        self._legal = _legal_words(device)
        self._counters: dict[str, _Counter] = {}
        full_micro = full_milli_per_hour * 1000 // identity.multiplier
        for register in device.registers:
            if is_cumulative(register.channel):
                share = usual_share_ppm(register.channel, flows, tariff)
                self._counters[register.channel] = _Counter(
                    register,
                    cumulative_signal(register.channel, flows, tariff),
                    starting_micro(register, self._seed, full_micro * share // 1_000_000),
                    step_micro(register),
                    modulus_micro(register),
                )
            else:
                instantaneous_value(register.channel, flows, flows.origin_ms, 1, 0)
        self._image_ms = -1
        self._image: dict[int, bytes] = {}

    def cover(self, until_ms: int) -> None:
        """Compute the signals up to `until_ms` now, so that no answer has to wait for them."""
        for counter in self._counters.values():
            counter.signal.amount_pico(until_ms)
        self._flows.forward.amount_pico(until_ms)
        self._flows.backward.amount_pico(until_ms)

    def power(self, time_ms: int) -> float:
        """True net rate of the carrier [unit per hour], after CT x VT."""
        return self._flows.forward.per_hour(time_ms) - self._flows.backward.per_hour(time_ms)

    def read(self, function: int, address: int, count: int, time_ms: int) -> bytes:
        """The bytes of `count` words from `address` at `time_ms`; counters read are recorded.

        Raises IllegalRequestError as the product would.
        """
        if function != self.device.function:
            raise IllegalRequestError(ILLEGAL_FUNCTION)
        if not 1 <= count <= MAX_WORDS:
            raise IllegalRequestError(ILLEGAL_VALUE)
        if not self._legal.issuperset(range(address, address + count)):
            raise IllegalRequestError(ILLEGAL_ADDRESS)
        if time_ms != self._image_ms:
            self._image_ms = time_ms
            self._image.clear()
        answer = bytearray(2 * count)
        end = address + count
        for at in range(address - 3, end):
            register = self._registers.get(at)
            if register is None or at + register.words <= address:
                continue
            data = self._image.get(at)
            if data is None:
                data = self._image[at] = self._encode(register, time_ms)
            low, high = max(at, address), min(at + register.words, end)
            answer[2 * (low - address) : 2 * (high - address)] = data[
                2 * (low - at) : 2 * (high - at)
            ]
        return bytes(answer)

    def _encode(self, register: Register, time_ms: int) -> bytes:
        counter = self._counters.get(register.channel)
        if counter is None:
            return encode_instantaneous(register, self._instantaneous(register, time_ms))
        unwrapped = self._unwrapped(counter, time_ms)
        data, served_micro = encode_cumulative(register, unwrapped)
        self._note(counter, time_ms, unwrapped, served_micro)
        return data

    def number(self, register: Register, time_ms: int) -> int:
        """What a meter of decimals sends for `register` at `time_ms`; counters are recorded."""
        counter = self._counters.get(register.channel)
        if counter is None:
            return round(self._instantaneous(register, time_ms) / register.scale)
        unwrapped = self._unwrapped(counter, time_ms)
        number = shown_micro(register, unwrapped) // in_micro(register.scale)
        self._note(counter, time_ms, unwrapped, number * in_micro(register.scale))
        return number

    def shown_micro(self, time_ms: int) -> dict[str, int]:
        """What stands on each counter's display; not recorded."""
        return {
            channel: shown_micro(counter.register, self._unwrapped(counter, time_ms))
            for channel, counter in self._counters.items()
        }

    def number_frozen(self, register: Register, time_ms: int) -> int:
        """What stood on a counter at a past time, from the meter's memory; not recorded."""
        unwrapped = self._unwrapped(self._counters[register.channel], time_ms)
        return shown_micro(register, unwrapped) // in_micro(register.scale)

    def _instantaneous(self, register: Register, time_ms: int) -> float:
        defects = self.defects
        channel = register.channel
        moment = defects.moment(time_ms)
        wiring = defects.wiring(moment)
        value = instantaneous_value(
            channel, self._flows, moment, self.identity.multiplier, self._seed
        )
        if channel.startswith(_OF_CURRENT) and channel != "power_factor":
            value *= wiring.ratio_ppm / 1_000_000
        return value * wiring.share(channel)

    def _unwrapped(self, counter: _Counter, time_ms: int) -> int:
        """What the display would stand at if it never wrapped [micro-units]."""
        defects = self.defects
        moment = defects.moment(time_ms)
        channel, amount = counter.register.channel, counter.signal.amount_micro
        counted = defects.counted(channel, amount, moment)
        begin_micro = counter.start_micro
        start = defects.start_before(moment, counter.modulus_micro)
        if start is not None:
            start_ms, begin_micro = start
            counted -= defects.counted(channel, amount, start_ms)
        return begin_micro + counted // (WHOLE * self.identity.multiplier)

    def _note(self, counter: _Counter, time_ms: int, unwrapped: int, served_micro: int) -> None:
        wraps = 0 if counter.modulus_micro is None else unwrapped // counter.modulus_micro
        true_micro = counter.signal.amount_micro(time_ms)
        counter.last = Served(time_ms, served_micro, true_micro, wraps)
        if counter.first is None:
            counter.first = counter.last
        if self.on_served is not None:
            self.on_served(counter.register.channel, counter.last)

    def served(self) -> list[dict[str, object]]:
        """Per counter that was read: first and last answer, as the control port reports them."""
        rows: list[dict[str, object]] = []
        for channel, counter in self._counters.items():
            if counter.first is None or counter.last is None:
                continue
            rows.append(
                {
                    "site": self.identity.site,
                    "meter": self.identity.id,
                    "channel": channel,
                    "carrier": self.identity.carrier,
                    "role": self.identity.role,
                    "multiplier": self.identity.multiplier,
                    "step_micro": counter.step_micro,
                    "modulus_micro": counter.modulus_micro,
                    "first": _as_object(counter.first),
                    "last": _as_object(counter.last),
                }
            )
        return rows


def _as_object(served: Served) -> dict[str, int]:
    return {
        "time_ms": served.time_ms,
        "served_micro": served.served_micro,
        "true_micro": served.true_micro,
        "wraps": served.wraps,
    }


def _legal_words(device: Device) -> frozenset[int]:
    """Every word that may be asked for: registers, and gaps no wider than the product allows."""
    legal: set[int] = set()
    end = None
    for register in sorted(device.registers, key=lambda register: register.address):
        if end is not None and register.address - end <= device.max_gap:
            legal.update(range(end, register.address))
        end = register.address + register.words
        legal.update(range(register.address, end))
    return frozenset(legal)
