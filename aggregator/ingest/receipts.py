"""Which batches of an outbox are settled: committed, given up by the edge, or below its floor."""

from bisect import bisect_right

from contract.wire import MAX_RANGES, Range


class Settled:
    """A set of sequence numbers from 1 on, kept as ascending, disjoint, not adjacent ranges."""

    __slots__ = ("_highs", "_lows")

    def __init__(self, ranges: tuple[Range, ...] = ()) -> None:
        self._lows = [low for low, _ in ranges]
        self._highs = [high for _, high in ranges]

    def __contains__(self, seq: int) -> bool:
        i = bisect_right(self._lows, seq) - 1
        return i >= 0 and seq <= self._highs[i]

    def add(self, low: int, high: int) -> int:
        """Settle ``low`` to ``high``, both included; return how many of them were not settled."""
        if low > high:
            return 0
        first = bisect_right(self._highs, low - 2)  # first range that touches or follows
        last = bisect_right(self._lows, high + 1)  # one past the last range that touches
        known = sum(
            max(0, min(high, b) - max(low, a) + 1)
            for a, b in zip(self._lows[first:last], self._highs[first:last], strict=True)
        )
        if first < last:
            low_joined = min(low, self._lows[first])
            high_joined = max(high, self._highs[last - 1])
        else:
            low_joined, high_joined = low, high
        self._lows[first:last] = [low_joined]
        self._highs[first:last] = [high_joined]
        return high - low + 1 - known

    @property
    def upto(self) -> int:
        """Every seq from 1 up to and including this one is settled; 0 when 1 is not."""
        return self._highs[0] if self._lows and self._lows[0] == 1 else 0

    def above(self, limit: int = MAX_RANGES) -> tuple[Range, ...]:
        """Return settled ranges above ``upto``, the newest ``limit`` of them, ascending."""
        pairs = tuple(zip(self._lows, self._highs, strict=True))
        if self.upto:
            pairs = pairs[1:]
        return pairs[-limit:]

    def ranges(self) -> tuple[Range, ...]:
        """Return all ranges."""
        return tuple(zip(self._lows, self._highs, strict=True))
