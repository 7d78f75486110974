"""Seed after seed: a folder each, what is said, and of a failure the line that repeats it."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import shutil
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import httpx

from simulators.chaos.faults import Fault, ScriptError, possible, read_script
from simulators.chaos.run import Run
from simulators.chaos.schedule import draw_schedule
from simulators.chaos.servers import find_program
from simulators.chaos.world import DISTRICT, ChaosError, Setting, program, targets_of
from simulators.demo.clients import ControlError
from simulators.demo.processes import ProcessFailedError
from simulators.district import find_district, load_district

MOST_SHOWN = 40
FORESEEN = (ChaosError, ControlError, ProcessFailedError, OSError, httpx.HTTPError)
"""What says by itself what did not work; of anything else problems.txt has the traceback too."""


class UsageError(ValueError):
    """The run cannot begin as it was asked for."""


def setting_of(arguments: argparse.Namespace, seed: int) -> Setting:
    """What takes part in a seed's run. UsageError when a server is not installed."""
    broker = arguments.broker or ("mosquitto" if find_program("mosquitto") else "embedded")
    setting = Setting((arguments.folder / f"seed-{seed}").resolve(), broker, arguments.store, seed)
    try:
        for server, needed in (("mosquitto", broker == "mosquitto"), ("influxd", setting.influx)):
            if needed:
                program(server)
    except ChaosError as error:
        raise UsageError(str(error)) from None
    return setting


def faults_of(arguments: argparse.Namespace, setting: Setting) -> tuple[Fault, ...]:
    """The script's faults, or those the seed draws. UsageError."""
    district = load_district(find_district(DISTRICT))
    targets = targets_of(setting, tuple(edge for site in district.sites for edge in site.edges))
    if arguments.script is None:
        kinds = possible(setting.abilities, targets)
        return draw_schedule(setting.seed, arguments.minutes * 60, kinds, targets)
    try:
        return read_script(arguments.script.read_text("utf-8"), setting.abilities, targets)
    except (OSError, UnicodeDecodeError, ScriptError) as error:
        raise UsageError(f"{arguments.script}: {error}") from None


def recipe(arguments: argparse.Namespace, setting: Setting) -> str:
    """The line that repeats a run."""
    words = ["nenghao", "prove-chaos", "--seed", str(setting.seed)]
    if arguments.script is None:
        words += ["--minutes", f"{arguments.minutes:g}"]
    else:
        words += ["--script", str(arguments.script)]
    return shlex.join([*words, "--store", setting.store, "--broker", setting.broker])


async def prove_seeds(arguments: argparse.Namespace) -> int:
    """One seed after the other until one fails; returns the exit code. UsageError."""
    done = 0
    while not arguments.rounds or done < arguments.rounds:
        setting = setting_of(arguments, arguments.seed + done)
        faults = faults_of(arguments, setting)
        if not await _prove(arguments, setting, faults):
            return 1
        done += 1
    return 0


async def _prove(
    arguments: argparse.Namespace, setting: Setting, faults: tuple[Fault, ...]
) -> bool:
    _empty(setting.folder)
    say = _narrator(setting.folder)
    say(f"seed {setting.seed}: {len(faults)} faults; {setting.broker}, store {setting.store}")
    try:
        result = await Run(setting, faults, say).prove()
    except Exception as error:  # noqa: BLE001 - whatever it is, the recipe follows
        problems: tuple[str, ...] = (f"{type(error).__name__}: {error}",)
        where = "" if isinstance(error, FORESEEN) else traceback.format_exc()
    else:
        where = ""
        problems = result.problems
        say(str(result))
    if not problems:
        say(f"seed {setting.seed}: truth = ledger, no interval wrong, nothing lost or doubled")
        if not arguments.keep:
            shutil.rmtree(setting.folder)
        return True
    with contextlib.suppress(OSError):  # of a full disk too the last line is the recipe
        text = "\n".join([*problems, where])
        (setting.folder / "problems.txt").write_text(text, "utf-8")
    for problem in problems[:MOST_SHOWN]:
        say(problem)
    if len(problems) > MOST_SHOWN:
        say(f"and {len(problems) - MOST_SHOWN} more in problems.txt")
    say(f"NOT proved; logs, outboxes and store: {setting.folder}")
    say(f"again: {recipe(arguments, setting)}")
    return False


def _narrator(folder: Path) -> Callable[[str], None]:
    """Prints lines with the time since now, and keeps them."""
    began_s = time.monotonic()

    def say(text: str) -> None:
        line = f"{time.monotonic() - began_s:6.1f} s  {text}"
        print(line, flush=True)
        with (
            contextlib.suppress(OSError),
            (folder / "chaos.log").open("a", encoding="utf-8") as log,
        ):
            print(line, file=log)

    return say


def _empty(folder: Path) -> None:
    """Make the folder anew. UsageError when it holds something else than a run."""
    marker = folder / "chaos.log"
    if folder.exists() and any(folder.iterdir()) and not marker.exists():
        raise UsageError(f"{folder} holds other things than a run of prove-chaos")
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    marker.touch()
