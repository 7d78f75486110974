"""Who may do what, and of which sites: the meaning of a token's role and scope. No I/O.

What a visitor may not see does not exist for it: nothing here tells apart what is hidden from what
is absent.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType

from aggregator.register.model import Register, Scope
from contract.reading import check_id

_REGION = re.compile(r"[0-9]{6}")


class Right(StrEnum):
    """What a route asks of its visitor."""

    PUBLIC = "public"
    """Nothing: it tells nothing of any site."""
    READ = "read"
    """Figures, register and events of the sites in scope."""
    DECIDE = "decide"
    """Say what happened to meters, and decide what is held."""
    COMMAND = "command"
    """Tell gateways what to do."""
    OPERATE = "operate"
    """How the aggregator itself is: counters of all sites together."""


WRITES = frozenset({Right.DECIDE, Right.COMMAND})
"""Rights to change something: nobody has them before a token is made, and each use is noted."""


class TokenRole(StrEnum):
    """Who a token was given to."""

    SUPERVISOR = "supervisor"
    ENTERPRISE = "enterprise"
    ENGINEER = "engineer"
    MACHINE = "machine"


RIGHTS: Mapping[TokenRole, frozenset[Right]] = MappingProxyType(
    {
        TokenRole.SUPERVISOR: frozenset({Right.PUBLIC, Right.READ, Right.DECIDE}),
        TokenRole.ENTERPRISE: frozenset({Right.PUBLIC, Right.READ}),
        TokenRole.ENGINEER: frozenset(Right),
        TokenRole.MACHINE: frozenset({Right.PUBLIC, Right.READ, Right.OPERATE}),
    }
)


class AccessError(ValueError):
    """A role or scope that cannot be meant; the message says why."""


@dataclass(frozen=True, slots=True)
class Access:
    """What one visitor may do (rights) and see: sites by name, or all sites of regions."""

    rights: frozenset[Right]
    regions: tuple[str, ...] = ()
    """GB/T 2260 codes; 370100 covers 370114, 370000 both."""
    sites: tuple[str, ...] = ()
    everything: bool = False

    def sees_region(self, region: str) -> bool:
        """Tell whether all of a region is in scope."""
        return self.everything or any(_covers(one, region) for one in self.regions)

    def sees(self, region: str, site: str) -> bool:
        """Tell whether a site is in scope."""
        return site in self.sites or self.sees_region(region)


OPEN = Access(frozenset({Right.PUBLIC, Right.READ, Right.OPERATE}), everything=True)
"""Who comes from this host before any token was made."""
NOBODY = Access(frozenset({Right.PUBLIC}))
"""Who shows no token."""


def granted(
    role: TokenRole, regions: tuple[str, ...], sites: tuple[str, ...], *, everything: bool
) -> Access:
    """Return what a token gives; AccessError when role and scope do not go together."""
    for region in regions:
        if not _REGION.fullmatch(region):
            raise AccessError(f"region {region!r:.40} is not a GB/T 2260 code of 6 digits")
    for site in sites:
        try:
            check_id(site, "site")
        except ValueError as error:
            raise AccessError(str(error)) from None
    if role is TokenRole.SUPERVISOR and (everything or sites or not regions):
        raise AccessError("a supervisor has regions, and nothing else")
    if role is TokenRole.ENTERPRISE and (everything or regions or not sites):
        raise AccessError("an enterprise has sites, and nothing else")
    if everything == bool(regions or sites):
        raise AccessError(f"what does the {role} see: regions, sites, or everything?")
    return Access(RIGHTS[role], regions, sites, everything)


def visible(register: Register, access: Access) -> Register:
    """Return the rows of a register that are about sites in scope, and what these refer to."""
    sites = {site.id: site for site in register.sites.values() if access.sees(site.region, site.id)}
    entities = {site.entity for site in sites.values()}

    def ours(scope: Scope, id_: str) -> bool:
        if scope is Scope.REGION:
            return access.sees_region(id_)
        return id_ in (entities if scope is Scope.ENTITY else sites)

    aims = register.aims
    return replace(
        register,
        sites=sites,
        rows={key: rows for key, rows in register.rows.items() if key[0] in sites},
        entities={id_: one for id_, one in register.entities.items() if id_ in entities},
        seats={id_: seat for id_, seat in register.seats.items() if id_ in entities},
        nodes={key: rows for key, rows in register.nodes.items() if key[0] in sites},
        virtual={key: rows for key, rows in register.virtual.items() if key[0] in sites},
        calorific={key: rows for key, rows in register.calorific.items() if key[0] in sites},
        deductions={id_: rows for id_, rows in register.deductions.items() if id_ in sites},
        contracts={key: rows for key, rows in register.contracts.items() if key[0] in sites},
        integrated={key: rows for key, rows in register.integrated.items() if key[0] in sites},
        profiles={id_: rows for id_, rows in register.profiles.items() if id_ in sites},
        aims=replace(
            aims,
            production=tuple(one for one in aims.production if one.site in sites),
            budgets=tuple(one for one in aims.budgets if one.entity in entities),
            targets=tuple(one for one in aims.targets if ours(one.scope, one.scope_id)),
        ),
    )


def _covers(region: str, other: str) -> bool:
    """Tell whether a code of the tree of GB/T 2260 is another or stands above it."""
    level = region
    while level.endswith("00"):
        level = level[:-2]
    return bool(level) and other.startswith(level)
