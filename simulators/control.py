"""The control port: JSON lines over TCP, one request line, one answer line.

    {"group": G, "time_ms": N}            hold a group's time at N (add "rewind": true to go back)
    {"group": G, "live": true}            follow the wall clock
    {"served": true}                      first and last answer of every counter, with the truth
    {"power": true}                       true net rate of every meter now
    {"exchange": "site/meter", "shown_micro": N}
                                          put another meter in its place; what the old one shows
    {"fault": "site/meter", "kind": K}    let something be wrong with it from now on: K as of
                                          `simulate wire --fault`, such as "stuck", "garbled:3"
    {"heal": "site/meter"}                take off all that was put on; a reset stays
    {"ping": true}                        groups, and whether the port is alive

A group is a site or one of its edges. Each edge also has a control port of its own, where its
site's name means the meters of this edge alone: so two gateways of a site can be stepped through a
day side by side, each knowing no more than its own configuration.

An answer has "ok": true, or "ok": false and "error": what is wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping, Sequence

from simulators import named_faults
from simulators.meter import SimulatedMeter
from simulators.timeline import TimeError, Timeline

MAX_LINE_BYTES = 65536


class ControlPort:
    """Answers control requests for a district, or for one edge of it."""

    def __init__(
        self, timeline: Timeline, meters: Sequence[SimulatedMeter], edge: str | None = None
    ) -> None:
        """Edge: this port's groups are cut down to this edge."""
        self._timeline = timeline
        self._meters = [meter for meter in meters if edge in {None, meter.identity.edge}]
        self._edge = edge

    async def serve(self, host: str = "127.0.0.1", port: int = 0) -> asyncio.Server:
        """Start listening; port 0 takes a free one."""
        return await asyncio.start_server(self._converse, host, port, limit=MAX_LINE_BYTES)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(json.dumps(self.answer_line(line)).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):
            pass  # the other side left, or sent a line beyond the limit
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    def answer_line(self, line: bytes) -> dict[str, object]:
        """The answer to one request line."""
        try:
            request = json.loads(line)
        except (ValueError, RecursionError) as error:
            return {"ok": False, "error": f"not a JSON line: {error}"}
        if not isinstance(request, dict):
            return {"ok": False, "error": "a request is a JSON object"}
        try:
            return {"ok": True, **self._answer(request)}
        except TimeError as error:
            return {"ok": False, "error": str(error)}

    def _answer(self, request: Mapping[str, object]) -> dict[str, object]:
        if request.get("served") is True:
            return {"served": [row for meter in self._meters for row in meter.served()]}
        if request.get("power") is True:
            return {"power": [self._power_row(meter) for meter in self._meters]}
        if isinstance(request.get("exchange"), str):
            return self._exchange(str(request["exchange"]), request.get("shown_micro"))
        if isinstance(request.get("fault"), str):
            return self._fault(str(request["fault"]), str(request.get("kind")))
        if isinstance(request.get("heal"), str):
            return self._heal(str(request["heal"]))
        if request.get("ping") is True:
            return {"groups": list(self._timeline.edges)}
        group, time_ms = request.get("group"), request.get("time_ms")
        if not isinstance(group, str):
            known = "group, served, power, exchange, fault, heal or ping"
            raise TimeError(f"a request names one of {known}")
        edges = self._timeline.edges_of(group)
        if self._edge is not None:
            edges = tuple(edge for edge in edges if edge == self._edge)
            if not edges:
                raise TimeError(f"this port moves {self._edge} alone, not {group}")
        if request.get("live") is True:
            self._timeline.follow(edges)
            return {}
        if not isinstance(time_ms, int) or isinstance(time_ms, bool):
            raise TimeError('"time_ms" must be an integer (or "live": true)')
        self._timeline.freeze(edges, time_ms, rewind=request.get("rewind") is True)
        return {}

    def _exchange(self, name: str, shown_micro: object) -> dict[str, object]:
        if not isinstance(shown_micro, int) or isinstance(shown_micro, bool) or shown_micro < 0:
            raise TimeError('"shown_micro" must be what the new meter shows')
        meter, time_ms = self._meter(name)
        final = meter.shown_micro(time_ms)
        meter.defects.exchange(time_ms, shown_micro)
        return {"time_ms": time_ms, "final": final}

    def _fault(self, name: str, kind: str) -> dict[str, object]:
        meter, time_ms = self._meter(name)
        try:
            named_faults.spoil(meter, kind, time_ms)
        except ValueError as error:
            raise TimeError(f'"kind": {error}') from error
        return {"time_ms": time_ms}

    def _heal(self, name: str) -> dict[str, object]:
        meter, time_ms = self._meter(name)
        named_faults.heal(meter, time_ms)
        return {"time_ms": time_ms}

    def _meter(self, name: str) -> tuple[SimulatedMeter, int]:
        """The meter called `name`, and what time it is for it."""
        for meter in self._meters:
            if f"{meter.identity.site}/{meter.identity.id}" == name:
                return meter, self._timeline.now_ms(meter.identity.edge)
        raise TimeError(f"no meter {name!r}")

    def _power_row(self, meter: SimulatedMeter) -> dict[str, object]:
        identity = meter.identity
        time_ms = self._timeline.now_ms(identity.edge)
        return {
            "site": identity.site,
            "meter": identity.id,
            "carrier": identity.carrier,
            "per_hour": meter.power(time_ms),
        }
