"""What `nenghao close` does: opens what an aggregator is made of, and freezes a month.

The command owns the store for the time it runs (`aggregator.owned`).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from aggregator.api.month import month_parts
from aggregator.api.reader import LedgerReader, cumulative
from aggregator.app import wall_ms
from aggregator.closings import Closing, ClosingError, Closings, Part
from aggregator.config import Config
from aggregator.events import Events
from aggregator.offline import opened
from aggregator.register.model import Site

_OWNER = "nenghao close"


@dataclass(frozen=True, slots=True)
class Closed:
    """A month that was closed just now, and what of it was not measured."""

    closing: Closing
    channels: int
    sites: int
    silent: tuple[str, ...]
    """`site/meter` of the register of which nothing is known in the month, or a part of it."""
    open: tuple[str, ...]
    """`site/meter/channel` with time missing: closed with what was known."""
    estimated: Mapping[str, int]
    """`site/meter/channel` not read up to the end: estimated from this last reading on [ms]."""
    measured_ms: int
    estimated_ms: int
    missing_ms: int

    @classmethod
    def of(cls, closing: Closing, parts: list[Part], read: Mapping[str, int]) -> "Closed":
        """Sum up what was frozen; read: when each channel was read last."""
        own = [part for part in parts if part.channel]
        return cls(
            closing,
            len({(part.site, part.meter, part.channel) for part in own}),
            len({part.site for part in own}),
            _distinct(f"{part.site}/{part.meter}" for part in parts if not part.channel),
            _distinct(_name(part) for part in own if part.missing_ms > 0),
            {_name(part): read[_name(part)] for part in own if part.open_ms > 0},
            sum(part.measured_ms for part in own),
            sum(part.estimated_ms for part in own),
            sum(part.missing_ms for part in own),
        )


def _name(part: Part) -> str:
    return f"{part.site}/{part.meter}/{part.channel}"


def _last_read(reader: LedgerReader, sites: Sequence[Site]) -> Mapping[str, int]:
    """Return when each channel of some sites was read last [ms UTC]."""
    found: dict[str, int] = {}
    for site in sites:
        channels = cumulative(reader.series(site.id), site.region)
        times = reader.last_times([one.index for one in channels]).tolist()
        names = ["/".join(one.key[1:]) for one in channels]
        found |= dict(zip(names, times, strict=True))
    return found


def _distinct(names: Iterator[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


@contextmanager
def closings_of(config: Config) -> Iterator[Closings]:
    """Open the closings alone: they can be read while an aggregator runs."""
    closings = Closings(config.aggregator.database_url())
    try:
        closings.open()
        yield closings
    finally:
        closings.close()


def close_month(
    config: Config, events: Events, *, region: str, month_ms: int, author: str, reason: str
) -> Closed:
    """Freeze a region's month; ClosingError when it may not, StoreOwned beside an aggregator."""
    now_ms = wall_ms()
    with closings_of(config) as closings:
        closings.check(region, month_ms, now_ms)
        with opened(config, _OWNER, events) as parts:
            sites = [site for site in parts.register.sites.values() if site.region == region]
            pairs = [(region, site.id) for site in sites]
            if behind := sorted({site.id for site in sites} & {*parts.reader.not_applied}):
                raise ClosingError(
                    f"stored measures of {behind[0]}"
                    + (f" and {len(behind) - 1} other sites" if behind[1:] else "")
                    + " were made with other factors, prices or measured calorific values than "
                    f"are configured (set {parts.reader.factor_set.name}): "
                    "`nenghao factors apply` first"
                )
            # What is frozen follows the register and what was told, as after the next start.
            parts.replayer().catch_up(pairs)
            frozen = [part for site in sites for part in month_parts(parts.reader, site, month_ms)]
            for place in pairs:
                if waits := parts.waiting(*place):
                    raise ClosingError(
                        f"{place[1]}: {len(waits)} readings of {waits.address.edge} wait in "
                        "quarantine that a clock event lets in; start the aggregator until "
                        "they are in"
                    )
            closing = closings.add(
                region,
                month_ms,
                frozen,
                author=author,
                reason=reason,
                factor_set=parts.reader.factor_set.name,
                now_ms=now_ms,
            )
            return Closed.of(closing, frozen, _last_read(parts.reader, sites))
