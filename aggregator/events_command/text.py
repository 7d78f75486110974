"""Answers of the API as lines for a terminal, times at Beijing's offset."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from aggregator.terminal import table

_BEIJING = timezone(timedelta(hours=8))
_NOT_VALUES = {
    "id", "kind", "site", "region", "meter", "channel", "at_ms", "until_ms", "author", "reason",
    "told_ms", "stands", "undone_ms", "undone_by", "undone_why",
}  # fmt: skip


def events_text(events: Sequence[Mapping[str, Any]]) -> str:
    """One line per event."""
    if not events:
        return "Nothing was said."
    head = ["id", "kind", "site", "meter", "channel", "at", "until", "values", "author", "reason",
            "undone"]  # fmt: skip
    rows = [
        [
            str(event["id"]),
            event["kind"],
            event["site"],
            event.get("meter", "*"),
            event.get("channel", "*"),
            beijing(event["at_ms"]),
            beijing(event["until_ms"]) if "until_ms" in event else "",
            _values(event),
            event["author"],
            event["reason"],
            "" if event["stands"] else f"{event['undone_by']}: {event['undone_why']}",
        ]
        for event in events
    ]
    return table(head, rows, right=("id",))


def findings_text(
    findings: Sequence[Mapping[str, Any]], clocks: Sequence[Mapping[str, Any]]
) -> str:
    """One paragraph per finding: what, the readings or batches, what may be said."""
    parts = [*map(_finding, findings), *map(_clock, clocks)]
    return "\n\n".join("\n".join(lines) for lines in parts) or "Nothing is held."


def _clock(one: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"{one['site']}/{one['edge']} from {beijing(one['from_ms'])} to {beijing(one['to_ms'])} by "
        f"its own clock: {one['ahead_s']} s ahead ({one['rule']}), {one['readings']} readings of "
        f"{one['batches']} batches in quarantine"
    )
    rows = [
        [
            beijing(row["arrived_ms"]),
            beijing(row["last_ms"]),
            str(row["ahead_s"]),
            str(row["readings"]),
        ]
        for row in one["evidence"]
    ]
    yield table(["arrived", "last reading", "ahead [s]", "readings"], rows, right=("ahead [s]",))
    yield from _said(one, "batches")


def _finding(one: Mapping[str, Any]) -> Iterator[str]:
    held = next(iter(one["held"].values()))
    yield (
        f"{one['site']}/{one['meter']}/{one['channel']} at {beijing(one['at_ms'])}: {one['found']} "
        f"({one['rule']}), {held} {one['unit']} held"
    )
    head = ["", "time", "display", "quality", "edge", "rule"]
    rows = [
        [
            ">" if row["time_ms"] == one["at_ms"] else " ",
            beijing(row["time_ms"]),
            str(row["display"]),
            row["quality"] or "declared",
            row["edge"] or "",
            row["rule"] or "",
        ]
        for row in one["evidence"]
    ]
    yield table(head, rows, right=("display",))
    yield from _said(one, "readings")


def _said(one: Mapping[str, Any], what: str) -> Iterator[str]:
    if one["waits_for"]:
        yield f"waits for {one['waits_for']} more {what} to confirm it"
    for proposal in one["proposals"]:
        yield f"proposed: {json.dumps(proposal, ensure_ascii=False)}"


def _values(event: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in event.items() if name not in _NOT_VALUES)


def beijing(time_ms: int) -> str:
    """Return a time at Beijing's offset."""
    return datetime.fromtimestamp(time_ms / 1000, _BEIJING).isoformat(timespec="seconds")
