"""What the demo asks of the others: the aggregator's HTTP API and the simulators' control port."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

TIMEOUT_S = 30.0
LINE_LIMIT = 1 << 24


class ControlError(RuntimeError):
    """The simulators refused a request."""


@dataclass(frozen=True, slots=True)
class CarrierToday:
    """Consumption of one carrier since Beijing midnight. unit: as in the API's field names."""

    carrier: str
    amount: float
    unit: str


@dataclass(frozen=True, slots=True)
class SiteNow:
    """One site of the live view. None: not known, which is not zero."""

    site: str
    name_zh: str
    name_en: str
    power_kw: float | None
    carriers: tuple[CarrierToday, ...]
    tce: float | None
    co2_t: float | None
    measured_share: float | None


@dataclass(frozen=True, slots=True)
class Now:
    """The whole district of the live view. outbox_*: what edges hold unacknowledged."""

    sites: tuple[SiteNow, ...]
    edges_online: int
    edges_total: int
    outbox_batches: int
    outbox_readings: int
    readings_per_s: float


_UNITS = {
    "energy_kwh": "kWh",
    "volume_m3": "m3",
    "mass_t": "t",
    "heat_gj": "GJ",
    "reactive_energy_kvarh": "kvarh",
}


class Api:
    """The aggregator's HTTP API."""

    def __init__(self, base_url: str) -> None:
        self._client = httpx.AsyncClient(base_url=base_url, timeout=TIMEOUT_S, trust_env=False)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def authorize(self, token: str) -> None:
        """Say who asks, from now on."""
        self._client.headers["Authorization"] = f"Bearer {token}"

    async def tell(self, event: Mapping[str, object]) -> None:
        """Tell what happened to a meter; httpx.HTTPError when it is refused."""
        answer = await self._client.post("/api/v1/events", json=dict(event))
        answer.raise_for_status()

    async def healthy(self) -> bool:
        """Whether it answers and its store is well."""
        try:
            answer = await self._client.get("/api/v1/health")
        except httpx.HTTPError:
            return False
        return answer.status_code == httpx.codes.OK

    async def now(self) -> Now | None:
        """The present state; None when it does not answer just now."""
        try:
            return parse_now(await self.get("/api/v1/live"))
        except httpx.HTTPError:
            return None

    async def proof(self, site: str) -> list[Mapping[str, Any]]:
        """The proof rows of one site; httpx.HTTPError."""
        answer = await self.get("/api/v1/proof", site=site)
        return list(answer["channels"])

    async def get(self, path: str, **parameters: str) -> Any:
        """Whatever is asked for; httpx.HTTPError."""
        answer = await self._client.get(path, params=parameters)
        answer.raise_for_status()
        return answer.json()


def parse_now(document: Mapping[str, Any]) -> Now:
    """The live answer of the API."""
    return Now(
        sites=tuple(_site(row) for row in document["sites"]),
        edges_online=document["edges_online"],
        edges_total=document["edges_total"],
        outbox_batches=document["outbox_depth_batches"],
        outbox_readings=document["outbox_depth_readings"],
        readings_per_s=document["readings_per_s"],
    )


def _site(row: Mapping[str, Any]) -> SiteNow:
    today = row["today"]
    carriers = [
        CarrierToday(carrier["carrier"], amount, _UNITS[name])
        for carrier in today["carriers"]
        for name, amount in carrier["consumption"].items()
        if amount is not None
    ]
    return SiteNow(
        site=row["site"],
        name_zh=row["name_zh"],
        name_en=row["name_en"],
        power_kw=row["power_kw"],
        carriers=tuple(carriers),
        tce=today["total"]["tce_calorific"],
        co2_t=today["total"]["co2_t"],
        measured_share=today["measured_share"],
    )


async def ask_control(host: str, port: int, request: Mapping[str, object]) -> Mapping[str, Any]:
    """One request to a control port; ControlError when it is refused, OSError when none listens."""
    reader, writer = await asyncio.open_connection(host, port, limit=LINE_LIMIT)
    try:
        writer.write(json.dumps(request).encode() + b"\n")
        answer: Mapping[str, Any] = json.loads(await reader.readline())
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    if answer.get("ok") is not True:
        raise ControlError(f"{request}: {answer.get('error')}")
    return answer
