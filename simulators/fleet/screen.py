"""What is seen of a run: a live screen on a terminal, else a line now and then."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.live import Live
from rich.panel import Panel
from rich.table import Table

from simulators.fleet.chart import number
from simulators.fleet.run import Run

_LINE_EACH_S = 5.0


def rows(run: Run) -> list[tuple[str, str]]:
    """Names and values of what is worth seeing now."""
    second, plan = run.last, run.plan
    ready = sum(connection.ready for connection in run.connections)
    found = [
        ("phase", f"{run.phase}, {second.at_s if second is not None else 0:.0f} s"),
        ("fleet", f"{plan.edges:,} edges, {plan.meters:,} meters over {ready} connections"),
    ]
    if second is not None:
        found += [
            ("offered", f"{number(second.offered)} readings/s"),
            ("acknowledged", f"{number(second.acked)} readings/s"),
            ("waiting", f"{number(second.unsettled * plan.readings_per_batch)} readings"),
            ("due to ack", f"p50 {_ms(second.ack_p50_ms)}, p99 {_ms(second.ack_p99_ms)}"),
            ("most late", _ms(second.lateness_max_ms)),
            ("sent again", f"{run.total.resent_batches:,} batches"),
        ]
    if run.silent:
        found.append(("outage", f"{len(run.silent):,} edges are silent"))
    prober = run.prober
    if prober is not None and prober.taken:
        delays = prober.sent_to_interval
        seen = f"p50 {_ms(delays.percentile(50))}, p99 {_ms(delays.percentile(99))}"
        found.append(("to interval", f"{seen}; {prober.seen:,} of {prober.taken:,} probes seen"))
    return found


def _ms(value: int | None) -> str:
    return "–" if value is None else f"{value:,} ms"


@contextlib.contextmanager
def watching(
    say: Callable[[str], None] | None, console: Console | None = None
) -> Iterator[Callable[[Run], None]]:
    """Give what a run calls each second; it is told in lines to `say`, else shown live.

    console: where it is shown; left out: standard output.
    """
    if say is not None:
        said_s = -_LINE_EACH_S

        def tell(run: Run) -> None:
            nonlocal said_s
            if run.since_s - said_s >= _LINE_EACH_S:
                said_s = run.since_s
                say(" | ".join(f"{name} {value}" for name, value in rows(run)))

        yield tell
        return
    with Live(console=console, refresh_per_second=4, auto_refresh=False) as screen:

        def show(run: Run) -> None:
            table = Table.grid(padding=(0, 2))
            for name, value in rows(run):
                table.add_row(f"[dim]{name}[/dim]", value)
            screen.update(Panel(table, title=f"fleet {run.run}", expand=False), refresh=True)

        yield show
