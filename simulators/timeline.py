"""Simulated time, one line per group of meters (a group is a site)."""

from __future__ import annotations

from collections.abc import Callable

SECOND_MS = 1000


class TimeError(ValueError):
    """A group is unknown, or was told to go back in time."""


class Timeline:
    """Which moment a group of meters shows: frozen, or following the wall clock.

    Following the wall clock, registers are renewed once a second, as meters do. A group never
    shows an earlier time than it has shown, unless it is frozen with `rewind`.
    """

    def __init__(self, groups: tuple[str, ...], wall_ms: Callable[[], int], origin_ms: int) -> None:
        """All groups follow the wall clock at first; origin_ms: the earliest time allowed."""
        self._wall_ms = wall_ms
        self._origin_ms = origin_ms
        self._frozen_ms: dict[str, int | None] = dict.fromkeys(groups)
        self._shown_ms: dict[str, int] = dict.fromkeys(groups, origin_ms)

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups' names."""
        return tuple(self._frozen_ms)

    def now_ms(self, group: str) -> int:
        """The moment the meters of a group show [UTC ms]."""
        time_ms = self._frozen_ms[group]
        if time_ms is None:
            time_ms = self._wall_ms()
            time_ms -= time_ms % SECOND_MS
            time_ms = max(time_ms, self._shown_ms[group])
        self._shown_ms[group] = time_ms
        return time_ms

    def freeze(self, group: str, time_ms: int, *, rewind: bool = False) -> None:
        """Hold a group at a moment; TimeError when that is earlier than what it has shown."""
        self._check(group)
        if time_ms < self._origin_ms:
            raise TimeError(f"{group}: {time_ms} lies before the signals' origin {self._origin_ms}")
        if time_ms < self._shown_ms[group] and not rewind:
            raise TimeError(f"{group}: {time_ms} is before {self._shown_ms[group]}, already shown")
        self._frozen_ms[group] = time_ms
        self._shown_ms[group] = time_ms

    def follow(self, group: str) -> None:
        """Let a group follow the wall clock."""
        self._check(group)
        self._frozen_ms[group] = None

    def _check(self, group: str) -> None:
        if group not in self._frozen_ms:
            raise TimeError(f"no group {group!r}; known: {', '.join(self._frozen_ms)}")
