"""What a site consumes: which figures are added, which are taken away, and which stay out.

Per carrier      consumption = boundary_in - boundary_out + own_generation
Standard coal    the same terms, each x its factor. What is made on site from energy already counted
                 (`conversion_out`) is no term, and neither is what a conversion takes
                 (`conversion_in`): coal burnt for steam counts once, as coal. Steam sold then
                 leaves through `boundary_out` and lowers the total.
CO2              boundary_in - boundary_out; own generation of a *fuel* counts where it is burnt,
                 own electricity and heat (PV, wind, geothermal) cause none on site.
`sub`, `check`   in no total.

Media (耗能工质: water, compressed air) are terms of their own carrier's consumption; whether they
enter standard coal is the factor set's decision.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from aggregator.register.carriers import CarrierKind, carriers
from aggregator.register.model import Meter, Role
from contract.channels import catalogue

_CONSUMPTION = {Role.BOUNDARY_IN: 1, Role.BOUNDARY_OUT: -1, Role.OWN_GENERATION: 1}

_FREE = frozenset({Role.BOUNDARY_OUT, Role.OWN_GENERATION})


@dataclass(frozen=True, slots=True)
class Term:
    """One accounted channel of one meter, and how it enters its site's account."""

    site: str
    meter: str
    channel: str
    carrier: str
    unit: str
    role: Role
    direction: int
    """+1: the channel counts what the role says; -1: it counts what flows back."""
    consumption: int
    """+1, -1 or 0: sign of its amount and standard coal in the site's consumption."""
    co2: int
    """+1, -1 or 0: sign of its CO2 in the site's."""

    def counts(self, field: str) -> int:
        """Return +1, -1 or 0: sign of a stored field of the channel in what its meter counts."""
        if field == "cost_cny":  # nothing is paid for what leaves, or is won on site
            return int(self.direction > 0 and self.role not in _FREE)
        if field == "co2_kg" and self.consumption and not self.co2:
            return 0
        return self.direction

    def in_total(self, field: str) -> int:
        """Return +1, -1 or 0: sign of a stored field of the channel in the site's total."""
        return consumption_sign(self.role) * self.counts(field)


def consumption_sign(role: Role) -> int:
    """Return +1, -1 or 0: how what a meter counts forward enters its site's consumption."""
    return _CONSUMPTION.get(role, 0)


def terms(meters: Iterable[Meter], channels: Mapping[str, Collection[str]]) -> tuple[Term, ...]:
    """Return the accounted channels of a site's meters.

    Args:
        meters: rows of one site, in force at one time.
        channels: per meter id the cumulative channels it has; unknown meters have none.
    """
    found: list[Term] = []
    for meter in meters:
        carrier = carriers()[meter.carrier]
        for channel, direction in carrier.accounted(channels.get(meter.id, ())).items():
            consumption = _CONSUMPTION.get(meter.role, 0) * direction
            counts_co2 = meter.role is not Role.OWN_GENERATION or carrier.kind is CarrierKind.FUEL
            found.append(
                Term(
                    meter.site,
                    meter.id,
                    channel,
                    meter.carrier,
                    str(catalogue()[channel].unit),
                    meter.role,
                    direction,
                    consumption,
                    consumption if counts_co2 else 0,
                )
            )
    return tuple(found)
