"""What `nenghao profiles fit` does: finds weights in stored intervals, and keeps the row."""

import csv
from pathlib import Path
from tempfile import TemporaryDirectory

from aggregator.api.reader import LedgerReader, cumulative
from aggregator.batch import IntervalColumns
from aggregator.demand import coincident
from aggregator.ledger.profile_fit import FitError, Fitted, fit
from aggregator.register.carriers import carriers
from aggregator.register.database import Change, RegisterDatabase
from aggregator.register.model import Role
from aggregator.register.tables import TABLES
from aggregator.restatements import is_settled
from contract.interval import day_start
from contract.stored import Level

Row = dict[str, str]
"""A row of profiles.csv, column -> cell."""


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


def keep(database: RegisterDatabase, row: Row, author: str, note: str, now_ms: int) -> list[Change]:
    """Put a row into the register, in place of one of the same key; as an import, audited."""
    table = TABLES["profiles"]
    with TemporaryDirectory(prefix="nenghao-profiles-") as scratch:
        folder = Path(scratch)
        database.export_folder(folder)
        for path in folder.iterdir():
            if path.is_file() and path.name != table.file:
                path.unlink()
        file, rows = folder / table.file, list[Row]()
        if file.exists():
            with file.open(encoding="utf-8", newline="") as there:
                rows = list(csv.DictReader(there))
        others = [one for one in rows if any(one[name] != row[name] for name in table.key)]
        with file.open("w", encoding="utf-8", newline="") as out:
            writer = csv.DictWriter(out, [column.name for column in table.columns])
            writer.writeheader()
            writer.writerows([*others, row])
        return list(database.import_folder(folder, author=author, note=note, now_ms=now_ms))
