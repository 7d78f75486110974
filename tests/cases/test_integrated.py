"""A meter without register: its amount is the integral of the rate it measures, marked as such."""

import random

from aggregator.kernels.integral import INTEGRATED
from aggregator.register.model import IntegratedChannel, Meter, Role
from contract.meta import Meta, MetaChannel, MetaMeter, encode_meta
from tests.cases.rig import DAY_MS, GRID_MS, HOUR_MS, IMPORT, KWH, MINUTE_MS, SITE, at
from tests.oracle.integral import integral

DAY = at("2026-03-06 00:00")
DOWN, UP, END = DAY + 10 * HOUR_MS, DAY + 12 * HOUR_MS, DAY + DAY_MS
GAP_MS = 15 * MINUTE_MS
STEAM = {"meter": "st-1", "channel": "mass"}


def flows(from_ms, to_ms, every_ms=15_000):
    """A boiler's steam [t/h]: a wandering flow, and a little backwards when it stands."""
    draw, flow = random.Random(from_ms), 4.0
    shown = []
    for time_ms in range(from_ms, to_ms + 1, every_ms):
        flow = min(max(flow + draw.uniform(-0.2, 0.2), -0.05), 12.0)
        shown.append((time_ms, round(flow, 3)))
    return shown


def truth(shown, ratio=1):
    rates = {time_ms: max(round(flow * KWH), 0) * ratio for time_ms, flow in shown}
    return integral(rates, GAP_MS, GRID_MS)


def meta(meter, channel, unit):
    channels = (MetaChannel(channel, unit),)
    return encode_meta(Meta((MetaMeter(meter, "s", "m", channels),)))


def steam(story, **more):
    tale = story()
    row = Meter(SITE, "st-1", "steam", Role.BOUNDARY_IN, "", 1, "", 0, "")
    declared = IntegratedChannel(SITE, "st-1", "mass", 0, "flow computer without counter")
    metas = {"gw-1": meta("st-1", "mass_flow", "t/h")}
    tale.restart(row, metas=metas, integrated=[declared], **more)
    return tale


def send(tale, shown, **more):
    tale.send(shown, meter="st-1", channel="mass_flow", hours=3, **more)


def agree(ledger, shown, **which):
    wanted = truth(shown)
    rows = ledger.rows(**(which or STEAM))
    made = {start: (row.amount, row.measured_ms, row.received) for start, row in rows.items()}
    assert made == {
        start: (one.amount, one.measured_ms, min(one.received, 1)) for start, one in wanted.items()
    }
    assert {row.flags for row in rows.values()} == {INTEGRATED}


def test_a_steam_meter_with_mass_flow_only_and_a_gap_of_two_hours(story):
    tale = steam(story)
    known = [*flows(DAY, DOWN), *flows(UP, END)]
    send(tale, known)
    ledger = tale.so_far()
    agree(ledger, known)
    inside = (DOWN + GRID_MS, UP)
    assert ledger.total(*inside, **STEAM) == 0  # nobody knows: nothing is booked
    day = ledger.day(DAY, **STEAM)
    assert day.missing_ms == 2 * HOUR_MS
    assert day.amount == sum(one.amount for at, one in truth(known).items() if at < END)
    assert day.flags == INTEGRATED
    assert ledger.counts["reverse_rate_readings"] == sum(flow < 0 for _, flow in known) > 0


def test_its_late_backfill_reopens_exactly_the_gap(story):
    tale = steam(story)
    lost = flows(DOWN + 15_000, UP - 15_000)
    known = [*flows(DAY, DOWN), *flows(UP, END)]
    send(tale, known)
    told = tale.so_far()
    before, before_day = told.rows(**STEAM), told.day(DAY, **STEAM)
    tale.restart(when=END + HOUR_MS)  # what came so far is summed up
    send(tale, lost, arrives=END + 2 * DAY_MS)
    ledger = tale.end()
    agree(ledger, sorted([*known, *lost]))
    after = ledger.rows(**STEAM)
    touched = {start for start in after if after[start] != before.get(start)}
    assert touched == set(range(DOWN, UP, GRID_MS))
    assert ledger.day(DAY, **STEAM).missing_ms == 0
    (record,) = [one for one in ledger.records() if one.meter == "st-1"]
    row = ledger.proof_rows()["st-1", "mass"]
    assert (row.integrated, row.closes, row.register_end_micro) == (True, True, None)
    assert row.level_end_micro == row.booked_micro == ledger.total(**STEAM) > 0
    assert row.received == len(known) + len(lost)
    assert (record.cause, record.day_ms) == ("late readings", DAY)
    assert record.from_value == before_day.amount / KWH
    assert record.to_value == ledger.day(DAY, **STEAM).amount / KWH


def test_a_channel_that_is_declared_later_gets_all_its_figures(story):
    tale = story()
    row = Meter(SITE, "st-1", "steam", Role.BOUNDARY_IN, "", 1, "", 0, "")
    metas = {"gw-1": meta("st-1", "mass_flow", "t/h")}
    tale.restart(row, metas=metas)
    shown = flows(DAY, END, MINUTE_MS)
    send(tale, shown)
    assert tale.so_far().rows(**STEAM) == {}
    since = IntegratedChannel(SITE, "st-1", "mass", DOWN, "seen on site")
    tale.restart(when=END + DAY_MS, integrated=[since])
    more = flows(END + DAY_MS, END + DAY_MS + HOUR_MS, MINUTE_MS)
    send(tale, more)
    agree(tale.so_far(), [*(pair for pair in shown if pair[0] >= DOWN), *more])
    tale.restart(when=END + 2 * DAY_MS, integrated=[])
    send(tale, flows(END + 2 * DAY_MS, END + 2 * DAY_MS + HOUR_MS, MINUTE_MS))
    assert tale.so_far().rows(**STEAM) == {}
    tale.unsettled = True


def test_a_ct_ratio_that_is_entered_late_restates_integrated_power(story):
    tale = story()
    metas = {"gw-1": meta("em-1", "power", "kW")}
    declared = [IntegratedChannel(SITE, "em-1", IMPORT, 0, "transducer")]
    tale.restart(metas=metas, integrated=declared)
    shown = flows(DAY, END, MINUTE_MS)
    more = flows(END + DAY_MS, END + DAY_MS + HOUR_MS, MINUTE_MS)
    tale.send(shown, channel="power", hours=6)
    tale.restart(tale.row(ratio=40, since_ms=0), when=END + DAY_MS)
    tale.send(more, channel="power")
    ledger = tale.end()
    amounts = {start: one.amount for start, one in truth([*shown, *more], 40).items()}
    assert ledger.amounts(0, END + 9 * DAY_MS) == amounts
    assert {one.cause for one in ledger.records()} == {"register"}
