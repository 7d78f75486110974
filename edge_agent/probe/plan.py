"""Where to look, in which order, and how long it takes at most. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from edge_agent.config import BusConfig

Parity = Literal["none", "even", "odd"]
SERIAL_PROTOCOLS = ("modbus", "dlt645", "cjt188", "mbus")

BITS_PER_CHARACTER = 11
USUAL_BYTES = 60
"""Request and answer of a question that looks for a meter, about [bytes]."""
CJT188_KINDS = (0xAA, 0x10, 0x20, 0x30)
"""Types of meter to call: any, then each family for meters that know no wildcard."""
CJT188_IDS = ("1F90", "901F")
DLT645_IDS = ("00010000", "9010")
"""Forward active energy in the 2007 and the 1997 edition."""

_ROLL_CALLS = {"dlt645": 4, "cjt188": len(CJT188_KINDS) * len(CJT188_IDS), "mbus": 2}
_PER_ADDRESS = {"dlt645": len(DLT645_IDS), "cjt188": len(CJT188_KINDS) * len(CJT188_IDS)}


@dataclass(frozen=True, slots=True)
class Setting:
    """One way to use the wire."""

    kind: str
    """As of a bus: modbus-tcp, tcp or serial."""
    protocols: tuple[str, ...]
    baud: int = 0
    parity: Parity = "none"

    def __str__(self) -> str:
        if self.kind == "serial":
            return f"{self.baud} {self.parity}"
        return "Modbus TCP" if self.kind == "modbus-tcp" else "serial protocols over TCP"

    def on(self, bus: BusConfig) -> BusConfig:
        """The bus with this setting."""
        if self.kind == "serial":
            return replace(bus, kind=self.kind, baud=self.baud, parity=self.parity)
        return replace(bus, kind=self.kind)


USUAL = (
    Setting("serial", ("modbus",), 9600, "none"),
    Setting("serial", ("dlt645", "cjt188", "mbus"), 2400, "even"),
    Setting("serial", ("modbus", "dlt645", "cjt188", "mbus"), 9600, "even"),
    Setting("serial", ("modbus",), 19_200, "even"),
    Setting("serial", ("modbus",), 19_200, "none"),
    Setting("serial", ("modbus",), 4800, "none"),
    Setting("serial", ("modbus", "dlt645"), 4800, "even"),
    Setting("serial", ("dlt645", "modbus"), 1200, "even"),
    Setting("serial", ("modbus",), 38_400, "none"),
    Setting("serial", ("modbus",), 115_200, "none"),
    Setting("serial", ("modbus",), 2400, "none"),
    Setting("serial", ("mbus",), 300, "even"),
    Setting("serial", ("modbus",), 9600, "odd"),
)
"""Settings meters leave their makers with, the commonest first."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to look for."""

    protocols: tuple[str, ...] = SERIAL_PROTOCOLS
    bauds: tuple[int, ...] = ()
    """Empty, as parities: the usual settings."""
    parities: tuple[Parity, ...] = ()
    units: tuple[int, ...] = tuple(range(1, 33))
    """Modbus units and M-Bus primary addresses."""
    addresses: tuple[str, ...] = ()
    """Addresses on the meters' plates: 12 digits DL/T 645, 14 digits CJ/T 188."""
    every_setting: bool = False
    """Go on with other settings where one has found a meter."""
    timeout_s: float = 0.5
    watch_s: float = 20.0
    """Between the two readings of each meter."""
    limit_s: float = 900.0
    """Longest time to look for meters."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One protocol at one setting."""

    setting: Setting
    protocol: str
    questions: int = field(compare=False)
    seconds: float = field(compare=False)
    """At most, when nobody answers."""


def settings(kinds: Sequence[str], wanted: Wanted) -> list[Setting]:
    """The settings to try, in order; `kinds` = those of a bus at this place."""
    if kinds != ["serial"]:
        spoken = {"modbus-tcp": ("modbus",), "tcp": SERIAL_PROTOCOLS}
        chosen = [Setting(kind, spoken[kind]) for kind in kinds]
    elif wanted.bauds or wanted.parities:
        # As the usual settings have it, all others after.
        chosen = [
            Setting("serial", SERIAL_PROTOCOLS, baud, parity)
            for baud in wanted.bauds or tuple(dict.fromkeys(s.baud for s in USUAL))
            for parity in wanted.parities or ("none", "even")
        ]
    else:
        chosen = list(USUAL)
    return list(_narrowed(chosen, wanted))


def _narrowed(chosen: Iterable[Setting], wanted: Wanted) -> Iterable[Setting]:
    for setting in chosen:
        protocols = tuple(p for p in setting.protocols if p in wanted.protocols)
        if protocols:
            yield replace(setting, protocols=protocols)


def stage(setting: Setting, protocol: str, wanted: Wanted) -> Stage:
    """How much one protocol at one setting takes, when nobody answers."""
    if protocol == "modbus":
        questions = len(wanted.units)
    else:
        digits = {"dlt645": 12, "cjt188": 14}.get(protocol)
        known = sum(len(address) == digits for address in wanted.addresses)
        questions = _ROLL_CALLS[protocol] + known * _PER_ADDRESS.get(protocol, 0)
    on_wire_s = USUAL_BYTES * BITS_PER_CHARACTER / setting.baud if setting.baud else 0.0
    return Stage(setting, protocol, questions, questions * (wanted.timeout_s + on_wire_s))


def stages(kinds: Sequence[str], wanted: Wanted) -> list[Stage]:
    """All that is looked at when nobody answers anywhere, in order."""
    return [
        stage(setting, protocol, wanted)
        for setting in settings(kinds, wanted)
        for protocol in setting.protocols
    ]
