"""Where `nenghao prove` gets its rows: a running aggregator's API, or a store opened for it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import httpx
from pydantic import TypeAdapter, ValidationError

from aggregator.api.errors import ApiError
from aggregator.api.proving import By, ProofRow, periods, proof_rows
from aggregator.api.reader import LedgerReader, cumulative
from aggregator.api.routes.proof import ProofAnswer
from contract.interval import MINUTE_MS

_TIMEOUT_S = 300.0
"""A channel of a long life takes seconds, and 500 may be asked for at once."""
_SITES = TypeAdapter(list[dict[str, object]])


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
        """Return the sites asked for; CallError, SourceError."""
        ...

    def rows(self, site: str) -> Iterator[ProofRow]:
        """Yield the rows of one site; CallError, SourceError."""
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

    def __init__(
        self,
        url: str,
        asked: Asked,
        transport: httpx.BaseTransport | None = None,
        token: str = "",
    ) -> None:
        self._asked = asked
        self._client = httpx.Client(
            base_url=f"{url.rstrip('/')}/api/v1/",
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=_TIMEOUT_S,
            transport=transport,
        )

    def sites(self) -> Sequence[str]:
        if self._asked.site is not None:
            return [self._asked.site]
        return [str(row["site"]) for row in _SITES.validate_json(self._get("sites", {}))]

    def rows(self, site: str) -> Iterator[ProofRow]:
        asked = self._asked
        span = {"from": asked.from_ms, "to": asked.to_ms, "by": asked.by}
        said = {name: str(value) for name, value in span.items() if value is not None}
        try:
            yield from self._proof({"site": site, "meter": asked.meter, **said})
        except ApiError as error:
            if asked.meter is not None or "at most" not in error.reason:
                raise CallError(str(error)) from None
        else:
            return
        try:
            meters = TypeAdapter(dict[str, list[dict[str, object]]]).validate_json(
                self._get("meters", {"site": site})
            )
            for meter in meters["meters"]:
                yield from self._proof({"site": site, "meter": str(meter["meter"]), **said})
        except ApiError as error:
            raise CallError(str(error)) from None

    def close(self) -> None:
        """Close the connections; idempotent."""
        self._client.close()

    def _proof(self, parameters: dict[str, str | None]) -> Sequence[ProofRow]:
        said = {name: value for name, value in parameters.items() if value is not None}
        try:
            return ProofAnswer.model_validate_json(self._get("proof", said)).channels
        except ValidationError as error:
            raise SourceError(f"the aggregator is of another version: {error}") from None

    def _get(self, path: str, parameters: dict[str, str]) -> bytes:
        """Return an answer; ApiError when the request is refused."""
        try:
            answer = self._client.get(path, params=parameters)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise SourceError(f"{self._client.base_url}: {error}") from None
        if answer.status_code == httpx.codes.OK:
            return answer.content
        try:
            told = answer.json()["error"]
            parameter, reason = str(told["parameter"]), str(told["reason"])
        except (ValueError, KeyError, TypeError):
            raise SourceError(f"{answer.url}: status {answer.status_code}") from None
        if answer.status_code in (404, 422):
            raise ApiError(answer.status_code, parameter, reason)
        raise SourceError(f"{answer.url}: {reason}")
