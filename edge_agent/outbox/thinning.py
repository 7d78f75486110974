"""What is kept of old readings when there is no room for all of them. Pure.

Level 1 keeps one reading per channel and quarter of an hour, level 2 none, of instantaneous
channels. Cumulative registers are never thinned: they are the energy.
"""

from collections.abc import Iterable

from contract.channels import catalogue
from contract.interval import GRID_MS
from contract.reading import Reading

LAST_LEVEL = 2


def thin(readings: Iterable[Reading], level: int) -> list[Reading]:
    """Return the readings that stay at `level`: cumulative ones, then the first of each slot.

    A kept reading is as it was read: no mean is made of samples.
    """
    channels = catalogue()
    cumulative: list[Reading] = []
    kept: dict[tuple[str, str, int], Reading] = {}
    for reading in readings:
        if channels[reading.channel].cumulative:
            cumulative.append(reading)
        elif level < LAST_LEVEL:
            slot = (reading.meter, reading.channel, reading.time_ms // GRID_MS)
            kept.setdefault(slot, reading)
    by_time = sorted(kept.values(), key=lambda reading: reading.time_ms)
    return [*sorted(cumulative, key=lambda reading: reading.time_ms), *by_time]
