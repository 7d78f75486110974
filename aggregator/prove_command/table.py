"""Rows of the proof as a table for a terminal."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from aggregator.api.proving import ProofRow
from aggregator.terminal import table
from contract.channels import catalogue
from contract.units import MICRO

HEAD = (
    "meter", "channel", "from", "to", "start", "end", "x", "events", "booked", "held",
    "difference", "unit", "meas%", "est%", "held%", "miss%", "slots", "",
)  # fmt: skip


def proof_table(rows: Sequence[ProofRow]) -> str:
    """Return lines of a site's rows: registers as displayed, all else behind the multiplier."""
    right = [name for name in HEAD[4:-1] if name != "unit"]
    return table(HEAD, [_cells(row) for row in rows], right=right)


def _cells(row: ProofRow) -> list[str]:
    whole_ms = row.measured_ms + row.estimated_ms + row.held_ms + row.missing_ms
    times = (row.measured_ms, row.estimated_ms, row.held_ms, row.missing_ms)
    changed = row.rollovers + row.register_changes
    return [
        row.meter,
        row.channel,
        _beijing(row.first_ms if row.from_ms is None else row.from_ms),
        _beijing(row.last_ms if row.to_ms is None else row.to_ms),
        decimal(row.register_start_micro),
        decimal(row.register_end_micro),
        str(row.multiplier),
        decimal(row.events_micro) + (f" ({changed})" if changed else ""),
        decimal(row.booked_micro),
        decimal(row.held_micro),
        decimal(row.difference_micro),
        str(catalogue()[row.channel].unit),
        *(f"{100 * part / whole_ms:.1f}" if whole_ms else "-" for part in times),
        f"{row.slots_received}/{row.slots_expected}",
        ("closes" if row.closes else "DOES NOT CLOSE") + (", integrated" * row.integrated),
    ]


def decimal(micro: int | None) -> str:
    """Return micro-units as an exact decimal of the unit; '-' for what is not known."""
    if micro is None:
        return "-"
    whole, rest = divmod(abs(micro), MICRO)
    text = f"{whole}.{rest:06}".rstrip("0").rstrip(".")
    return f"-{text}" if micro < 0 else text


def _beijing(time_ms: int | None) -> str:
    if time_ms is None:
        return "-"
    local = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=time_ms, hours=8)
    return local.strftime("%Y-%m-%d %H:%M")
