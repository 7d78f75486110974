"""What the demo shows: a live screen on a terminal, lines of text elsewhere. Asks nothing."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich import box
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from simulators.demo.clients import Now, SiteNow
from simulators.demo.proof import Line, Verdict

MICRO = 1_000_000
PICTURE_WIDTH = 118
BAR_WIDTH = 24
UNKNOWN = "–"
CARRIERS: Mapping[str, str] = {
    "electricity": "电 electricity",
    "natural_gas": "气 natural gas",
    "raw_coal": "煤 raw coal",
    "steam": "汽 steam",
    "water": "水 water",
}
_COLUMNS = (
    ("electricity", "kWh", "电 kWh"),
    ("natural_gas", "m3", "气 m³"),
    ("raw_coal", "t", "煤 t"),
    ("steam", "GJ", "汽 GJ"),
    ("water", "m3", "水 m³"),
)


@dataclass(slots=True)
class Scene:
    """All that the screen shows. backlog: edge -> share done; left_s: seconds of live data left."""

    title: str
    phase: str = "starting"
    backlog: dict[str, float] = field(default_factory=dict)
    now: Now | None = None
    left_s: float | None = None
    note: str = ""


def render(scene: Scene) -> RenderableType:
    """The whole screen."""
    parts: list[RenderableType] = [_status(scene), _sites(scene.now.sites if scene.now else ())]
    if scene.backlog and any(share < 1 for share in scene.backlog.values()):
        parts.append(_backlog(scene.backlog))
    if scene.note:
        parts.append(Text(scene.note, style="dim"))
    return Panel(Group(*parts), title=scene.title, box=box.ROUNDED, padding=(0, 1))


def _status(scene: Scene) -> RenderableType:
    line = Text.assemble(("● ", "green"), (scene.phase, "bold"))
    if scene.left_s is not None:
        line.append(f"   {scene.left_s:.0f} s left")
    if scene.now is not None:
        now = scene.now
        line.append(f"   edges online {now.edges_online}/{now.edges_total}")
        line.append(f"   outbox {now.outbox_readings:,} readings in {now.outbox_batches:,} batches")
        line.append(f"   {now.readings_per_s:,.0f} readings/s", style="cyan")
    return line


def _sites(sites: Sequence[SiteNow]) -> RenderableType:
    table = Table(box=box.SIMPLE_HEAD, expand=True, pad_edge=False)
    table.add_column("site")
    table.add_column("now kW", justify="right", style="bold yellow")
    for _, _, title in _COLUMNS:
        table.add_column(title, justify="right")
    table.add_column("tce", justify="right", style="bold")
    table.add_column("t CO₂", justify="right", style="bold")
    table.add_column("measured", justify="right")
    for site in sites:
        amounts = {(row.carrier, row.unit): row.amount for row in site.carriers}
        table.add_row(
            f"{site.name_zh} [dim]{site.site}[/dim]",
            _number(site.power_kw, 0),
            *(_number(amounts.get((carrier, unit)), 1) for carrier, unit, _ in _COLUMNS),
            _number(site.tce, 2),
            _number(site.co2_t, 2),
            UNKNOWN if site.measured_share is None else f"{site.measured_share:.1%}",
        )
    table.caption = "consumption since Beijing midnight; factor set 演示 (demonstration)"
    table.caption_justify = "left"
    return table


def _backlog(backlog: Mapping[str, float]) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for edge, share in backlog.items():
        table.add_row(
            edge, ProgressBar(total=1.0, completed=share, width=BAR_WIDTH), f"{share:.0%}"
        )
    return Group(Text("Without network, polled into the outboxes:"), table)


def _number(value: float | None, digits: int) -> str:
    return UNKNOWN if value is None else f"{value:,.{digits}f}"


def plain_line(scene: Scene) -> str:
    """The scene in one line, for logs and pipes."""
    parts = [scene.phase]
    if scene.backlog and any(share < 1 for share in scene.backlog.values()):
        share = sum(scene.backlog.values()) / len(scene.backlog)
        parts.append(f"backlog {share:.0%}")
    if scene.left_s is not None:
        parts.append(f"{scene.left_s:.0f} s left")
    if scene.now is not None:
        now = scene.now
        parts.append(f"edges {now.edges_online}/{now.edges_total}")
        parts.append(f"outbox {now.outbox_readings} readings")
        parts.append(f"{now.readings_per_s:.0f} readings/s")
        parts += [
            f"{site.site} {_number(site.power_kw, 0)} kW {_number(site.tce, 2)} tce"
            for site in now.sites
        ]
    return " | ".join(parts)


def proof_table(lines: Sequence[Line], verdicts: Sequence[Verdict]) -> RenderableType:
    """The proof per site and carrier, and every channel that fails it."""
    table = Table(
        title="Proof: the signals' truth, the registers as served, the ledger",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        expand=True,
        pad_edge=False,
    )
    table.add_column("site", no_wrap=True)
    table.add_column("carrier", no_wrap=True)
    for title in ("true", "served", "ledger"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("unit")
    table.add_column("ledger\n-served", justify="right", no_wrap=True)
    table.add_column("worst true\n-served", justify="right", no_wrap=True)
    table.add_column("registers\nproved", justify="right", no_wrap=True)
    for line in lines:
        good = line.good == line.channels
        table.add_row(
            line.site,
            CARRIERS.get(line.carrier, line.carrier),
            *(
                f"{micro / MICRO:,.3f}"
                for micro in (line.true_micro, line.served_micro, line.ledger_micro)
            ),
            line.unit,
            f"{line.ledger_off_micro} µ",
            f"{line.worst_steps:.2f} steps",
            Text(f"{line.good}/{line.channels} {'✓' if good else '✗'}", "green" if good else "red"),
        )
    bad = [verdict for verdict in verdicts if verdict.problems]
    text = Text()
    for verdict in bad:
        name = f"{verdict.site}/{verdict.meter}/{verdict.channel}"
        text.append(f"✗ {name}: {'; '.join(verdict.problems)}\n", "red")
    if not bad:
        text.append(
            f"All {len(verdicts)} registers agree: served = ledger to the micro-unit, truth "
            "within two display steps. No energy was lost, none counted twice.",
            "bold green",
        )
    else:
        text.append(f"{len(bad)} of {len(verdicts)} registers FAIL the proof.", "bold red")
    note = Text("All registers of all meters are added up: boundary, sub and tariff alike.", "dim")
    return Group(table, note, text)


_TEXT = re.compile(r'textLength="([\d.]+)"([^>]*)>([^<]*)<')


def _true_width(match: re.Match[str]) -> str:
    """Rich gives a Chinese character the width of one cell in its SVG; it is two."""
    text = html.unescape(match[3])
    length = float(match[1]) * cell_len(text) / len(text)
    return f'textLength="{length:g}"{match[2]}>{match[3]}<'


def save_picture(path: Path, *parts: RenderableType) -> None:
    """Save what was shown as an SVG without addresses of web fonts."""
    console = Console(record=True, width=PICTURE_WIDTH, file=io.StringIO())
    for part in parts:
        console.print(part)
    svg = console.export_svg(title="make demo")
    svg = _TEXT.sub(_true_width, svg)
    svg = re.sub(r"@font-face\s*{[^}]*}|<!--.*?-->", "", svg, flags=re.DOTALL)
    path.write_text(svg, encoding="utf-8")
