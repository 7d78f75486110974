"""The `nenghao` command: finds its subcommands through entry points and starts the one asked for.

Nothing of a subcommand is imported before it is chosen, so `nenghao --help` answers at once and the
edge's command works where the aggregator's libraries are not installed. Any installed distribution
may add one: a function `main(argv) -> exit code` in the entry point group `nenghao.commands`.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points, version

ENTRY_POINT_GROUP = "nenghao.commands"
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Command:
    """What is known about a subcommand of ours without importing it."""

    extra: str
    summary: str


COMMANDS: Mapping[str, Command] = {
    "edge": Command("edge", "poll meters, buffer durably, forward to the broker"),
    "aggregate": Command("aggregator", "turn readings into the energy ledger and serve the API"),
    "events": Command("aggregator", "say what happened to meters, see what is proposed"),
    "command": Command("aggregator", "send a command to an edge and show its reply"),
    "factors": Command("aggregator", "list, check and apply conversion factors and tariffs"),
    "close": Command("aggregator", "close a month of a region: freeze what is reported of it"),
    "prove": Command("aggregator", "prove per meter and period that no energy is lost or doubled"),
    "replay": Command("aggregator", "make stored figures anew from raw readings"),
    "tokens": Command("aggregator", "say who may use the API, see who wrote what"),
    "profiles": Command("aggregator", "find how energy spreads over the day, for gaps to come"),
    "register": Command("aggregator", "import, export and check the register, show its changes"),
    "simulate": Command("simulators", "serve simulated meters whose true totals are known"),
    "dashboards": Command("grafana", "render dashboards and alert rules, put them into Grafana"),
    "demo": Command("demo", "run one simulated district end to end and prove its energy balance"),
    "prove-chaos": Command("demo", "break everything by seed or script and prove the ledger"),
}
"""Shown by `--help`; an installed subcommand that is not listed is shown by its package's name."""

MODULES_OF_OTHER_EXTRAS: Mapping[str, str] = {
    "influxdb_client": "influx2",
    "psycopg": "postgres",
}
"""Modules a subcommand asks for only in some configurations, and the extra that brings them."""

OUR_MODULES = frozenset({"contract", "edge_agent", "aggregator", "simulators", "grafana"})


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns its exit code, 2 for a wrong call or a missing extra."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    installed = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    if not arguments:
        print(_help_text(installed), file=sys.stderr)
        return EXIT_USAGE
    name, *rest = arguments
    if name in {"-h", "--help"}:
        print(_help_text(installed))
        return 0
    if name in {"-V", "--version"}:
        print(f"nenghao {version('nenghao')}")
        return 0
    point = installed.get(name)
    if point is None:
        known = ", ".join(sorted(installed))
        print(f"nenghao: there is no command {name!r}; known: {known}", file=sys.stderr)
        return EXIT_USAGE
    return _run(point, rest)


def _run(point: EntryPoint, arguments: Sequence[str]) -> int:
    try:
        return int(point.load()(arguments))
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        extra = _extra_for(point.name, missing)
        if extra is None:
            raise
        print(
            f"nenghao {point.name}: the Python module {missing!r} is not installed. "
            f"Install it with:\n    pip install 'nenghao[{extra}]'",
            file=sys.stderr,
        )
        return EXIT_USAGE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _extra_for(command: str, module: str) -> str | None:
    """The extra that brings `module`; None where no extra could bring it: then it is a fault."""
    if not module or module in OUR_MODULES or module in sys.stdlib_module_names:
        return None
    known = COMMANDS.get(command)
    return MODULES_OF_OTHER_EXTRAS.get(module) or (known.extra if known else None)


def _help_text(installed: Mapping[str, EntryPoint]) -> str:
    width = max((len(name) for name in installed), default=0)
    ours_first = [name for name in COMMANDS if name in installed]
    names = [*ours_first, *sorted(installed.keys() - COMMANDS)]
    lines = [
        "usage: nenghao [--help] [--version] COMMAND ...",
        "",
        "Online energy-consumption monitoring for a city (能耗在线监测).",
        "",
        "commands:",
        *(f"  {name:<{width}}  {_summary(installed[name])}" for name in names),
        "",
        "`nenghao COMMAND --help` says more about one of them.",
    ]
    return "\n".join(lines)


def _summary(point: EntryPoint) -> str:
    if point.name in COMMANDS:
        return COMMANDS[point.name].summary
    return f"(from {point.dist.name})" if point.dist else f"(from {point.module})"


if __name__ == "__main__":
    sys.exit(main())
