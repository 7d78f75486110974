"""Simulated time, one line per edge: the meters that one gateway reads go through time together.

A site may have several gateways, each returning from its own time without network. So the line
belongs to the gateway; a site's name stands for all of its gateways.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

SECOND_MS = 1000


class TimeError(ValueError):
    """A group is unknown, or was told to go back in time."""


class Timeline:
    """Which moment each edge's meters show: frozen, or following the wall clock.

    Following the wall clock, registers are renewed once a second, as meters do. An edge's meters
    never show an earlier time than they have shown, unless they are frozen with `rewind`.
    """

    def __init__(
        self, site_of_edge: Mapping[str, str], wall_ms: Callable[[], int], origin_ms: int
    ) -> None:
        """All follow the wall clock at first; origin_ms: the earliest time allowed."""
        self._site_of_edge = dict(site_of_edge)
        self._wall_ms = wall_ms
        self._origin_ms = origin_ms
        self._frozen_ms: dict[str, int | None] = dict.fromkeys(site_of_edge)
        self._shown_ms = dict.fromkeys(site_of_edge, origin_ms)

    @property
    def edges(self) -> tuple[str, ...]:
        """All edges."""
        return tuple(self._site_of_edge)

    def edges_of(self, group: str) -> tuple[str, ...]:
        """The edges that a group names: an edge itself, or all of a site; TimeError for none."""
        found = tuple(edge for edge, site in self._site_of_edge.items() if group in {edge, site})
        if not found:
            known = sorted({*self._site_of_edge, *self._site_of_edge.values()})
            raise TimeError(f"no group {group!r}; known: {', '.join(known)}")
        return found

    def now_ms(self, edge: str) -> int:
        """The moment the meters of an edge show [UTC ms]."""
        time_ms = self._frozen_ms[edge]
        if time_ms is None:
            time_ms = self._wall_ms()
            time_ms -= time_ms % SECOND_MS
            time_ms = max(time_ms, self._shown_ms[edge])
        self._shown_ms[edge] = time_ms
        return time_ms

    def freeze(self, edges: tuple[str, ...], time_ms: int, *, rewind: bool = False) -> None:
        """Hold edges at a moment; TimeError when that is earlier than what one has shown."""
        if time_ms < self._origin_ms:
            raise TimeError(f"{time_ms} lies before the signals' origin {self._origin_ms}")
        for edge in edges:
            if time_ms < self._shown_ms[edge] and not rewind:
                shown_ms = self._shown_ms[edge]
                raise TimeError(f"{edge}: {time_ms} is before {shown_ms}, already shown")
        for edge in edges:
            self._frozen_ms[edge] = self._shown_ms[edge] = time_ms

    def follow(self, edges: tuple[str, ...]) -> None:
        """Let edges follow the wall clock."""
        for edge in edges:
            self._frozen_ms[edge] = None
