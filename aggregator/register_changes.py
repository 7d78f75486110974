"""Which changes of the register made a channel's declaration what it is: the audit, played again.

A meter's rows say much that no figure depends on (calibration, note, place in the tree). Who
answers for a figure is who changed what it depends on, since the figure followed it last.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from aggregator.directory import SeriesKey
from aggregator.ledger.meter_events import commissioned, steps
from aggregator.ledger.registers import Registers
from aggregator.register.profiles import Profile, in_force, quarters
from aggregator.register.tables import TABLES

FOLLOWED = ("meters", "integrated_channels", "profiles")
"""Tables that figures of amounts follow at the next start."""
_PARTS = ("multipliers", "commissioned_ms", "edges", "profiles", "integrated_from_ms")
"""What of `Registers` they declare."""


class RegisterChange(NamedTuple):
    """One record of the audit."""

    id: int
    author: str
    note: str
    table: str
    key: Mapping[str, str]
    after: Mapping[str, str] | None
    """The row as a file would say it; None: it was removed."""


@dataclass(slots=True)
class _Rows:
    """The rows of one meter, and what may spread its gaps, as far as they have been told."""

    of: SeriesKey
    named: bool
    """Whether it matters which edge is named."""
    meters: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    integrated: dict[str, int] = field(default_factory=dict)
    profiles: dict[tuple[str, ...], Profile] = field(default_factory=dict)

    def take(self, change: RegisterChange) -> None:
        key, row = change.key, _read(change)
        if key.get("meter") not in (self.of.meter, ""):
            return
        if change.table == "meters":
            _put(self.meters, key["valid_from"], row)
        elif change.table == "integrated_channels":
            _put(self.integrated, key["channel"], row and row["valid_from_ms"])
        else:
            weights = {name: quarters(row[name]) for name in ("weekday", "weekend")} if row else {}
            profile = None if row is None else Profile(**(row | weights))
            _put(self.profiles, tuple(key.values()), profile)

    def declared(self) -> Mapping[str, Any]:
        """Return the parts of `Registers` that these rows declare; nothing without a meter."""
        rows = sorted(self.meters.values(), key=lambda row: row["valid_from_ms"])
        if not rows:
            return dict.fromkeys(_PARTS)
        profiles = in_force(self.profiles.values(), self.of.meter, rows[-1]["carrier"])
        edges = steps((row["valid_from_ms"], row["edge"]) for row in rows)
        return {
            "multipliers": steps((row["valid_from_ms"], row["multiplier"]) for row in rows),
            "commissioned_ms": commissioned(row["valid_from_ms"] for row in rows),
            "edges": edges if self.named and any(edge for _, edge in edges) else (),
            "profiles": tuple((since_ms, one.digest) for since_ms, one in profiles),
            "integrated_from_ms": self.integrated.get(self.of.channel),
        }


def responsible(
    changes: Iterable[RegisterChange], key: SeriesKey, was: Registers | None, now: Registers
) -> Sequence[RegisterChange]:
    """Return what led from the declaration that figures follow to the present one, oldest first.

    changes: of the meter's site, all that ever were, oldest first. Where `was` never stood, only
    the last one is known to.
    """
    followed = {part: None if was is None else getattr(was, part) for part in _PARTS}
    differ = [part for part in _PARTS if followed[part] != getattr(now, part)]
    rows = _Rows(key, named=bool(now.edges or (was is not None and was.edges)))
    before = rows.declared()
    stood = {part for part in differ if before[part] == followed[part]}
    since: dict[str, list[RegisterChange]] = {part: [] for part in differ}
    for change in changes:
        rows.take(change)
        after = rows.declared()
        for part in differ:
            if after[part] == followed[part]:
                since[part] = []
                stood.add(part)
            elif after[part] != before[part]:
                since[part].append(change)
        before = after
    led = {c.id: c for part in differ for c in (since[part] if part in stood else since[part][-1:])}
    return [led[id_] for id_ in sorted(led)]


def _read(change: RegisterChange) -> dict[str, Any] | None:
    """Return a row as it was stored; of a file of an older version without what it had not."""
    if change.after is None:
        return None
    columns = [c for c in TABLES[change.table].columns if c.name in change.after]
    return {c.stored_as: c.cell.read(change.after[c.name]) for c in columns}


def _put(rows: dict[Any, Any], key: object, row: object | None) -> None:
    if row is None:
        rows.pop(key, None)
    else:
        rows[key] = row
