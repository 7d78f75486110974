"""A set of sequence numbers as sorted, disjoint, inclusive ranges."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

Range = tuple[int, int]


class Ranges:
    """Memory goes with the number of holes, not with the numbers held."""

    def __init__(self, ranges: Iterable[Range] = ()) -> None:
        self._lows: list[int] = []
        self._highs: list[int] = []
        for low, high in ranges:
            self.add(low, high)

    def add(self, low: int, high: int) -> None:
        """Add all numbers from `low` to `high` inclusive; nothing when high < low."""
        if high < low:
            return
        first = bisect_left(self._highs, low - 1)  # touching neighbours are merged
        last = bisect_right(self._lows, high + 1)
        if first < last:
            low = min(low, self._lows[first])
            high = max(high, self._highs[last - 1])
        self._lows[first:last] = [low]
        self._highs[first:last] = [high]

    def remove(self, number: int) -> None:
        """Take one number out; nothing when it is not in."""
        at = bisect_left(self._highs, number)
        if number not in self:
            return
        low, high = self._lows[at], self._highs[at]
        left = [(low, number - 1)] if low < number else []
        right = [(number + 1, high)] if number < high else []
        self._lows[at : at + 1] = [span[0] for span in left + right]
        self._highs[at : at + 1] = [span[1] for span in left + right]

    def __contains__(self, number: int) -> bool:
        at = bisect_left(self._highs, number)
        return at < len(self._highs) and self._lows[at] <= number

    def __iter__(self) -> Iterator[Range]:
        return zip(self._lows, self._highs, strict=True)

    def __len__(self) -> int:
        return len(self._lows)

    def missing(self, low: int, high: int) -> list[Range]:
        """The ranges within [low, high] that are not in the set, ascending."""
        gaps = []
        for at in range(bisect_left(self._highs, low), len(self._highs)):
            if self._lows[at] > high:
                break
            if low < self._lows[at]:
                gaps.append((low, self._lows[at] - 1))
            low = self._highs[at] + 1
        if low <= high:
            gaps.append((low, high))
        return gaps

    def copy(self) -> "Ranges":
        """An independent set of the same numbers."""
        return Ranges(self)
