"""What `nenghao profiles fit` does: finds weights in stored intervals."""

from aggregator.api.reader import LedgerReader, cumulative
from aggregator.batch import IntervalColumns
from aggregator.demand import coincident
from aggregator.ledger.profile_fit import FitError, Fitted, fit
from aggregator.register.carriers import carriers
from aggregator.register.model import Role
from aggregator.restatements import is_settled
from contract.interval import day_start
from contract.stored import Level


def fitted(
    reader: LedgerReader, site: str, meter: str, carrier: str, from_ms: int, to_ms: int
) -> Fitted:
    """Find weights in what one meter, or all boundary_in meters of a carrier, counted forward.

    FitError: there is no such meter, or too little of it was measured.
    """
    register = reader.register
    chosen: dict[int, int] = {}
    for row in register.meters(site, to_ms):
        if meter != row.id and (meter or (row.carrier, row.role) != (carrier, Role.BOUNDARY_IN)):
            continue
        own = {
            found.key.channel: found.index
            for found in cumulative(reader.series(site), register.sites[site].region)
            if found.key.meter == row.id
        }
        forward = [c for c, sign in carriers()[row.carrier].accounted(own).items() if sign > 0]
        chosen |= {own[channel]: 1 for channel in forward}
    if not chosen:
        raise FitError(f"no figures of {meter or carrier} at {site}")
    figures = reader.figures(Level.INTERVAL, list(chosen), from_ms, to_ms)
    load = coincident(_sure(figures, reader.now_ms()), chosen, reader.grid_ms)
    return fit(load.start_ms, load.amount, reader.grid_ms)


def _sure(figures: IntervalColumns, now_ms: int) -> IntervalColumns:
    """Keep what no verdict says anything of, of settled days."""
    settled = [is_settled(day_start(at), now_ms) for at in figures.start_ms.tolist()]
    kept = figures.take((figures.flags == 0).nonzero()[0])
    return kept if all(settled) else figures.take((figures.flags == 0) & settled)
