"""The fleet's plan, payloads and books: what is due, on the way, acknowledged, and how late."""

import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.register.folder import load_folder
from contract.ack import Ack, OutboxAck, encode_ack
from contract.channels import catalogue
from contract.data import decode_data
from contract.meta import decode_meta, meta_hash
from contract.state import decode_state
from contract.topics import MessageKind
from simulators.__main__ import main
from simulators.fleet.__main__ import exit_code
from simulators.fleet.edges import WINDOW, Edges, Patience, Tally
from simulators.fleet.freshness import Prober
from simulators.fleet.latency import Delays, merged, shown
from simulators.fleet.messages import Messages, meter_id
from simulators.fleet.plan import CUMULATIVE, ORIGIN_MS, Plan, PlanError, plan_fleet
from simulators.fleet.register import write_register
from simulators.fleet.report import DELAYS, lines, probes_line
from simulators.fleet.run import Report, Run, Settings
from simulators.fleet.samples import Pace, Second, pace
from simulators.fleet.truth import Verdict

START_MS = ORIGIN_MS + 86_400_123
RUN = "00c0ffee"


def small(meters: int = 60, per_edge: int = 3, samples: int = 4) -> Plan:
    return plan_fleet(
        meters=meters, meters_per_edge=per_edge, start_ms=START_MS, poll_s=0.5, samples=samples
    )


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"meters": 7, "poll_s": 1}, "whole edges"),
        ({"poll_s": 1, "rate": 5}, "not both"),
        ({"rate": 1e9}, "more often"),
    ],
)
def test_a_fleet_that_cannot_be_is_refused(arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(PlanError, match=reason):
        plan_fleet(**{"meters": 10, "meters_per_edge": 5, "start_ms": START_MS} | arguments)


def test_a_batch_too_long_for_the_contract_is_refused() -> None:
    with pytest.raises(PlanError, match="at most 61440"):
        Messages(small(meters=200, per_edge=100, samples=40), RUN)


@given(
    st.integers(1, 40), st.integers(1, 9), st.integers(1, 12), st.integers(1, 70_000), st.booleans()
)
def test_turns_come_in_order_of_due_time_and_each_batch_once(
    edges: int, per_edge: int, samples: int, poll_ms: int, aligned: bool
) -> None:
    plan = Plan(edges * per_edge, per_edge, poll_ms, samples, START_MS, aligned=aligned)
    plan = plan.begun(START_MS + 77)
    assert plan.start_ms >= START_MS + 77
    turns = [plan.turn(number) for number in range(3 * edges)]
    due = [plan.due_ms(edge, seq) for edge, seq in turns]
    assert due == sorted(due)
    assert Counter(turns) == Counter((edge, seq) for edge in range(edges) for seq in (1, 2, 3))
    assert all(plan.due_ms(e, 2) - plan.due_ms(e, 1) == plan.commit_ms for e in range(edges))
    assert due[edges - 1] - due[0] < plan.commit_ms
    if aligned:
        assert len(set(due)) == 3, "all at once"
        assert all(ms % plan.commit_ms == 0 for ms in due), "on whole periods"


def test_payloads_keep_the_contract_and_say_what_the_plan_says_is_true() -> None:
    plan = small()
    messages = Messages(plan, RUN)
    for edge, seq in ((0, 1), (17, 1), (17, 2), (19, 7)):
        payload = messages.data(edge, seq)
        assert payload == Messages(plan, RUN).data(edge, seq), "the same bytes each time"
        batch = decode_data(payload)
        meta = messages.meta(edge)
        assert (batch.outbox, batch.seq) == (messages.outbox(edge), seq)
        assert batch.meta == meta_hash(meta)
        declared = {m.id: {c.name for c in m.channels} for m in decode_meta(meta).meters}
        assert {block.meter: set(block.columns) for block in batch.blocks} == declared
        rows = range((seq - 1) * plan.samples, seq * plan.samples)
        for meter, block in enumerate(batch.blocks):
            assert block.times_ms == tuple(plan.reading_ms(edge, row) for row in rows)
            for name in CUMULATIVE:
                true = [plan.register_micro(edge, meter, name, ms) for ms in block.times_ms]
                assert list(block.columns[name]) == true
        assert plan.due_ms(edge, seq) == batch.blocks[0].times_ms[-1]
    serials = {m.serial for e in range(plan.edges) for m in decode_meta(messages.meta(e)).meters}
    assert len(serials) == plan.meters
    state = decode_state(messages.state(17, START_MS, 9, 4))
    assert (state.outbox.id, state.outbox.next_seq, state.outbox.upto) == (batch_outbox(17), 10, 4)
    assert state.outbox.depth_readings == 5 * plan.readings_per_batch
    assert not decode_state(messages.offline(START_MS)).online


def batch_outbox(edge: int) -> str:
    return f"{RUN}{edge:08x}"


@given(st.integers(0, 19), st.integers(0, 2), st.integers(0, 10**6))
def test_registers_never_count_back_and_never_beyond_their_rating(
    edge: int, meter: int, row: int
) -> None:
    plan = small()
    rating = plan.rating()
    for name in CUMULATIVE:
        first, second = (
            plan.register_micro(edge, meter, name, plan.reading_ms(edge, n)) for n in (row, row + 1)
        )
        assert 0 <= second - first <= rating * 1e6 * plan.poll_ms / 3_600_000
        assert catalogue()[name].cumulative


def test_the_register_folder_is_the_plan(tmp_path) -> None:
    plan = small()
    write_register(plan, tmp_path)
    register = load_folder(tmp_path)
    assert len(register.sites) == plan.edges
    assert {
        (site, meter): rows[-1].multiplier for (site, meter), rows in register.rows.items()
    } == {
        (plan.address(edge).site, meter_id(meter)): plan.multiplier(edge, meter)
        for edge in range(plan.edges)
        for meter in range(plan.meters_per_edge)
    }
    assert len({plan.multiplier(edge, 0) for edge in range(plan.edges)}) > 5


@given(st.lists(st.floats(-5, 1e6), min_size=1), st.integers(1, 100))
def test_percentiles_are_never_understated_and_close(delays: list[float], percent: int) -> None:
    half = len(delays) // 2
    parts = Delays(), Delays()
    for delay in delays[:half]:
        parts[0].add(delay)
    for delay in delays[half:]:
        parts[1].add(delay)
    exact = sorted(delays)[max(0, -(-len(delays) * percent // 100) - 1)]
    found = merged(parts).percentile(percent)
    assert found is not None
    assert max(exact, 0) <= found <= max(exact, 0) * 1.01 + 1
    assert merged(parts).count == len(delays)


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 1e6), st.integers(1, 100))
def test_what_still_waits_makes_percentiles_bounds_and_is_never_left_out(
    delays: list[float], given_up_ms: float, percent: int
) -> None:
    known = Delays()
    for delay in delays:
        known.add(min(delay, given_up_ms), unsettled=delay > given_up_ms)
    summary = {**known.summary(), "asked": known.percentile(percent)}
    exact = sorted(delays)[max(0, -(-len(delays) * percent // 100) - 1)]
    assert summary["count"] == len(delays)
    assert summary["unsettled"] == sum(delay > given_up_ms for delay in delays)
    if exact > given_up_ms:
        assert shown(summary, "asked").startswith("≥ ")
    elif not shown(summary, "asked").startswith("≥"):
        assert exact <= int(shown(summary, "asked").replace(",", "")) <= exact * 1.01 + 1
    assert shown(merged([known, Delays()]).summary(), "max") == shown(summary, "max")


class Wire:
    """What edges published; each batch that came by, by (edge, seq)."""

    def __init__(self) -> None:
        self.data: Counter[tuple[int, int]] = Counter()
        self.kinds: list[tuple[int, MessageKind]] = []

    def send(self, edge: int, kind: MessageKind, payload: bytes) -> None:
        self.kinds.append((edge, kind))
        if kind is MessageKind.DATA:
            self.data[edge, decode_data(payload).seq] += 1


def edges_on(wire: Wire, plan: Plan) -> tuple[Edges, Messages]:
    messages = Messages(plan, RUN)
    return Edges(plan, messages, wire.send, Patience(1_000, 4_000)), messages


def ack(
    messages: Messages, edge: int, upto: int, ranges: Sequence[tuple[int, int]] = (), need: str = ""
) -> bytes:
    settled = {messages.outbox(edge): OutboxAck(upto, tuple(ranges))}
    return encode_ack(Ack(START_MS, settled, (need,) if need else ()))


def test_a_window_that_is_full_holds_batches_back_and_their_delay_counts_from_due() -> None:
    plan, wire = small(meters=3, samples=1), Wire()
    edges, messages = edges_on(wire, plan)
    edges.connected([0], START_MS)
    assert wire.kinds == [(0, MessageKind.META), (0, MessageKind.STATE)]
    for seq in range(1, 11):
        edges.tick(plan.due_ms(0, seq) + 3, plan.due_ms(0, 99))
        edges.take_ack(0, ack(messages, 0, 0), plan.due_ms(0, seq) + 3)
    held = {(0, 9), (0, 10)}
    assert set(wire.data) == {(0, seq) for seq in range(1, WINDOW + 1)}
    now_ms = plan.due_ms(0, 10) + 10
    edges.take_ack(0, ack(messages, 0, 1, [(3, 4)]), now_ms)
    assert held <= set(wire.data)
    tally = edges.tally
    assert (tally.due_batches, tally.acked_batches, edges.unsettled) == (10, 3, 7)
    assert tally.due_to_ack.largest == pytest.approx(now_ms - plan.due_ms(0, 1), rel=0.01)
    assert tally.lateness.largest == pytest.approx(now_ms - plan.due_ms(0, 9), rel=0.01)
    assert tally.late_batches == 1


def test_what_is_not_acked_in_time_goes_again_and_waits_longer_each_time() -> None:
    plan, wire = small(meters=3), Wire()
    edges, messages = edges_on(wire, plan)
    edges.connected([0], START_MS)
    due = plan.due_ms(0, 1)
    sent: list[int] = []
    for ms in range(0, 16_000, 10):
        edges.tick(due + ms, due + 1)
        if wire.data[0, 1] > len(sent):
            sent.append(ms)
    waits = [after - before for before, after in pairwise(sent)]
    for wait, nominal in zip(waits, (1_000, 2_000, 4_000, 4_000), strict=False):
        assert 0.8 * nominal <= wait <= 1.2 * nominal + 10
    assert edges.tally.resent_batches == len(waits) >= 3
    edges.take_ack(0, ack(messages, 0, 1), due + 20_000)
    edges.tick(due + 60_000, due + 1)
    assert edges.unsettled == 0
    assert wire.data[0, 1] == len(sent)


def test_an_unknown_meta_is_published_again_and_its_batches_after_it() -> None:
    plan, wire = small(meters=3), Wire()
    edges, messages = edges_on(wire, plan)
    edges.connected([0], START_MS)
    now_ms = plan.due_ms(0, 1)
    edges.tick(now_ms, now_ms + 1)
    wire.kinds.clear()
    name = meta_hash(messages.meta(0))
    edges.take_ack(0, ack(messages, 0, 0, need=name), now_ms + 5_000)
    edges.take_ack(0, ack(messages, 0, 0, need=name), now_ms + 5_010)
    assert wire.kinds == [(0, MessageKind.META), (0, MessageKind.DATA)]


def test_delays_are_of_what_became_due_while_measured_acked_later_or_never() -> None:
    plan, wire = small(meters=3, samples=1), Wire()
    edges, messages = edges_on(wire, plan)
    edges.connected([0], START_MS)
    end_ms = plan.due_ms(0, 14)  # thirteen are due, eight are on the way, one is from before
    edges.measured.from_ms = plan.due_ms(0, 2)
    for seq in range(1, 14):
        edges.tick(plan.due_ms(0, seq), end_ms)
    edges.tally = Tally()  # as each second ends
    late_ms = end_ms + 5_000
    edges.take_ack(0, ack(messages, 0, 0, [(1, 3)]), late_ms)
    given_up_ms = late_ms + 10_000
    edges.give_up(given_up_ms)
    measured = edges.measured
    found = measured.due_to_ack.summary()
    assert (found["count"], found["unsettled"]) == (12, 10)
    assert found["max"] == pytest.approx(given_up_ms - plan.due_ms(0, 4), rel=0.01)
    assert shown(found, "p50").startswith("≥ "), "ten of twelve may take any time"
    assert measured.sent_to_ack.count == 10, "two were never sent"
    assert edges.unsent == measured.lateness.unsettled == 2
    assert measured.reading_to_ack.count == 12 * plan.samples


def test_a_silent_edge_goes_on_reading_and_its_backlog_has_a_delay_of_its_own() -> None:
    plan, wire = small(meters=6, samples=1), Wire()
    edges, messages = edges_on(wire, plan)
    edges.connected([0, 1], START_MS)
    edges.measured.from_ms = START_MS
    end_ms = plan.due_ms(1, 30)
    edges.tick(plan.due_ms(1, 1), end_ms)
    edges.silence([1], plan.due_ms(1, 1))
    wire.kinds.clear()
    for seq in range(2, 21):
        edges.tick(plan.due_ms(1, seq), end_ms)
        edges.take_ack(0, ack(messages, 0, seq), plan.due_ms(1, seq) + 5)
        edges.take_ack(1, ack(messages, 1, seq), plan.due_ms(1, seq) + 5)  # not heard
        edges.lost([1])
        edges.connected([1], plan.due_ms(1, seq))  # its connection is many edges'
    assert {edge for edge, _ in wire.kinds} == {0}, "it sends nothing"
    assert wire.data[1, 1] == 1
    heard_ms = plan.due_ms(1, 20) + 10
    edges.unsilence([1], heard_ms)
    assert wire.kinds[-2 - WINDOW :] == [
        (1, MessageKind.META),
        (1, MessageKind.STATE),
        *[(1, MessageKind.DATA)] * WINDOW,
    ]
    edges.tick(plan.due_ms(1, 21), end_ms)
    for seq in range(1, 22):
        edges.take_ack(1, ack(messages, 1, seq), heard_ms + 700)
    edges.take_ack(0, ack(messages, 0, 99), heard_ms + 700)
    assert edges.unsettled == 0
    found = edges.measured
    assert (found.outage_to_ack.count, found.outage_to_ack.largest) == (20, 700)
    assert found.due_to_ack.count == 20 + 2, "the other edge's, and each one's last"
    assert (found.due_to_ack.largest or 0) < 1_500
    assert (edges.tally.lateness.largest or 0) < plan.commit_ms, "a backlog is not the fleet's"


def test_of_an_edge_whose_window_is_full_batches_are_probed_as_of_any_other() -> None:
    plan, wire = small(meters=6, samples=1), Wire()
    edges, _ = edges_on(wire, plan)
    prober = Prober("http://127.0.0.1:9", plan, edges, lambda: 0.0, per_s=plan.batches_per_s)
    edges.probes = prober
    edges.connected([0, 1], START_MS)
    edges.tick(plan.due_ms(1, 1), plan.due_ms(1, 1) + 1)
    edges.measured.from_ms = plan.due_ms(0, 2)
    for seq in range(2, 13):
        edges.tick(plan.due_ms(1, seq), plan.due_ms(1, 13))
    given_up_ms = plan.due_ms(1, 12) + 9_000
    prober.give_up(given_up_ms)
    assert prober.counts() == {
        "taken": 22, "seen": 0, "held_up": 0, "unsettled": 22, "unsent": 8, "refused": 0,
    }  # fmt: skip
    interval = prober.sent_to_interval.summary()
    assert (interval["count"], interval["unsettled"]) == (14, 14)
    assert prober.reading_to_interval.unsettled == 22
    assert shown(prober.reading_to_interval.summary(), "p50").startswith("≥ ")
    assert "22 still waiting (8 never sent)" in probes_line(prober.counts())


@settings(max_examples=30)
@given(st.integers(0, 2**32))
def test_whatever_happens_every_batch_that_was_due_is_settled_once(seed: int) -> None:
    chance = random.Random(seed)
    plan, wire = small(meters=4, per_edge=1, samples=2), Wire()
    edges, messages = edges_on(wire, plan)
    now_ms, end_ms, up = float(START_MS), START_MS + 20_000, [False] * plan.edges
    while now_ms < end_ms:
        now_ms += chance.uniform(1, 900)
        edges.tick(now_ms, end_ms)
        edge = chance.randrange(plan.edges)
        if chance.random() < 0.2:
            up[edge] = not up[edge]
            if up[edge]:
                edges.connected([edge], now_ms)
            else:
                edges.lost([edge])
        elif up[edge]:
            seqs = sorted(seq for number, seq in wire.data if number == edge)
            if seqs:
                whole = next(seq for seq in range(1, 99) if seq not in seqs) - 1
                upto = chance.randint(0, whole)
                above = chance.choice(seqs)
                ranges = [(above, above)] if above > upto else []
                edges.take_ack(edge, ack(messages, edge, upto, ranges), now_ms)
        assert all(len(edge.flying) <= WINDOW for edge in edges._edges)
        assert edges.unsettled == edges.tally.due_batches - edges.tally.acked_batches
    edges.connected(range(plan.edges), now_ms)
    for _ in range(20):
        for edge, made in enumerate(edges.made()):
            edges.take_ack(edge, ack(messages, edge, made), now_ms)
    tally = edges.tally
    assert edges.unsettled == 0
    assert tally.acked_batches == tally.due_batches == sum(edges.made()) == len(wire.data)
    assert tally.due_to_ack.count == tally.due_batches
    assert tally.resent_batches == wire.data.total() - len(wire.data)


def test_a_lag_that_grows_is_not_sustained() -> None:
    plan = small()
    calm = Second(0, 24_000, 24_000, 0, 0, 40, 90, 200, 3)
    steady = [replace(calm, at_s=float(s)) for s in range(30)]
    assert pace(plan, steady).sustained
    growing = [replace(s, acked=23_000, unsettled=int(40 + 10 * s.at_s)) for s in steady]
    found = pace(plan, growing)
    assert not found.sustained
    assert found.acked_per_s == pytest.approx(23_000)
    assert json.dumps(asdict(found))


def test_bursts_are_judged_by_whole_bursts() -> None:
    plan = replace(small(), poll_ms=10_000, samples=1, aligned=True)
    calm = Second(0, 0, 0, 0, 0, 0, 90, 200, 3)
    burst = 1_000 * round(plan.batches_per_s)
    seconds = [
        replace(calm, at_s=float(s), offered=1_000, unsettled=burst if s % 10 == 5 else 0)
        for s in range(46)  # a third is fifteen: one burst in the first, two in the last
    ]
    assert pace(plan, seconds).sustained
    assert not pace(replace(plan, aligned=False), seconds).sustained
    growing = [replace(s, unsettled=int(20 * s.at_s)) for s in seconds]
    assert not pace(plan, growing).sustained


@pytest.mark.parametrize(
    ("plan", "settings", "reason"),
    [
        (small(), {"outage_s": 21.0}, "over a third of the 60 s"),
        (small(), {"outage_s": 5.0, "outage_share": 0.0}, "over 0, at most 1"),
        (replace(small(), poll_ms=8_000, aligned=True), {}, "less than 3 bursts"),
    ],
)
def test_what_does_not_fit_into_the_measured_time_is_refused(
    plan: Plan, settings: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        Run(plan, Settings(("127.0.0.1", 9), **settings), lambda: START_MS)


def report_of(
    *, sustained: bool = True, complete: bool = True, problems: Sequence[str] = ()
) -> Any:
    nothing = Delays().summary()
    return Report(
        plan=small(),
        run=RUN,
        seconds=(),
        pace=Pace(1_000, 900, 0, 5_000, sustained=sustained),
        batches=Counter(),
        delays_ms=dict.fromkeys(DELAYS, nothing),
        freshness=(),
        generator_cpu_s_per_million=None,
        generator_rss_mb=1.0,
        probes={},
        outage=None,
        truth=Verdict(1, 6, 5, 5, tuple(problems)) if complete else None,
        complete=complete,
    )


@pytest.mark.parametrize(
    ("report", "code", "told"),
    [
        (report_of(), 0, ": sustained"),
        (report_of(sustained=False), 3, "NOT sustained"),
        (report_of(sustained=False, problems=["em-001: 5 booked"]), 1, "DIFFER"),
        (report_of(complete=False), 1, "not acknowledged"),
    ],
)
def test_a_rate_that_was_not_held_is_no_success(report: Any, code: int, told: str) -> None:
    assert exit_code(report) == code
    assert any(told in line for line in lines(report))


def test_a_fleet_can_be_sized_before_it_is_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fleet", "--meters", "20000", "--poll-s", "60", "--dry-run"]) == 0
    assert "1,000 edges, 20,000 meters, 2,667 readings/s in batches of 160; made in" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--outage", "30"], "an outage of 30 s is over a third of the 60 s measured"),
        (["--outage", "9", "--outage-share", "2"], "an outage of 2 of the edges"),
        (["--aligned", "--poll-s", "60"], "less than 3 bursts: all edges send at once each 60 s"),
    ],
)
def test_the_command_says_what_cannot_be_measured(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fleet", "--meters", "20", *arguments]) == 2
    assert reason in capsys.readouterr().err
