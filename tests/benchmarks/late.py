"""What late readings cost: the pipeline's CPU with 1 % of readings late, against none.

    python -m tests.benchmarks.late

Eight days of 1-minute readings in batches of 15 minutes go through the pipeline and an embedded
store, in order; then the same with 1 % of the batches delayed by 1 h to 7 d, each committed as soon
as it comes, which is the dearest way. Settled days leave restatement records.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator

from aggregator.config import PaceSection
from aggregator.ingest.subscriber import Message
from contract.interval import DAY_MS, HOUR_MS, MINUTE_MS
from contract.topics import MessageKind
from tests.benchmarks.load import CHANNELS, Load
from tests.benchmarks.measure import machine
from tests.benchmarks.stages import messages, profile

SHARE = 0.01
DELAY_MS = (HOUR_MS, 7 * DAY_MS)
PACE = PaceSection(late_debounce_s=0.0, late_quiet_s=0.0, rollup_s=2.0)


def delayed(sent: list[Message], batch_ms: int, edges: int) -> list[Message]:
    """Let 1 % of the batches come 1 h to 7 d after their turn, or at the end."""
    draw = random.Random(1)
    places: list[tuple[float, int]] = []
    for number, message in enumerate(sent):
        late = message.topic.endswith(MessageKind.DATA) and draw.random() < SHARE
        rounds = draw.uniform(*DELAY_MS) / batch_ms if late else 0.0
        places.append((number + rounds * edges, number))
    return [sent[number] for _, number in sorted(places)]


def main() -> Iterator[str]:
    return run(Load(edges=20, samples=15, period_ms=MINUTE_MS), days=8)


def run(load: Load, days: int) -> Iterator[str]:
    batch_ms = load.samples * load.period_ms
    start_ms = (time.time_ns() // 1_000_000 - days * DAY_MS) // HOUR_MS * HOUR_MS
    load = Load(load.edges, load.meters, load.samples, load.period_ms, start_ms)
    batches = days * DAY_MS // batch_ms
    sent = messages(load, batches)
    yield (
        f"{load.edges} sites x {load.meters} meters x {CHANNELS} channels, {days} days of readings "
        f"each {load.period_ms // 1_000} s in batches of {batch_ms // MINUTE_MS} min"
    )
    prompt = profile(load, batches, PACE, sent).stages
    found = profile(load, batches, PACE, delayed(sent, batch_ms, load.edges))
    plain, late = sum(prompt.values()), sum(found.stages.values())
    million = found.readings / 1e6
    yield (
        f"CPU s per million readings: none late {plain / million:.2f}, {SHARE:.0%} late by 1 h to "
        f"7 d {late / million:.2f}, x {late / plain:.2f}"
    )
    more = {stage: took - prompt.get(stage, 0.0) for stage, took in found.stages.items()}
    parts = sorted(more.items(), key=lambda item: -abs(item[1]))
    yield "the difference, CPU ms per million readings: " + ", ".join(
        f"{stage} {1e3 * took / million:.0f}" for stage, took in parts if took > 1e-3 * million
    )


if __name__ == "__main__":
    print(machine())
    for line in main():
        print(line)
    sys.exit(0)
