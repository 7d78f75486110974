"""What a region lacks of sites that are silent altogether: no row of theirs says so.

A site writes a node's figure of a period only where some meter behind it has one; so the sum of a
region's rows does not know of the others. How long their meters should have been measured is in the
register: it is added to what the region expected and to what is missing.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from aggregator.allocation import NodeKey
from aggregator.nodes import Nodes, Span, expected_ms, length_of
from aggregator.points import Points
from contract.stored import THE_REGION, Level


def with_silent(
    nodes: Nodes, level: Level, region: str, of_sites: Points, summed: Points, grid_ms: int
) -> Points:
    """Return a region's figures with what is missing of the sites that have no row behind them.

    of_sites: the rows that `summed` is the sum of, by site, node and period.
    """
    if len(summed) == 0:
        return summed
    times = np.unique(summed.time_ms)
    lengths = np.array([length_of(level, t, grid_ms) for t in times.tolist()], np.int64)
    periods = list(zip(times.tolist(), (times + lengths).tolist(), strict=True))
    index = {NodeKey(*tags[2:]): i for i, tags in enumerate(summed.keys)}
    always = np.zeros(len(index), np.int64)
    """Meters behind a node whose site has one tree in all of these periods."""
    cut: dict[str, Sequence[Span]] = {}
    """Sites whose tree changes in between."""
    silent = np.zeros((len(index), len(times)), np.int64)
    for site in nodes.register.sites.values():
        if site.region != region:
            continue
        spans = nodes.plan((region, site.id)).between(*_extent(periods))
        if len(spans) > 1:
            cut[site.id] = spans
        for key in {key for span in spans for key in span.made.behind_of} & index.keys():
            if len(spans) == 1:
                always[index[key]] += spans[0].made.behind_of[key]
            else:
                silent[index[key]] += [expected_ms(spans, key, *period) for period in periods]
    silent += always[:, np.newaxis] * lengths

    # A row of zeros was taken back: nothing stands behind it.
    rows = of_sites.take(of_sites.columns["expected"] > 0)
    to, behind = np.zeros((2, len(rows.keys)), np.int64)
    for k, (_, site_id, *name) in enumerate(rows.keys):
        key = NodeKey(*name)
        to[k] = index.get(key, 0)
        if key in index and site_id not in cut and site_id != THE_REGION:
            for span in nodes.plan((region, site_id)).between(*_extent(periods)):
                behind[k] = span.made.behind_of.get(key, 0)
    at = np.searchsorted(times, rows.time_ms)
    np.subtract.at(silent, (to[rows.key], at), behind[rows.key] * lengths[at])
    changing = np.array([tags[1] in cut for tags in rows.keys], np.bool_)
    for row in np.flatnonzero(changing[rows.key]).tolist():
        _, site_id, *name = rows.keys[rows.key[row]]
        own_ms = expected_ms(cut[site_id], NodeKey(*name), *periods[at[row]])
        silent[to[rows.key[row]], at[row]] -= own_ms

    lacking = silent[summed.key, np.searchsorted(times, summed.time_ms)]
    columns = dict(summed.columns)
    columns["missing_ms"] = columns["missing_ms"] + lacking
    columns["expected"] = columns["expected"] + lacking // grid_ms
    return replace(summed, columns=columns)


def _extent(periods: Sequence[tuple[int, int]]) -> tuple[int, int]:
    return periods[0][0], periods[-1][1]
