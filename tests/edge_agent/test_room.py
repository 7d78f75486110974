"""How much an outbox holds, when it alarms, and what an agent does whose disk cannot be written."""

import asyncio
import contextlib
import random

import pytest

from contract.interval import DAY_MS, GRID_MS
from contract.reading import Reading
from edge_agent import agent
from edge_agent import committer as committer_module
from edge_agent.agent import open_outbox, run_agent
from edge_agent.clock import SystemClock
from edge_agent.committer import Committer
from edge_agent.config import OutboxConfig, parse_config
from edge_agent.errors import OutboxError, OutboxFullError, OutboxLockedError
from edge_agent.events import Event, OutboxFilling, OutboxVolatile
from edge_agent.outbox.base import MemoryOutbox
from edge_agent.outbox.inspection import inspect
from edge_agent.outbox.sqlite import SqliteOutbox
from simulators.demo.processes import free_port
from tests.edge_agent.test_commands import TOML
from tests.suites.outbox_suite import META, NOW, registers


def test_half_a_year_of_quarters_of_a_hundred_channels_fits_the_default(tmp_path):
    """Two days are written and the rest reckoned: each quarter is a batch of its own."""
    chance = random.Random(5)
    outbox = SqliteOutbox(tmp_path / "outbox.sqlite", OutboxConfig().max_bytes, 190)
    outbox.use_meta(META)
    days = 2
    for slot in range(days * 96):
        time_ms = NOW + slot * GRID_MS
        outbox.append(
            [Reading(f"em-{i // 4}", channel, time_ms, chance.randrange(10**9))
             for i, channel in enumerate(["energy_import", "energy_export"] * 10)]
            + [Reading(f"em-{i}", "power", time_ms, chance.random() * 100) for i in range(80)]
        )  # fmt: skip
        outbox.commit(time_ms)
    a_day = outbox.stats().held_bytes / days
    outbox.close()
    half_a_year = 183 * a_day
    assert inspect(tmp_path / "outbox.sqlite").held_readings == days * 96 * 100
    assert half_a_year < OutboxConfig().max_bytes / 10
    assert OutboxConfig().max_days >= 183


def test_the_alarm_comes_at_70_and_90_percent_and_goes_with_the_acks():
    events: list[Event] = []
    outbox = MemoryOutbox(10_000, 190)
    outbox.use_meta(META)
    committer = Committer(outbox, SystemClock(), events.append, 30)
    shares = []
    for i in range(60):
        outbox.append(registers(10, 10 * i))
        committer.commit()
        shares.append(outbox.stats().alarm_percent)
        if outbox.stats().alarm_percent == 90:
            break
    assert events == [OutboxFilling(70), OutboxFilling(90)]
    assert shares == sorted(shares)
    outbox.acknowledge(outbox.next_seq - 1)
    committer.commit()
    assert events[-1] == OutboxFilling(0)


def config_in(tmp_path):
    return parse_config(TOML.format(port=1, dead=2).encode(), tmp_path / "edge.toml")


def test_where_nothing_can_be_written_readings_go_on_in_memory(tmp_path):
    events: list[Event] = []
    (tmp_path / "data").write_text("a file where the folder should be")
    outbox = open_outbox(config_in(tmp_path), events.append)
    assert not outbox.durable
    assert isinstance(events[0], OutboxVolatile)
    outbox.use_meta(META)
    outbox.append(registers(3))
    assert list(outbox.commit(NOW)) == [1]


async def test_an_agent_in_memory_begins_anew_on_the_disk_when_it_can_be_written(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(agent, "DISK_RETRY_S", 0.05)
    file = tmp_path / "edge.toml"
    file.write_text(TOML.format(port=free_port(), dead=free_port()))
    config = parse_config(file.read_bytes(), file)
    config.edge.data_dir.write_text("a file where the folder should be")
    events: list[Event] = []
    running = asyncio.create_task(
        run_agent(config, SystemClock(), events.append, asyncio.Event(), None, file)
    )
    done, _ = await asyncio.wait({running}, timeout=0.5)
    assert not done
    config.edge.data_dir.unlink()
    assert await asyncio.wait_for(running, 10) is True
    assert isinstance(events[0], OutboxVolatile)
    with contextlib.closing(open_outbox(config, events.append)) as outbox:
        assert outbox.durable


def test_another_agent_on_the_outbox_is_no_reason_to_go_on_in_memory(tmp_path):
    config = config_in(tmp_path)
    first = open_outbox(config, lambda _: None)
    with pytest.raises(OutboxLockedError):
        open_outbox(config, lambda _: None)
    first.close()


@pytest.mark.parametrize(("kind", "ends"), [(OutboxError, True), (OutboxFullError, False)])
async def test_an_agent_ends_when_its_disk_is_gone_for_good_but_not_when_it_is_full(
    kind, ends, monkeypatch
):
    monkeypatch.setattr(committer_module, "STUCK_S", 0.05)

    class Broken(MemoryOutbox):
        def commit(self, now_ms: int) -> range:
            raise kind("file", "no")

    outbox = Broken(1 << 20, 190)
    committer = Committer(outbox, SystemClock(), lambda _: None, 0.01)
    outbox.append(registers(3))
    running = asyncio.create_task(committer.run(lambda: None))
    done, _ = await asyncio.wait({running}, timeout=0.5)
    assert bool(done) is ends
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert outbox.pending == 3


async def test_nothing_is_let_go_for_its_age_by_a_clock_nobody_believes():
    from edge_agent.timekeeping import Timekeeper
    from tests.edge_agent.test_timekeeping import FakeMachine

    machine = FakeMachine(3000 * DAY_MS)
    keeper = Timekeeper(machine, rtc=False)
    outbox = MemoryOutbox(1 << 20, 190)
    outbox.use_meta(META)
    outbox.append(registers(3))
    outbox.commit(NOW)
    outbox.acknowledge(1)
    Committer(outbox, SystemClock(), lambda _: None, 30, keeper).commit()
    assert outbox.batch(1) is not None
