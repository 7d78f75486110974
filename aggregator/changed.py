"""What must be written for a stored list to be as it should: what differs, and what is gone."""

from collections.abc import Iterable, Mapping
from typing import Any

from aggregator.points import Points, Tags

Row = tuple[Tags, int, Mapping[str, Any]]


def changed(stored: Points, rows: Iterable[Row], gone: Mapping[str, Any]) -> Points:
    """Return the points that make a stored list say these rows.

    gone: fields of a point that should no longer be; the others stay as they are.
    """
    old = {(tags, at): row for tags, at, row in stored.rows()}
    wanted = {(tags, at): dict(row) for tags, at, row in rows}
    fresh = [(*key, row) for key, row in wanted.items() if old.get(key) != row]
    left = [
        (*key, {**row, **gone})
        for key, row in old.items()
        if key not in wanted and {**row, **gone} != row
    ]
    return Points.of_rows(stored.of, [*fresh, *left])
