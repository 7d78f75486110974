"""A run's report: JSON for programs, one page with charts for people, lines for the terminal."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

from contract.units import MICRO
from simulators.fleet.chart import Line, line_chart, number
from simulators.fleet.latency import shown
from simulators.fleet.plan import CHANNELS
from simulators.fleet.run import Report

DELAYS = {
    "lateness": "due to sent (the generator's own lateness, and full windows)",
    "sent_to_ack": "sent to ack, which follows the commit of readings and base intervals",
    "sent_to_interval": "sent to seen in the base intervals, probed over the API",
    "due_to_ack": "due to ack",
    "reading_to_ack": "reading to ack: a row waits until its batch is full",
    "reading_to_interval": "reading to seen in the base intervals",
    "outage_to_ack": "end of the outage to ack, of its backlog alone",
}


def document(report: Report) -> dict[str, Any]:
    """A report for JSON."""
    plan = report.plan
    return {
        "run": report.run,
        "plan": {
            **dataclasses.asdict(plan),
            "edges": plan.edges,
            "channels": plan.meters * CHANNELS,
            "readings_per_batch": plan.readings_per_batch,
            "readings_per_s": plan.readings_per_s,
        },
        "pace": dataclasses.asdict(report.pace),
        "batches": dict(report.batches),
        "complete": report.complete,
        "delays_ms": {name: dict(delays) for name, delays in report.delays_ms.items()},
        "generator": {
            "cpu_s_per_million": report.generator_cpu_s_per_million,
            "peak_rss_mb": round(report.generator_rss_mb, 1),
        },
        "probes": dict(report.probes),
        "outage": None if report.outage is None else dict(report.outage),
        "truth": None if report.truth is None else dataclasses.asdict(report.truth),
        "seconds": [dataclasses.asdict(second) for second in report.seconds],
        "freshness": [list(sample) for sample in report.freshness],
    }


def lines(report: Report) -> Iterator[str]:
    """What the terminal shows in the end."""
    plan, pace, batches = report.plan, report.pace, report.batches
    yield (
        f"{plan.edges:,} edges, {plan.meters:,} meters, {plan.meters * CHANNELS:,} channels, read "
        f"each {plan.poll_ms / 1_000:g} s, batches of {plan.readings_per_batch:,} readings"
        f"{', all edges at once' if plan.aligned else ''}"
    )
    yield (
        f"offered {pace.offered_per_s:,.0f} readings/s, acknowledged {pace.acked_per_s:,.0f}; lag "
        f"{number(pace.lag_first)} readings in the first third, {number(pace.lag_last)} in the "
        f"last: {'sustained' if pace.sustained else 'NOT sustained'}"
    )
    for name, words in DELAYS.items():
        delay = report.delays_ms[name]
        if delay["count"]:
            yield (
                f"{words}: p50 {shown(delay, 'p50')} ms, p99 {shown(delay, 'p99')} ms, max "
                f"{shown(delay, 'max')} ms ({delay['count']:,}"
                f"{f', {left:,} still waiting' if (left := delay['unsettled']) else ''})"
            )
    if report.outage is not None:
        yield (
            f"outage: {report.outage['edges']:,} edges silent for {report.outage['seconds']:g} s; "
            "their backlog is in no other delay"
        )
    if report.probes:
        yield probes_line(report.probes)
    cost = report.generator_cpu_s_per_million
    yield (
        f"{batches['acked_batches']:,} of {batches['due_batches']:,} batches acknowledged, "
        f"{batches['resent_batches']:,} sent again, {batches['late_batches']:,} late, "
        f"{batches['connects']} connections made; generator "
        f"{'–' if cost is None else f'{cost:.3f}'} CPU s per million readings, "
        f"{report.generator_rss_mb:.0f} MB"
    )
    yield truth_line(report)


def probes_line(probes: Mapping[str, int]) -> str:
    """What became of the probes in one line."""
    return (
        f"{probes['taken']:,} probes taken of batches as they became due: {probes['seen']:,} seen, "
        f"{probes['unsettled']:,} still waiting ({probes['unsent']:,} never sent), "
        f"{probes['held_up']:,} in an outage's backlog; {probes['refused']:,} questions refused"
    )


def truth_line(report: Report) -> str:
    """Truth and ledger in one line."""
    truth = report.truth
    if not report.complete:
        left = report.batches["unsettled_batches"]
        return f"truth: not compared, for {left:,} batches are not acknowledged"
    if truth is None:
        return "truth: not compared (no --api)"
    sums = f"true {truth.true_micro / MICRO:,.6f}, ledger {truth.booked_micro / MICRO:,.6f}"
    of = f"{truth.registers:,} registers of {truth.sites:,} sites ({sums} kWh and kvarh)"
    if truth.holds:
        return f"truth = ledger, to the micro-unit and the reading: {of}"
    more = f"; and {len(truth.problems) - 5} more" if len(truth.problems) > 5 else ""
    return f"truth and ledger DIFFER: {of}: {'; '.join(truth.problems[:5])}{more}"


def page(report: Report) -> str:
    """One HTML page that needs nothing else."""
    seconds = report.seconds
    charts = [
        line_chart(
            "Readings per second",
            "s",
            [
                Line("offered", [(s.at_s, s.offered) for s in seconds]),
                Line("acknowledged", [(s.at_s, s.acked) for s in seconds]),
            ],
        ),
        line_chart(
            "Due to ack, per second [ms]",
            "s",
            [
                Line("p50", [(s.at_s, s.ack_p50_ms) for s in seconds]),
                Line("p99", [(s.at_s, s.ack_p99_ms) for s in seconds]),
            ],
        ),
        line_chart(
            "Sent to seen in the base intervals, probes [ms]",
            "s",
            [Line("probe", report.freshness, dots=True)],
        ),
        line_chart(
            "Readings not acknowledged",
            "s",
            [
                Line(
                    "lag", [(s.at_s, s.unsettled * report.plan.readings_per_batch) for s in seconds]
                )
            ],
        ),
        line_chart(
            "Most late send of each second [ms]",
            "s",
            [Line("lateness", [(s.at_s, s.lateness_max_ms) for s in seconds])],
        ),
    ]
    told = "".join(f"<li>{escape(line)}</li>" for line in lines(report))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>nenghao fleet '
        f"{report.run}</title><style>body{{font:15px/1.5 sans-serif;max-width:800px;margin:2em "
        "auto;padding:0 1em}svg{max-width:100%;height:auto;display:block;margin:1em 0}</style>"
        f"</head><body><h1>Fleet {report.run}</h1><ul>{told}</ul>{''.join(charts)}</body></html>\n"
    )


def write(report: Report, folder: Path) -> None:
    """Write report.json and report.html."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document(report), indent=1) + "\n"
    (folder / "report.json").write_text(text, "utf-8")
    (folder / "report.html").write_text(page(report), "utf-8")
