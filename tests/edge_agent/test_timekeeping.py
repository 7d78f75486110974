"""What time a reading gets, whatever the wall clock does."""

from hypothesis import given, settings
from hypothesis import strategies as st

from contract.interval import DAY_MS, HOUR_MS
from contract.reading import Quality, Reading
from edge_agent.clock import LinuxMachine, SteadyClock, load_offset, save_offset
from edge_agent.committer import TimedSink
from edge_agent.outbox.base import MemoryOutbox
from edge_agent.outbox.body import readings_in
from edge_agent.timekeeping import Offset, Timekeeper
from tests.suites.outbox_suite import META

BEGIN = 1_790_000_000_000
YEAR_MS = 365 * DAY_MS


class FakeMachine:
    """A gateway; `true_ms` is what nobody there knows."""

    boot = "boot-a"

    def __init__(self, wall_off_ms: int = 0) -> None:
        self.up_ms = 5_000
        self.wall_off_ms = wall_off_ms
        self.synchronised = False

    @property
    def true_ms(self) -> int:
        return BEGIN + self.up_ms

    def wall_ms(self) -> int:
        return self.true_ms + self.wall_off_ms

    def uptime_ms(self) -> int:
        return self.up_ms

    def disciplined(self) -> bool:
        return self.synchronised


ACTIONS = st.one_of(
    st.tuples(
        st.just("jump"),
        st.sampled_from([-30 * YEAR_MS, -DAY_MS, -HOUR_MS, -1500, 1500, HOUR_MS, 20 * YEAR_MS]),
    ),
    st.tuples(st.just("pass"), st.sampled_from([0, 400, 1_000, 15_000, HOUR_MS])),
    st.tuples(st.just("ntp"), st.just(0)),
    st.tuples(st.just("ntp-lost"), st.just(0)),
    st.tuples(st.just("ack"), st.sampled_from([20, 900, 2_000, 2_001, 60_000])),
    st.tuples(st.just("poll"), st.just(0)),
)


@settings(max_examples=300)
@given(st.lists(ACTIONS, max_size=25), st.integers(-40 * YEAR_MS, YEAR_MS), st.integers(0, 100))
def test_every_reading_is_within_a_second_of_its_true_time_or_is_held(actions, off_ms, share):
    machine = FakeMachine(off_ms)
    keeper = Timekeeper(machine, rtc=False)
    clock = SteadyClock(keeper)
    outbox = MemoryOutbox(1 << 24, 190)
    outbox.use_meta(META)
    sink = TimedSink(outbox, keeper)
    true: list[int] = []
    for action, amount in [*actions, ("poll", 0)]:
        if action == "jump":  # somebody sets the clock: the kernel then takes it for undisciplined
            machine.wall_off_ms += amount
            machine.synchronised = False
            machine.up_ms += 1_000
        elif action == "pass":
            machine.up_ms += amount
        elif action == "ntp":
            machine.wall_off_ms, machine.synchronised = 3, True
        elif action == "ntp-lost":
            machine.synchronised = False
        elif action == "ack":
            sent_s = machine.up_ms / 1000
            told_ms = machine.true_ms + amount * share // 100
            machine.up_ms += amount
            keeper.heard(told_ms, sent_s, machine.up_ms / 1000)
        else:
            sink.append([Reading("m", "power", clock.time_ms(), float(len(true)))])
            true.append(machine.true_ms)
    offset = keeper.offset
    held = outbox.stats().timeless_readings
    if offset is not None:
        outbox.release(machine.boot, offset.ms)
        held = 0
    outbox.commit(0)
    readings = [
        reading
        for seq in outbox.unsettled(newest_first=False)
        if (batch := outbox.batch(seq)) is not None
        for reading in readings_in(batch.blocks_json)
    ]
    assert len(readings) + held == len(true), "in an interval, or held and counted"
    for reading in readings:
        assert abs(reading.time_ms - true[round(reading.value)]) <= 1_001


def test_a_source_is_needed_unless_there_is_a_battery_backed_clock():
    assert Timekeeper(FakeMachine(), rtc=False).offset is None
    assert Timekeeper(FakeMachine(), rtc=True).source == "rtc"


def test_an_answer_that_took_long_tells_nothing():
    machine = FakeMachine(-YEAR_MS)
    keeper = Timekeeper(machine, rtc=False)
    keeper.heard(BEGIN, 1.0, 4.0)
    assert keeper.source == "none"
    keeper.heard(machine.true_ms, machine.up_ms / 1000 - 0.5, machine.up_ms / 1000)
    assert keeper.source == "ack"
    assert abs(keeper.time_ms() - machine.true_ms) <= 250


def test_a_worse_answer_does_not_replace_a_better_one_until_the_quartz_is_worse():
    machine = FakeMachine()
    keeper = Timekeeper(machine, rtc=False)
    keeper.heard(machine.true_ms, machine.up_ms / 1000, machine.up_ms / 1000)
    best = keeper.time_ms()
    keeper.heard(machine.true_ms - 1500, machine.up_ms / 1000 - 2, machine.up_ms / 1000)
    assert keeper.time_ms() == best
    machine.up_ms += 10 * HOUR_MS
    keeper.heard(machine.true_ms - 1000, machine.up_ms / 1000 - 2, machine.up_ms / 1000)
    assert keeper.offset is not None
    assert keeper.offset.at_ms == machine.up_ms


def test_the_next_process_of_the_same_boot_knows_the_time(tmp_path):
    file = tmp_path / "clock.json"
    save_offset(file, "boot-a", Offset(BEGIN, "ack", 5, 100))
    assert load_offset(file, "boot-b") is None
    saved = load_offset(file, "boot-a")
    machine = FakeMachine(-YEAR_MS)
    assert Timekeeper(machine, rtc=False, saved=saved).time_ms() == machine.true_ms
    file.write_text("{")
    assert load_offset(file, "boot-a") is None


def test_the_real_machine_answers():
    machine = LinuxMachine()
    assert isinstance(machine.disciplined(), bool)
    first = machine.uptime_ms()
    assert 0 < first <= machine.uptime_ms()
    assert len(machine.boot) > 10
    assert machine.wall_ms() > BEGIN - 20 * YEAR_MS


def test_the_guess_of_the_start_stays_though_the_wall_clock_jumps():
    machine = FakeMachine(-YEAR_MS)
    keeper = Timekeeper(machine, rtc=False)
    before = keeper.time_ms()
    machine.wall_off_ms = YEAR_MS
    machine.up_ms += 10_000
    assert keeper.time_ms() == before + 10_000


def test_what_others_dated_is_not_moved_with_the_gateways_clock():
    machine = FakeMachine(-30 * YEAR_MS)
    keeper = Timekeeper(machine, rtc=False)
    outbox = MemoryOutbox(1 << 24, 190)
    outbox.use_meta(META)
    sink = TimedSink(outbox, keeper)
    assert not keeper.known
    frozen = Reading("m", "energy_import", BEGIN - DAY_MS, 5, Quality.FREEZE)
    written = Reading("w", "volume", BEGIN - DAY_MS, 7, Quality.MANUAL)
    sink.append([frozen, Reading("m", "power", SteadyClock(keeper).time_ms(), 1.0), written])
    outbox.commit(0)
    batch = outbox.batch(1)
    assert batch is not None
    assert list(readings_in(batch.blocks_json)) == [frozen, written]
    assert outbox.stats().timeless_readings == 1
