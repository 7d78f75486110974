"""When roll-ups are made: a round every so often, piece by piece, in a share of the time.

Between two pieces the pipeline commits what came meanwhile, so that acks do not wait for a city's
roll-ups; and after each piece roll-ups rest so long that live readings keep most of a slow store.
"""

import time
from collections.abc import Callable, Iterator

_SHARE = 0.2
"""Of the pipeline's time, at most, while there is something else to do."""


class Rounds:
    """Owned by the pipeline's thread."""

    def __init__(
        self,
        pieces: Callable[[], Iterator[object]],
        every_s: float,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take what makes a round's pieces, and the time between the starts of two rounds [s]."""
        self._pieces = pieces
        self._every_s = every_s
        self._clock_s = clock_s
        self._round: Iterator[object] | None = None
        self._began_s = clock_s()
        self._rest_until_s = 0.0

    def work(self, *, idle: bool = False) -> None:
        """Do one piece, if it is time for one; `idle`: nobody else needs the time."""
        now_s = self._clock_s()
        if self._round is None:
            if now_s - self._began_s < self._every_s:
                return
            self._began_s = now_s
            self._round = self._pieces()
        if now_s < self._rest_until_s and not idle:
            return
        if next(self._round, self) is self:
            self._round = None
        ended_s = self._clock_s()
        rest_s = (ended_s - now_s) * (1 / _SHARE - 1)
        # A store that was away for an hour has not worked for one.
        self._rest_until_s = ended_s + min(rest_s, self._every_s)

    def finish(self) -> None:
        """Do a whole round at once: nothing is left out."""
        self._round = None
        for _ in self._pieces():
            pass
