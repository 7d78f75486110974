"""Readings entered by hand: exact, marked, each handed out once, wrong lines named."""

import os
from collections import Counter
from pathlib import Path

import pytest

from contract.reading import Quality, Reading
from edge_agent.clock import SteppingClock
from edge_agent.codecs.manual import CheckEntries, ReadEntries, parse
from edge_agent.config import BusConfig, MeterConfig, PollConfig
from edge_agent.errors import LinkError, MeterError
from edge_agent.events import Event, MeterRefused
from edge_agent.links.manual import MAX_FILE_BYTES, ManualLink
from edge_agent.links.registry import make_link
from edge_agent.poller import BusPoller
from edge_agent.registers import load_device_maps

GOOD = """\
# read by the night shift
time,meter,channel,value
2026-11-20T08:00+08:00,wm-1,volume,1234.567
2026-11-21T08:00+08:00,wm-1,volume,1240.000001
2026-11-21T00:00:00Z,em-1,energy_import,98765.4
"""
EIGHT_MS = 1_795_132_800_000  # 2026-11-20T08:00+08:00
DAY_MS = 86_400_000


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


async def test_entries_are_handed_out_once_and_new_ones_when_the_file_changes(tmp_path):
    file = written(tmp_path / "entries.csv", GOOD)
    link = ManualLink(file)
    first = await link.read(ReadEntries("wm-1"))
    assert [(e.time_ms, str(e.value)) for e in first] == [
        (EIGHT_MS, "1234.567"), (EIGHT_MS + DAY_MS, "1240.000001"),
    ]  # fmt: skip
    assert link.is_open
    assert await link.read(ReadEntries("wm-1")) == ()
    assert [e.channel for e in await link.read(ReadEntries("em-1"))] == ["energy_import"]
    written(file, GOOD + "2026-11-22T08:00+08:00,wm-1,volume,1241\n")
    assert [str(e.value) for e in await link.read(ReadEntries("wm-1"))] == ["1241"]
    assert len(await ManualLink(file).read(ReadEntries("wm-1"))) == 3  # after a restart


async def test_missing_too_large_or_unreadable_file(tmp_path):
    file = tmp_path / "entries.csv"
    link = ManualLink(file)
    with pytest.raises(LinkError, match="cannot open: No such file"):
        await link.open()
    assert not link.is_open
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(LinkError, match="UTF-8"):
        await link.read(ReadEntries("wm-1"))
    os.truncate(file, MAX_FILE_BYTES + 1)
    with pytest.raises(LinkError, match="larger than"):
        await link.open()
    written(file, GOOD)
    assert len(await link.read(ReadEntries("wm-1"))) == 2


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("21.11.2026 08:00,wm-1,volume,1", "no ISO 8601 time"),
        ("2026-11-21T08:00,wm-1,volume,1", "has no offset"),
        ("2026-11-21T08:00Z,wm-1,volume,1 234", "'1 234' is no number"),
        ("2026-11-21T08:00Z,wm-1,volume,NaN", "no number"),
        ("2026-11-21T08:00Z,wm-1,volume,1e99999", "no number"),
        ("2026-11-21T08:00Z,wm-1,volume", "3 cells where 4 columns are"),
        ("1900-01-01T08:00Z,wm-1,volume,1", "before 1970"),
    ],
)
def test_a_wrong_line_is_named_and_the_others_count(line, says):
    found = list(parse(GOOD + line + "\n2026-11-22T08:00Z,wm-1,volume,5\n"))
    wrong = [item for item in found if isinstance(item, str)]
    assert len(found) == 5
    assert wrong[0].startswith("line 6: ")
    assert says in wrong[0]


def test_columns_may_stand_in_any_order_and_must_all_be_there():
    (entry,) = parse("\ufeffvalue,meter,time,channel\n1.5,wm-1,2026-11-21T08:00Z,volume\n")
    assert not isinstance(entry, str)
    assert entry.meter == "wm-1"
    (problem,) = parse("time,meter,value\nx,y,z\n")
    assert "columns must be time, meter, channel, value" in str(problem)


async def test_check_names_the_wrong_lines(tmp_path):
    link = ManualLink(written(tmp_path / "e.csv", GOOD + "x,wm-1,volume,1\n" * 7))
    assert len(await link.read(ReadEntries("wm-1"))) == 2
    with pytest.raises(MeterError, match=r"line 6: .* and 2 more"):
        await link.read(CheckEntries())


async def test_polled_readings_are_marked_exact_and_of_their_own_time(tmp_path):
    file = written(
        tmp_path / "entries.csv",
        GOOD + "2026-11-21T08:00Z,wm-1,power,3\nnonsense\n2026-11-21T08:00Z,wm-1,volume,-1\n",
    )
    readings: list[Reading] = []

    class Sink:
        def append(self, new):
            readings.extend(new)

    events: list[Event] = []
    meters = (MeterConfig("wm-1", "manual-water"), MeterConfig("em-1", "abb-b23"))
    bus = BusConfig("hand", kind="manual", file=file, meters=meters)
    devices = load_device_maps(["manual-water", "abb-b23"])
    poller = BusPoller(
        bus, PollConfig(60), devices, make_link, SteppingClock(EIGHT_MS), Sink(), events.append
    )
    assert await poller.poll_once() == 3
    assert readings == [
        Reading("wm-1", "volume", EIGHT_MS, 1_234_567_000, Quality.MANUAL),
        Reading("wm-1", "volume", EIGHT_MS + DAY_MS, 1_240_000_001, Quality.MANUAL),
        Reading("em-1", "energy_import", EIGHT_MS + DAY_MS, 98_765_400_000, Quality.MANUAL),
    ]
    assert poller.dropped() == Counter(unknown=1, range=1)
    assert [type(event) for event in events] == [MeterRefused, MeterRefused]
    assert await poller.poll_once() == 0
    assert len(events) == 2
