"""What a scale test came to: its table, chart and remarks, and whether that is a success."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simulators.fleet.__main__ import EXIT_DIFFERS, EXIT_NOT_HELD
from simulators.fleet.chart import bar_chart, number
from simulators.fleet.latency import shown
from simulators.fleet.report import probes_line
from tests.benchmarks.measure import rate

DOCS = Path(__file__).parents[2] / "docs"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One case, measured. cores: CPU in use by process; thread: of the aggregator's busiest."""

    store: str
    broker: str
    meters: int
    sites: int
    poll_ms: int
    readings_per_batch: int
    seconds: float
    rollup_s: float
    offered_per_s: float
    acked_per_s: float
    sustained: bool
    lag_first: float
    lag_last: float
    resent_batches: int
    unsettled_batches: int
    unsent_batches: int
    delays_ms: dict[str, Any]
    """Of what became due in the measured time, whenever it was settled."""
    probes: dict[str, int]
    cores: dict[str, float]
    thread: float
    other_cores: float
    cpu_s_per_million: dict[str, float]
    peak_rss_mb: dict[str, int]
    store_mb: float
    store_bytes_per_reading: float
    start_s: float
    raw_per_s: float | None
    limit: str
    truth: str
    complaints: int


def _delay(found: Outcome, name: str) -> str:
    delay = found.delays_ms[name]
    return f"{shown(delay, 'p50')} / {shown(delay, 'p99')}"


def _probed(found: Outcome) -> str:
    seen, waiting = (found.probes.get(name, 0) for name in ("seen", "unsettled"))
    return f"{_delay(found, 'sent_to_interval')} ({seen:,}, {waiting:,})"


def table(found: Sequence[Outcome]) -> Iterator[str]:
    """Markdown."""
    columns: list[tuple[str, Any]] = [
        ("meters", lambda o: f"{o.meters:,}"),
        ("store", lambda o: o.store),
        ("offered /s", lambda o: f"{o.offered_per_s:,}"),
        ("acknowledged /s", lambda o: f"{o.acked_per_s:,}{'' if o.sustained else ' (lag grows)'}"),
        ("sent → ack p50 / p99 ms", lambda o: _delay(o, "sent_to_ack")),
        ("due → ack p50 / p99 ms", lambda o: _delay(o, "due_to_ack")),
        ("sent → interval p50 / p99 ms (probes seen, waiting)", _probed),
        ("aggregator cores", lambda o: f"{o.cores['aggregator']:.2f}"),
        ("CPU s per million: aggregator / all but generator", _per_million),
        ("aggregator peak RSS MB", lambda o: f"{o.peak_rss_mb['aggregator']:,}"),
        ("store bytes per reading", lambda o: f"{o.store_bytes_per_reading:.1f}"),
    ]
    yield f"| {' | '.join(name for name, _ in columns)} |"
    yield f"|{'---|' * len(columns)}"
    for one in found:
        yield f"| {' | '.join(value(one) for _, value in columns)} |"


def _per_million(found: Outcome) -> str:
    costs = found.cpu_s_per_million
    rest = sum(cost for name, cost in costs.items() if name != "generator")
    return f"{costs['aggregator']:.2f} / {rest:.2f}"


def remarks(found: Sequence[Outcome]) -> Iterator[str]:
    """What a table cannot hold."""
    for one in found:
        yield (
            f"{one.meters:,} meters: {one.seconds:.0f} s measured, each meter read every "
            f"{one.poll_ms / 1_000:g} s, {one.readings_per_batch} readings a batch, "
            f"{one.resent_batches} batches sent again, {one.unsettled_batches} never acknowledged "
            f"({one.unsent_batches} never sent); reading → ack {_delay(one, 'reading_to_ack')} ms, "
            f"reading → interval {_delay(one, 'reading_to_interval')} ms; "
            f"{probes_line(one.probes)}; limit: {one.limit}; peak RSS "
            f"{', '.join(f'{name} {mb} MB' for name, mb in one.peak_rss_mb.items())}; store "
            f"{one.store_mb:.0f} MB; start with its register {one.start_s} s; "
            f"{one.truth.partition(' (')[0]}."
        )
        if one.raw_per_s is not None:
            yield (
                f"Raw ingest of the store, measured in the same run: "
                f"{rate(one.raw_per_s, 1)} readings; ratio {one.acked_per_s / one.raw_per_s:.2f}."
            )
    if len(found) > 1 and found[0].meters != found[-1].meters:
        first, last = (one.cpu_s_per_million["aggregator"] for one in (found[0], found[-1]))
        yield (
            f"CPU s per million readings of the aggregator at {found[-1].meters:,} meters over "
            f"those at {found[0].meters:,}: × {last / first:.2f}."
        )


def chart(found: Sequence[Outcome]) -> str:
    """CPU per million readings by process."""
    names = [name for name in found[0].cpu_s_per_million if name != "generator"]
    groups = [
        (_group(one, found), [one.cpu_s_per_million[name] for name in names]) for one in found
    ]
    title = f"CPU seconds per million readings, {found[0].store} store"
    return bar_chart(title, groups, names)


def _group(one: Outcome, found: Sequence[Outcome]) -> str:
    if len({other.meters for other in found}) < len(found):
        return f"{number(one.offered_per_s)} /s"
    return f"{number(one.meters)} meters"


def put_into_docs(name: str, text: str | None, file: Path = DOCS / "performance.md") -> None:
    """Replace what stands between a figure's marks; None: only see that they are there.

    ValueError: they are not.
    """
    begin, end = f"<!-- scale {name} -->", "<!-- end -->"
    before = file.read_text("utf-8")
    after, count = re.subn(
        # Not across another figure's marks, where an end is missing.
        f"{re.escape(begin)}(?:(?!<!-- scale ).)*?{re.escape(end)}",
        lambda _: f"{begin}\n{text}\n{end}",
        before,
        flags=re.DOTALL,
    )
    if count != 1:
        raise ValueError(
            f"{file.name} has {count} places for this figure: write the lines `{begin}` and `{end}`"
            " once, where its table is to stand"
        )
    if text is not None:
        file.write_text(after, "utf-8")


def exit_code(found: Sequence[Outcome]) -> int:
    """Whether the ledger was right in every run, and then whether every rate was held."""
    if not all(one.truth.startswith("truth = ledger") for one in found):
        return EXIT_DIFFERS
    return 0 if all(one.sustained for one in found) else EXIT_NOT_HELD


def most_held(found: Sequence[Outcome]) -> str:
    """What a climb came to."""
    held = [one.acked_per_s for one in found if not exit_code([one])]
    over = [one.offered_per_s for one in found if exit_code([one])]
    return (
        f"- The most this machine holds: {f'{max(held):,}' if held else 'less'} readings/s; "
        f"{min(over):,} are too many."
    )
