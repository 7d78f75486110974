"""Where `nenghao prove` gets its rows: a running aggregator's API, or a store opened for it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from pydantic import TypeAdapter, ValidationError

from aggregator.api.proving import By, ProofRow, periods, proof_rows
from aggregator.api.reader import LedgerReader, cumulative
from aggregator.api.routes.proof import ProofAnswer
from aggregator.client import Client, Refused
from contract.interval import MINUTE_MS

TIMEOUT_S = 300.0
"""A channel of a long life takes seconds, and 500 may be asked for at once."""
_SITES = TypeAdapter(list[dict[str, object]])
_METERS = TypeAdapter(dict[str, list[dict[str, object]]])


class SourceError(Exception):
    """The rows cannot be had now; the message says why."""


class CallError(Exception):
    """What was asked for cannot be meant; the message says what."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be proved; None: all, the first reading, the last reading."""

    site: str | None
    meter: str | None
    from_ms: int | None
    to_ms: int | None
    by: By


class Source(Protocol):
    """Gives rows site by site, so that a city needs no more room than a site."""

    def sites(self) -> Sequence[str]:
        """Return the sites asked for; CallError, SourceError, Refused."""
        ...

    def rows(self, site: str) -> Iterator[ProofRow]:
        """Yield the rows of one site; CallError, SourceError, Refused."""
        ...


class OpenedStore:
    """Proves from a store in this process."""

    def __init__(self, reader: LedgerReader, asked: Asked) -> None:
        for time_ms in (asked.from_ms, asked.to_ms):
            if time_ms is not None and time_ms % reader.grid_ms:
                minutes = reader.grid_ms // MINUTE_MS
                raise CallError(f"--from and --to are borders of intervals of {minutes} min")
        self._reader = reader
        self._asked = asked
        self._spans = periods(asked.from_ms, asked.to_ms, asked.by)

    def sites(self) -> Sequence[str]:
        asked, register = self._asked, self._reader.register
        if asked.site is not None and asked.site not in register.sites:
            raise CallError(f"no site {asked.site!r} in the register")
        if asked.meter is not None and (asked.site or "", asked.meter) not in register.rows:
            raise CallError(f"no meter {asked.meter!r} at site {asked.site!r}")
        return list(register.sites) if asked.site is None else [asked.site]

    def rows(self, site: str) -> Iterator[ProofRow]:
        reader = self._reader
        for found in cumulative(reader.series(site), reader.register.sites[site].region):
            meters = reader.register.rows.get((site, found.key.meter))
            if meters and self._asked.meter in (None, found.key.meter):
                yield from proof_rows(reader, found, meters[-1], self._spans)


class Api:
    """Asks a running aggregator."""

    def __init__(self, client: Client, asked: Asked) -> None:
        self._asked = asked
        self._client = client

    def sites(self) -> Sequence[str]:
        if self._asked.site is not None:
            return [self._asked.site]
        return [str(row["site"]) for row in _SITES.validate_json(self._client.content("sites"))]

    def rows(self, site: str) -> Iterator[ProofRow]:
        asked = self._asked
        span = {"from": asked.from_ms, "to": asked.to_ms, "by": asked.by}
        said = {name: str(value) for name, value in span.items() if value is not None}
        try:
            yield from self._proof(site=site, meter=asked.meter, **said)
        except Refused as error:
            if asked.meter is not None or "at most" not in error.reason:
                raise
        else:
            return
        meters = _METERS.validate_json(self._client.content("meters", site=site))
        for meter in meters["meters"]:
            yield from self._proof(site=site, meter=str(meter["meter"]), **said)

    def _proof(self, **parameters: str | None) -> Sequence[ProofRow]:
        try:
            answer = self._client.content("proof", **parameters)
            return ProofAnswer.model_validate_json(answer).channels
        except ValidationError as error:
            raise SourceError(f"the aggregator is of another version: {error}") from None
