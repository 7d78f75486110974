"""Readings of cumulative registers -> energy per interval, exactly, in any split into calls.

One incremental kernel serves live data, restart, late data and replay: `advance`. Between calls a
channel is its HEAD, one row of 24 int64 (192 bytes): parameters, the last settled good reading,
the last four readings (the verdicts of the newest two may still change), and the settled part of
the interval that holds the settled reading. Rules: docs/formats/ledger.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aggregator.kernels.jit import kernel
from aggregator.kernels.spread import Spreads, no_spreads, weight_until, wide_part
from aggregator.kernels.verdict import (
    BAD,
    HOUR_MS,
    ROLLOVER_STEP,
    allowed,
    step_kind,
    suspect,
)

Int64 = NDArray[np.int64]
UInt8 = NDArray[np.uint8]

# Flags of an interval row.
ROLLOVER, HELD, SUSPECT, ESTIMATED, PROFILED = 1, 2, 4, 8, 16

# Status of a group of readings given to `advance`.
TAKEN, NOT_NEWER, NOT_ASCENDING, OUT_OF_RANGE = 0, 1, 2, 3

MAX_VALUE_MICRO = 1 << 60
"""Readings beyond this are refused: differences stay within int64."""
MAX_SPAN_MS = 1 << 40
"""Longest time from the settled reading to the newest one (34 years)."""

# Columns of a head.
MODULUS, LIMIT, SLACK, GAP, COUNT, GOOD_T, GOOD_V, ACROSS = range(8)
RAW_T, RAW_V, SETTLED, HEAD_COLUMNS = 8, 12, 16, 24

# Columns of a row: key, then the figures in the order of a head's settled part.
SLOT, START, AMOUNT, AMOUNT_EST, AMOUNT_HELD, MEASURED, EST_MS, HELD_MS, RECEIVED, FLAGS = range(10)
ROW_COLUMNS = 10


@dataclass(frozen=True, slots=True)
class IntervalRows:
    """Figures per (slot, start), ascending; complete values that replace what was told before.

    ``block`` is int64 [10, n], one contiguous row per column, in the order of the properties.
    """

    block: Int64

    def __len__(self) -> int:
        return self.block.shape[1]

    @property
    def slot(self) -> Int64:
        """Row of the heads array."""
        return self.block[SLOT]

    @property
    def start_ms(self) -> Int64:
        """Start of the interval, UTC [ms]."""
        return self.block[START]

    @property
    def amount(self) -> Int64:
        """Booked energy, measured and estimated [micro-units]."""
        return self.block[AMOUNT]

    @property
    def amount_estimated(self) -> Int64:
        """Part of the amount that was spread over a gap [micro-units]."""
        return self.block[AMOUNT_EST]

    @property
    def amount_held(self) -> Int64:
        """Signed energy that awaits a person's decision, not in the amount [micro-units]."""
        return self.block[AMOUNT_HELD]

    @property
    def measured_ms(self) -> Int64:
        """Time between readings no further apart than the gap limit."""
        return self.block[MEASURED]

    @property
    def estimated_ms(self) -> Int64:
        """Time inside longer gaps."""
        return self.block[EST_MS]

    @property
    def held_ms(self) -> Int64:
        """Time inside held steps. Length - measured - estimated - held is missing."""
        return self.block[HELD_MS]

    @property
    def received(self) -> Int64:
        """Good readings in [start, end), freezes not counted."""
        return self.block[RECEIVED]

    @property
    def flags(self) -> Int64:
        """ROLLOVER | HELD | SUSPECT (energy goes across a reading left out) | ESTIMATED | PROFILED.

        ESTIMATED alone: spread evenly over a gap; with PROFILED: by a profile's weights.
        """
        return self.block[FLAGS]


def new_heads(
    modulus_micro: Int64, limit_micro_per_h: Int64, gap_limit_ms: Int64, slack_micro: Int64
) -> Int64:
    """Heads [n, 24] of channels without readings, from int64 parameters per channel.

    All after the multiplier, 0 = not known: where the register wraps; the largest plausible rate;
    the longest measured step; what may come on top of the rate (one display step).
    """
    heads = np.zeros((len(modulus_micro), HEAD_COLUMNS), np.int64)
    heads[:, MODULUS] = modulus_micro
    heads[:, LIMIT] = limit_micro_per_h
    heads[:, SLACK] = slack_micro
    heads[:, GAP] = gap_limit_ms
    return heads


def follow(head: Int64, rows: IntervalRows) -> None:
    """Make a head ready for the register that follows the one whose last rows these are.

    The new register has no readings yet; the interval of the change goes on with what the old one
    booked in it. The parameters stay: set those of the new register.
    """
    head[COUNT:] = 0
    if len(rows):
        head[GOOD_T] = rows.start_ms[-1]
        head[SETTLED:] = rows.block[AMOUNT:, -1]


def last_times(heads: Int64) -> Int64:
    """Time of each channel's newest reading [ms]; the smallest int64 where there is none."""
    none = np.iinfo(np.int64).min
    return np.where(heads[:, COUNT] > 0, heads[:, RAW_T + 3], none)


@kernel
def part(amount: int, elapsed: int, span: int) -> int:
    """amount x elapsed / span, rounded half away from zero; exact without 128-bit products."""
    size = abs(amount)
    whole = size // span
    rest = size - whole * span
    if span < 1 << 31:
        product = rest * elapsed
        share = product // span
        left = product - share * span
    else:  # rest x elapsed can have 80 bits: multiply by the upper and the lower 20 bits apart
        product = rest * (elapsed >> 20)
        upper = product // span
        product = (product - upper * span) << 20
        middle = product // span
        product = product - middle * span + rest * (elapsed & 0xFFFFF)
        lower = product // span
        share = (upper << 20) + middle + lower
        left = product - lower * span
    if 2 * left >= span:
        share += 1
    share += whole * elapsed
    return share if amount >= 0 else -share


@kernel
def _close(row: Int64, out: Int64, n: int, emit_from: int, grid: int) -> int:
    """Write the running row, unless it cannot have changed, and begin the next interval."""
    if row[START] >= emit_from:
        for column in range(ROW_COLUMNS):
            out[column, n] = row[column]
        n += 1
    row[START] += grid
    for column in range(AMOUNT, ROW_COLUMNS):  # a loop: a slice assignment costs 5 x as much
        row[column] = 0
    return n


@kernel
def _book(
    row: Int64, out: Int64, n: int, emit_from: int, grid: int,
    t0: int, t1: int, amount: int, held: bool, estimated: bool, flags: int,
) -> int:  # fmt: skip
    """Spread one step over the intervals it touches; ends with the interval that holds t1."""
    done, since = 0, t0
    while since < t1:
        end = row[START] + grid
        until = min(t1, end)
        upto = amount if until == t1 else part(amount, until - t0, t1 - t0)
        if held:
            row[AMOUNT_HELD] += upto - done
            row[HELD_MS] += until - since
        else:
            row[AMOUNT] += upto - done
            if estimated:
                row[AMOUNT_EST] += upto - done
                row[EST_MS] += until - since
            else:
                row[MEASURED] += until - since
        row[FLAGS] |= flags
        if until == end:
            n = _close(row, out, n, emit_from, grid)
        done, since = upto, until
    return n


@kernel
def _profile(since: Int64, profile: Int64, time_ms: int) -> int:
    """Return the row of the profile that holds at a time, -1 for none."""
    found = -1
    for k in range(len(since)):
        if since[k] <= time_ms:
            found = profile[k]
    return found


@kernel
def _book_weighted(
    row: Int64, out: Int64, n: int, emit_from: int, grid: int,
    t0: int, t1: int, amount: int, flags: int, cumulative: Int64,
) -> int:  # fmt: skip
    """Spread one step over a gap as a profile says; as `_book` in all else."""
    first = weight_until(cumulative, t0)
    span = weight_until(cumulative, t1) - first
    done, since = 0, t0
    while since < t1:
        end = row[START] + grid
        until = min(t1, end)
        upto = wide_part(amount, weight_until(cumulative, until) - first, span)
        row[AMOUNT] += upto - done
        row[AMOUNT_EST] += upto - done
        row[EST_MS] += until - since
        row[FLAGS] |= flags
        if until == end:
            n = _close(row, out, n, emit_from, grid)
        done, since = upto, until
    return n


@kernel
def _suspect_at(
    head: Int64, times: Int64, values: Int64, i: int, last: int, wt: Int64, wv: Int64
) -> bool:
    """Verdict on reading i; the head's readings are -count..-1, new ones 0..last."""
    lo, hi = max(0, 2 - i - head[COUNT]), min(4, last - i + 2)
    for k in range(lo, hi + 1):
        j = i - 2 + k
        wt[k] = head[RAW_T + 4 + j] if j < 0 else times[j]
        wv[k] = head[RAW_V + 4 + j] if j < 0 else values[j]
    return suspect(wt, wv, lo, hi, head[MODULUS], head[LIMIT], head[SLACK])


@kernel
def _advance_one(
    head: Int64, slot: int, times: Int64, values: Int64, frozen: UInt8,
    since: Int64, profile: Int64, weights: Int64, grid: int, out: Int64, n: int,
    row: Int64, wt: Int64, wv: Int64,
) -> int:  # fmt: skip
    """Take new readings of one channel: update its head, append rows, return their number."""
    live = len(frozen) == 0
    modulus, limit, slack, gap = head[MODULUS], head[LIMIT], head[SLACK], head[GAP]
    count, last = head[COUNT], len(times) - 1
    row[SLOT] = slot
    if count == 0:  # the first reading of a register counts whatever follows
        good_t, good_v, across, good = times[0], values[0], 0, 0
        row[START] = good_t // grid * grid
        same = head[GOOD_T] // grid * grid == row[START]
        for column in range(AMOUNT, ROW_COLUMNS):
            row[column] = head[SETTLED + column - AMOUNT] if same else 0
        if live or frozen[0] == 0:
            row[RECEIVED] += 1
        emit_from = row[START]
        i = 1
    else:
        good_t, good_v, across, good = head[GOOD_T], head[GOOD_V], head[ACROSS], -9
        row[START] = good_t // grid * grid
        for column in range(AMOUNT, ROW_COLUMNS):
            row[column] = head[SETTLED + column - AMOUNT]
        i = max(-2, 1 - count)
        # Rows before the newest reading's interval change only if a verdict did.
        changed = count >= 2 and _suspect_at(head, times, values, -1, last, wt, wv)
        if count >= 3 and not changed:
            was = _suspect_at(head, times, values, -2, -1, wt, wv)
            changed = was != _suspect_at(head, times, values, -2, last, wt, wv)
        emit_from = row[START] if changed else head[RAW_T + 3] // grid * grid

    # A step is quick when it needs no further look: forward, within the rating and the gap limit.
    pace = 0
    if limit > 0:
        quick = allowed(limit, slack, 1)
        pace = limit // HOUR_MS * 1_024 + limit % HOUR_MS * 1_024 // HOUR_MS
    else:
        quick = modulus // 2 if modulus > 0 else 1 << 61
    settled_end = last - 2
    saved = False
    while i <= last:
        if i > settled_end and not saved:
            _save(head, times, values, good_t, good_v, across, row)
            saved = True  # from here on readings are found in the head
        if live and not saved and i >= 2 and good == i - 1 and across == 0:
            k = _quick_until(times, values, i - 2, last, quick, pace, gap)
            stop = min(k - 2, settled_end)
            if stop >= i:  # all readings i..stop count, and their steps are measured
                n = _run(row, out, n, emit_from, grid, times, values, i, stop)
                good, good_t, good_v = stop, times[stop], values[stop]
                i = stop + 1
                continue
        j, newest = (i - last - 1, -1) if saved else (i, last)
        if _suspect_at(head, times, values, j, newest, wt, wv):
            across = 1
        else:
            if j < 0:
                t, v = head[RAW_T + 4 + j], head[RAW_V + 4 + j]
            else:
                t, v = times[i], values[i]
            kind = step_kind(good_v, v, t - good_t, modulus, limit, slack)
            held, estimated = kind == BAD, kind != BAD and t - good_t > gap
            flags = (SUSPECT if across else 0) | (HELD if held else 0)
            flags |= (ESTIMATED if estimated else 0) | (ROLLOVER if kind == ROLLOVER_STEP else 0)
            amount = v - good_v + (modulus if kind == ROLLOVER_STEP else 0)
            which = _profile(since, profile, good_t) if estimated else -1
            if which >= 0 and weight_until(weights[which], t) > weight_until(
                weights[which], good_t
            ):
                n = _book_weighted(
                    row, out, n, emit_from, grid, good_t, t, amount, flags | PROFILED,
                    weights[which],
                )  # fmt: skip
            else:
                n = _book(
                    row, out, n, emit_from, grid, good_t, t, amount, held, estimated, flags
                )  # fmt: skip
            if live or i < 0 or frozen[i] == 0:
                row[RECEIVED] += 1
            good, good_t, good_v, across = i, t, v, 0
        i += 1
    if not saved:
        _save(head, times, values, good_t, good_v, across, row)
    return _close(row, out, n, emit_from, grid)


@kernel
def _quick_until(
    times: Int64, values: Int64, k: int, last: int, quick: int, pace: int, gap: int
) -> int:
    """Find the first reading from k on whose next step is not quick; the last one if all are.

    A quick step is at most ``quick`` and ``pace`` per whole 1 024 ms, never more than is allowed.
    """
    while k + 8 <= last:  # eight at a time without a branch between
        slow = False
        for j in range(k, k + 8):
            delta, span = values[j + 1] - values[j], times[j + 1] - times[j]
            slow |= (delta < 0) | (delta > quick + pace * ((span - 1) >> 10)) | (span > gap)
        if slow:
            break
        k += 8
    while k < last:
        delta, span = values[k + 1] - values[k], times[k + 1] - times[k]
        if delta < 0 or delta > quick + pace * ((span - 1) >> 10) or span > gap:
            break
        k += 1
    return k


@kernel
def _run(
    row: Int64, out: Int64, n: int, emit_from: int, grid: int,
    times: Int64, values: Int64, first: int, stop: int,
) -> int:  # fmt: skip
    """Book readings first..stop, each a quick step after its predecessor.

    Inside an interval the steps telescope: only the border needs work.
    """
    since, j = first - 1, first
    received = first
    end = row[START] + grid
    while j <= stop:
        if j + 7 <= stop and times[j + 7] < end:
            j += 8
            continue
        if times[j] >= end:
            row[AMOUNT] += values[j - 1] - values[since]
            row[MEASURED] += times[j - 1] - times[since]
            row[RECEIVED] += j - received
            n = _book(
                row, out, n, emit_from, grid,
                times[j - 1], times[j], values[j] - values[j - 1], False, False, 0,
            )  # fmt: skip
            since = received = j
            end = row[START] + grid
        j += 1
    row[AMOUNT] += values[stop] - values[since]
    row[MEASURED] += times[stop] - times[since]
    row[RECEIVED] += stop + 1 - received
    return n


@kernel
def _save(
    head: Int64, times: Int64, values: Int64, good_t: int, good_v: int, across: int, row: Int64
) -> None:
    """Settle: keep the good reading, its interval so far, and the last four readings."""
    new = len(times)
    keep = min(new, 4)
    for k in range(4 - keep):
        head[RAW_T + k], head[RAW_V + k] = head[RAW_T + k + keep], head[RAW_V + k + keep]
    for k in range(keep):
        head[RAW_T + 4 - keep + k] = times[new - keep + k]
        head[RAW_V + 4 - keep + k] = values[new - keep + k]
    head[COUNT] = min(4, head[COUNT] + new)
    head[GOOD_T], head[GOOD_V], head[ACROSS] = good_t, good_v, across
    for column in range(AMOUNT, ROW_COLUMNS):
        head[SETTLED + column - AMOUNT] = row[column]


@kernel
def _check(head: Int64, times: Int64, values: Int64) -> int:
    if len(times) == 0:
        return TAKEN
    if head[COUNT] > 0 and times[0] <= head[RAW_T + 3]:
        return NOT_NEWER
    unordered = False
    for j in range(len(times) - 1):
        unordered |= times[j + 1] <= times[j]
    if unordered:
        return NOT_ASCENDING
    low, high = values[0], values[0]
    for j in range(len(values)):
        low, high = min(low, values[j]), max(high, values[j])
    since = head[GOOD_T] if head[COUNT] > 0 else times[0]
    if low < -MAX_VALUE_MICRO or high > MAX_VALUE_MICRO or times[-1] - since >= MAX_SPAN_MS:
        return OUT_OF_RANGE
    return TAKEN


@kernel
def _advance(
    heads: Int64, slots: Int64, offsets: Int64, times: Int64, values: Int64, frozen: UInt8,
    spread: Int64, profile_since: Int64, profile: Int64, weights: Int64, grid: int,
) -> tuple[Int64, UInt8]:  # fmt: skip
    groups = len(slots)
    status = np.zeros(groups, np.uint8)
    room = 0
    for g in range(groups):
        head, lo, hi = heads[slots[g]], offsets[g], offsets[g + 1]
        status[g] = _check(head, times[lo:hi], values[lo:hi])
        if status[g] == TAKEN and hi > lo:
            since = head[GOOD_T] if head[COUNT] > 0 else times[lo]
            room += times[hi - 1] // grid - since // grid + 1
    out = np.empty((ROW_COLUMNS, room), np.int64)
    row = np.zeros(ROW_COLUMNS, np.int64)
    wt, wv = np.zeros(5, np.int64), np.zeros(5, np.int64)
    n = 0
    for g in range(groups):
        lo, hi = offsets[g], offsets[g + 1]
        if status[g] == TAKEN and hi > lo:
            marks = frozen[lo:hi] if len(frozen) else frozen
            for k in range(len(marks)):
                if marks[k]:
                    break
            else:  # no freeze in this group
                marks = frozen[:0]
            first, end = 0, 0
            if len(spread):
                first, end = spread[g], spread[g + 1]
            n = _advance_one(
                heads[slots[g]], slots[g], times[lo:hi], values[lo:hi], marks,
                profile_since[first:end], profile[first:end], weights, grid, out, n, row, wt, wv,
            )  # fmt: skip
    return out[:, :n], status


def advance(
    heads: Int64, slots: Int64, offsets: Int64, time_ms: Int64, value: Int64, grid_ms: int,
    *, frozen: UInt8 | None = None, spreads: Spreads | None = None,
) -> tuple[IntervalRows, UInt8]:  # fmt: skip
    """Take new readings; update ``heads`` in place; return changed rows and a status per group.

    Group g is channel ``slots[g]`` (a row of heads; each slot at most once) with the readings
    ``offsets[g]:offsets[g + 1]``, of strictly increasing time [ms UTC] and newer than all the
    channel has seen; values in micro-units after the multiplier. All arrays int64, contiguous.
    ``frozen`` marks readings that are no polls: they fill no slot. A head does not keep the mark:
    go on from one only when its last two readings are polls. ``spreads``: the groups' profiles.

    The rows are all intervals whose figures this call changed (and seldom a few equal ones), with
    everything known so far, the unsettled readings included: upserting the rows of all calls ends
    in the figures of one call with all readings. A group that is not TAKEN leaves its head
    untouched and gives no rows: NOT_NEWER (late: see `neighbourhood`), NOT_ASCENDING, OUT_OF_RANGE.

    Raises:
        ValueError: offsets do not fit the groups and readings, or a slot is not in heads.
    """
    if len(offsets) != len(slots) + 1 or offsets[0] != 0 or offsets[-1] != len(time_ms):
        raise ValueError(f"offsets: {len(slots) + 1} from 0 to {len(time_ms)} expected")
    if len(value) != len(time_ms) or (np.diff(offsets) < 0).any():
        raise ValueError("offsets must not fall, and times and values must be as many")
    if len(slots) and not 0 <= slots.min() <= slots.max() < len(heads):
        raise ValueError(f"slots: 0 to {len(heads) - 1} expected")
    if grid_ms <= 0:
        raise ValueError(f"grid_ms: {grid_ms} is not a length")
    frozen = np.zeros(0, np.uint8) if frozen is None else frozen
    if len(frozen) not in (0, len(time_ms)):
        raise ValueError(f"frozen: {len(time_ms)} marks expected")
    spreads = spreads or no_spreads()
    block, status = _advance(
        heads, slots, offsets, time_ms, value, frozen,
        spreads.offsets, spreads.since_ms, spreads.profile, spreads.weights, grid_ms,
    )  # fmt: skip
    return IntervalRows(block), status


def warm_up() -> None:
    """Compile for the product's argument types."""
    one = np.ones(1, np.int64)
    advance(new_heads(one, one, one, one), 0 * one, np.array([0, 1]), one, one, 900_000)
