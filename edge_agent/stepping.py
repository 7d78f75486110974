"""The lockstep backlog run: a gateway that returns from a day without network, in minutes.

The agent's own pollers, decoders and outbox run under a clock that stands still between steps.
Before each step the simulated meters are told what time it is, over their control port:
``{"group": "<site>", "time_ms": N}`` and a newline, answered by ``{"ok": true}``. The uplink is
off; the next start of the agent finds the backlog in the outbox.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from edge_agent.agent import build_meta, device_maps, make_pollers, open_outbox
from edge_agent.clock import SteppingClock
from edge_agent.config import EdgeConfig
from edge_agent.errors import LinkError
from edge_agent.events import Emit

ANSWER_TIMEOUT_S = 10.0
PROGRESS_STEPS = 60


@dataclass(frozen=True, slots=True)
class Steps:
    """Poll at `first_ms`, then every `step_ms`, up to and including `last_ms` [ms UTC].

    least: steps in a batch; more when the commit period holds more.
    """

    first_ms: int
    last_ms: int
    step_ms: int
    least: int = 1

    def times(self) -> range:
        """All instants of the run."""
        return range(self.first_ms, self.last_ms + 1, self.step_ms)


class Control:
    """Tells the simulated meters of one group what time it is."""

    def __init__(
        self, where: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._where = where
        self._reader = reader
        self._writer = writer

    async def freeze(self, group: str, time_ms: int) -> None:
        """Set the group's time; LinkError when the simulator does not follow."""
        request = json.dumps({"group": group, "time_ms": time_ms}) + "\n"
        try:
            self._writer.write(request.encode())
            answer = await asyncio.wait_for(self._reader.readline(), ANSWER_TIMEOUT_S)
            if json.loads(answer or b"{}").get("ok") is not True:
                raise LinkError(self._where, f"the simulator answers {answer[:200]!r}")
        except (OSError, TimeoutError, ValueError, AttributeError) as error:
            raise LinkError(self._where, f"no answer to a step: {error!r}") from error


@contextlib.asynccontextmanager
async def open_control(host: str, port: int) -> AsyncIterator[Control]:
    """Connect to a simulator's control port. LinkError when nobody listens."""
    where = f"control {host}:{port}"
    try:
        reader, writer = await asyncio.wait_for(
            asyncio.open_connection(host, port), ANSWER_TIMEOUT_S
        )
    except (OSError, TimeoutError) as error:
        raise LinkError(where, f"cannot connect: {error!r}") from error
    try:
        yield Control(where, reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def run_steps(
    config: EdgeConfig,
    steps: Steps,
    control: tuple[str, int],
    emit: Emit,
    progress: Callable[[int], None],
    stop: asyncio.Event,
) -> int:
    """Poll every step and commit everything; returns the readings taken.

    `progress` is told the time [ms UTC] of every 60th step and of the last. Ends early, with all
    that was read committed, when `stop` is set.
    """
    devices = device_maps(config)
    meta = build_meta(config, devices)
    clock = SteppingClock(steps.first_ms)
    commit_ms = max(round(config.uplink.commit_period_s * 1000), steps.least * steps.step_ms)
    taken = 0
    with contextlib.closing(open_outbox(config, emit)) as outbox:
        outbox.use_meta(meta)
        pollers = make_pollers(config, devices, clock, outbox, emit)
        committed_ms = steps.first_ms
        async with open_control(*control) as simulator:
            try:
                for index, time_ms in enumerate(steps.times()):
                    if stop.is_set():
                        break
                    await simulator.freeze(config.edge.site, time_ms)
                    clock.advance(time_ms)
                    taken += sum(
                        await asyncio.gather(*(poller.poll_once(time_ms) for poller in pollers))
                    )
                    if time_ms - committed_ms >= commit_ms:
                        outbox.commit(time_ms)
                        committed_ms = time_ms
                    if index % PROGRESS_STEPS == PROGRESS_STEPS - 1:
                        progress(time_ms)
                progress(clock.time_ms())
            finally:
                for poller in pollers:
                    await poller.close()
                outbox.commit(clock.time_ms())
    return taken
