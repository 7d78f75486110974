"""`nenghao edge doctor`: what ails this gateway, in words for the person in front of it. Pure.

Everything is judged from some rounds of polls and from what the machine and the outbox's file say.
What values say of the wiring: `wiring`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

NOISY_BYTES_A_DAY = 100_000_000
"""Above this an SD card of some gigabytes lasts for years no more."""
BYTES_A_READING = 20.0
"""What a reading takes in the outbox, about, where too few are held to tell [bytes]."""
FEW_READINGS = 2000

_KINDS = {
    "timeout": "timeouts", "garbled": "CRC errors", "connection": "no connection",
    "exception": "refusals", "decode": "unreadable values",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is as it should be, or not; `hint` says what to look at."""

    where: str
    good: bool
    text: str
    hint: str = ""


def answers(
    meter: str, rounds: int, latencies_ms: Sequence[int], failures: Mapping[str, int], reason: str
) -> Finding:
    """How a meter answered: timeouts, CRC errors, histogram of its answers.

    `reason` = what was said when it was lost, empty when it never was.
    """
    text = f"{len(latencies_ms)} of {rounds} polls answered"
    failed = [f"{_KINDS.get(kind, kind)} {count}" for kind, count in failures.items() if count]
    if failed:
        text += f" ({', '.join(failed)})"
    if latencies_ms:
        text += f"; {histogram(latencies_ms)}"
    if not latencies_ms and reason:
        text += f"; {reason}"
    return Finding(
        meter, good=not failed, text=text, hint=_hint(failures, reason) if failed else ""
    )


def _hint(failures: Mapping[str, int], reason: str) -> str:
    if "another process" in reason:
        return "the port belongs to one process: systemctl stop nenghao-edge, then again"
    if failures.get("connection"):
        return "nothing listens there: address, port, cable, power of the gateway"
    if failures.get("timeout"):
        return "no answer: unit address, baud rate and parity, A and B swapped, termination"
    if failures.get("garbled"):
        return "frames arrive damaged: noise, missing ground, wrong baud rate, one address twice"
    return "the meter refuses registers of this map: another model or firmware"


def cycle_budget(bus: str, meters: int, needed_s: float, period_s: float, baud: int = 0) -> Finding:
    """Whether all meters of a wire can be asked within the period [s]; `baud` 0 = not serial."""
    rate = f" at {baud} baud" if baud else ""
    text = f"{meters} meters{rate} need {needed_s:.1f} s, you asked {period_s:g} s"
    if needed_s <= 0.8 * period_s:
        return Finding(bus, good=True, text=text)
    hint = f"poll each {_next_period(needed_s)} s, or spread the meters over more wires"
    return Finding(bus, good=False, text=text, hint=hint)


def _next_period(needed_s: float) -> int:
    """The shortest usual period with a fifth to spare."""
    usual = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900)
    return next((period for period in usual if needed_s <= 0.8 * period), 3600)


def histogram(latencies_ms: Iterable[int]) -> str:
    """Answers by duration, in steps that double."""
    bounds = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
    counts = dict.fromkeys((*bounds, 0), 0)
    for latency in latencies_ms:
        counts[next((bound for bound in bounds if latency <= bound), 0)] += 1
    named = ((f"<= {bound} ms" if bound else "longer", n) for bound, n in counts.items())
    return ", ".join(f"{name}: {n}" for name, n in named if n) or "no answer"


def outbox_health(
    *,
    free_bytes: int,
    used_bytes: int,
    limit_bytes: int,
    held_readings: int,
    readings_a_day: float,
    bytes_a_day: float | None,
    unacked: int,
    lost: int,
) -> Iterator[Finding]:
    """Room, horizon and wear of the disk.

    `bytes_a_day`: as the kernel counts, None = not known.
    """
    room = min(limit_bytes, used_bytes + free_bytes)
    each = used_bytes / held_readings if held_readings >= FEW_READINGS else BYTES_A_READING
    days = room / max(1.0, each * readings_a_day)
    yield Finding(
        "outbox",
        good=room >= limit_bytes,
        text=f"room for {room / 1e6:.0f} MB of {limit_bytes / 1e6:.0f} MB: {days:.0f} days of "
        f"{readings_a_day:.0f} readings a day",
        hint="" if room >= limit_bytes else "the disk has less room than outbox.max_bytes",
    )
    if bytes_a_day is not None:
        good = bytes_a_day <= NOISY_BYTES_A_DAY
        text = f"about {bytes_a_day / 1e6:.1f} MB a day are written"
        hint = "" if good else "longer commit_period_s or poll period: the card wears"
        yield Finding("disk", good=good, text=text, hint=hint)
    else:
        yield Finding(
            "disk", good=True, text="bytes written a day: known once the agent has run for a minute"
        )
    yield Finding("uplink", good=unacked < 1000, text=f"{unacked} batches not acknowledged yet")
    if lost:
        yield Finding("disk", good=False, text=f"{lost} batches lost to damage", hint="new SD card")
