"""The payloads of a fleet: encoded by the contract, then made an edge's own by replacing numbers.

An edge of a kind has the readings of all of its kind, at moments of its own. So a batch is encoded
once for its kind, and per edge only its times and its envelope change; a meta only its serial
numbers, a state only what the edge counts.
"""

from __future__ import annotations

import random
import re
from collections import OrderedDict

from contract.channels import catalogue
from contract.data import MAX_BLOCKS_BYTES, Block, encode_blocks, encode_envelope
from contract.meta import Meta, MetaChannel, MetaMeter, encode_meta, meta_hash
from contract.state import (
    BusState,
    ClockState,
    EdgeState,
    MeterState,
    OutboxState,
    UplinkState,
    encode_state,
    offline_state,
)
from contract.units import MICRO
from simulators.fleet.plan import (
    CHANNELS,
    CUMULATIVE,
    DISPLAY_STEP_MICRO,
    INSTANTANEOUS,
    MODULUS,
    VARIANTS,
    Plan,
    PlanError,
    instantaneous,
)

MODEL = "eastron-sdm630"
BUS = "lan"
KEPT_BLOCKS = 1_024
_SERIAL = b"F-edge-"
_MARK = 9_007_199_254_740_900
"""Numbers from here on stand in the state's template for what an edge counts."""
_MARKED = re.compile(rb"90071992547409(\d\d)")
_OUTBOX_MARK, _BOOT_MARK = "feedfeedfeedfeed", "b001b001b001"


def meter_id(meter: int) -> str:
    """A meter's id within its site; `meter` counts from 0."""
    return f"em-{meter + 1:03}"


class Messages:
    """Payloads of every edge of a plan. run: 8 hexadecimal digits, drawn anew for each run."""

    def __init__(self, plan: Plan, run: str) -> None:
        self._plan = plan
        self._run = run
        self._meta = encode_meta(_meta(plan))
        self._hashes = [meta_hash(self.meta(edge)) for edge in range(plan.edges)]
        self._blocks: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._state = _MARKED.split(encode_state(_state(plan)))
        size = len(self._encoded(0, 1))
        if size > MAX_BLOCKS_BYTES:
            raise PlanError(
                f"a batch of {plan.meters_per_edge} meters x {CHANNELS} channels x {plan.samples} "
                f"samples takes {size} bytes, at most {MAX_BLOCKS_BYTES}: fewer samples or meters"
            )

    def begin(self, plan: Plan) -> None:
        """Take the same plan with another start; nothing of the old one may have been sent."""
        self._plan = plan
        self._blocks.clear()

    def outbox(self, edge: int) -> str:
        """The id of an edge's outbox in this run."""
        return f"{self._run}{edge:08x}"

    def meta(self, edge: int) -> bytes:
        """What an edge reads."""
        return self._meta.replace(_SERIAL, b"F-%06d-" % edge)

    def data(self, edge: int, seq: int) -> bytes:
        """A batch; the same bytes each time."""
        blocks = self._shared(edge % VARIANTS, seq)
        first_ms = self._first_ms(seq)
        own_ms = first_ms + self._plan.phase_ms(edge)
        own = blocks.replace(b'"t0":%d,' % first_ms, b'"t0":%d,' % own_ms)
        return encode_envelope(self.outbox(edge), seq, self._hashes[edge], 1, (), own)

    def state(self, edge: int, now_ms: int, sent: int, upto: int) -> bytes:
        """What an edge says of itself when it has made batches up to `sent`."""
        depth = sent - upto
        counts = (now_ms, sent + 1, upto, depth, depth * self._plan.readings_per_batch, sent)
        parts = list(self._state)
        for place in range(1, len(parts), 2):
            parts[place] = b"%d" % counts[int(parts[place])]
        named = b"".join(parts).replace(_OUTBOX_MARK.encode(), self.outbox(edge).encode())
        return named.replace(_BOOT_MARK.encode(), f"{self._run}{edge % 65_536:04x}".encode())

    def offline(self, now_ms: int) -> bytes:
        """The last state."""
        return encode_state(offline_state(now_ms))

    def _first_ms(self, seq: int) -> int:
        """The first time in a batch of an edge without phase [ms]."""
        return self._plan.start_ms + (seq - 1) * self._plan.commit_ms

    def _shared(self, variant: int, seq: int) -> bytes:
        found = self._blocks.get((variant, seq))
        if found is None:
            found = self._blocks[variant, seq] = self._encoded(variant, seq)
            if len(self._blocks) > KEPT_BLOCKS:
                self._blocks.popitem(last=False)
        return found

    def _encoded(self, variant: int, seq: int) -> bytes:
        plan, first_ms = self._plan, self._first_ms(seq)
        times = tuple(first_ms + row * plan.poll_ms for row in range(plan.samples))
        draw = random.Random(f"{plan.seed}/{variant}/{first_ms}")
        blocks = []
        for meter in range(plan.meters_per_edge):
            columns: dict[str, tuple[int | float | None, ...]] = {
                name: plan.variant_registers(variant, meter, name, times) for name in CUMULATIVE
            }
            for name in INSTANTANEOUS:
                columns[name] = tuple(instantaneous(name, draw) for _ in times)
            blocks.append(Block(meter_id(meter), times, columns, {}))
        return encode_blocks(blocks)


def _meta(plan: Plan) -> Meta:
    channels = tuple(
        MetaChannel(
            name,
            catalogue()[name].unit,
            *((MODULUS, plan.rating(), DISPLAY_STEP_MICRO / MICRO) if name in CUMULATIVE else ()),
        )
        for name in CUMULATIVE + INSTANTANEOUS
    )
    return Meta(
        tuple(
            MetaMeter(meter_id(meter), f"{_SERIAL.decode()}{meter + 1:03}", MODEL, channels)
            for meter in range(plan.meters_per_edge)
        )
    )


def _state(plan: Plan) -> EdgeState:
    meters = tuple(
        MeterState(meter_id(meter), ok=True, polls=1) for meter in range(plan.meters_per_edge)
    )
    return EdgeState(
        online=True,
        time_ms=_MARK,
        boot=_BOOT_MARK,
        versions={"agent": "simulated fleet"},
        clock=ClockState(source="ntp", synchronised=True, offset_ms=0),
        outbox=OutboxState(
            id=_OUTBOX_MARK,
            next_seq=_MARK + 1,
            upto=_MARK + 2,
            depth_batches=_MARK + 3,
            depth_readings=_MARK + 4,
        ),
        uplink=UplinkState(connects=1, sent_batches=_MARK + 5),
        buses=(BusState(BUS, "modbus-tcp", cycles=1),),
        meters=meters,
    )
