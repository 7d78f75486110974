"""What the measures of a site are made with is told apart by all that they depend on."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal

import pytest

from aggregator.basis import Basis, bases, outdated
from aggregator.ledger.factor_tables import builtin_library
from aggregator.ledger.factors import FactorSet
from aggregator.ledger.tariff_tables import builtin_tariffs
from aggregator.ledger.tariffs import TariffLibrary
from aggregator.register.model import CalorificValue, Register, Site
from aggregator.site_tariffs import SiteTariffs
from contract.interval import GRID_MS

DEMO = builtin_library().choose("demo")
PRICED, PLAIN = (
    Site(name, "370114", "厂", name, "foundry", None, None, None, None, tariffs=tariffs)
    for name, tariffs in (("priced", ("demo-electricity",)), ("plain", ()))
)
LABORATORY = CalorificValue("plain", "raw_coal", "", 0, None, 20.5, "report 7")


def made(
    factor_set: FactorSet = DEMO,
    sites: tuple[Site, ...] = (PRICED, PLAIN),
    library: TariffLibrary | None = None,
    measured: tuple[CalorificValue, ...] = (),
) -> Mapping[str, Basis]:
    register = Register.of(sites, [], calorific=measured)
    return bases(register, factor_set, SiteTariffs(register, library or builtin_tariffs(), GRID_MS))


def dearer() -> TariffLibrary:
    tariffs = dict(builtin_tariffs().tariffs)
    one = tariffs["demo-electricity"]
    price = {period: value + Decimal("0.01") for period, value in one.prices[0].price.items()}
    tariffs[one.name] = replace(one, prices=(replace(one.prices[0], price=price), *one.prices[1:]))
    return TariffLibrary(tariffs)


def without_demand_charge() -> TariffLibrary:
    tariffs = builtin_tariffs().tariffs
    return TariffLibrary({name: replace(one, demand=()) for name, one in tariffs.items()})


def corrected() -> FactorSet:
    first, *_ = DEMO.rows
    rows = dict(DEMO.rows)
    return replace(DEMO, rows=rows | {first: replace(rows[first], value=Decimal("0.5"))})


def noted_otherwise() -> FactorSet:
    rows = {id_: replace(row, note="x", source="y") for id_, row in DEMO.rows.items()}
    return replace(DEMO, title="Z", rows=dict(reversed(rows.items())))


BOTH = {"priced", "plain"}
CASES = {
    "another set": (lambda: made(builtin_library().choose("national")), BOTH),
    "another value": (lambda: made(corrected()), BOTH),
    "another note and order": (lambda: made(noted_otherwise()), set()),
    "other prices": (lambda: made(library=dearer()), {"priced"}),
    "another demand charge": (lambda: made(library=without_demand_charge()), set()),
    "another tariff": (
        lambda: made(sites=(PRICED, replace(PLAIN, tariffs=("demo-electricity",)))),
        {"plain"},
    ),
    "a measured value": (lambda: made(measured=(LABORATORY,)), {"plain"}),
    "a new site": (lambda: made(sites=(PRICED, PLAIN, replace(PLAIN, id="new"))), set()),
}


@pytest.mark.parametrize(("now", "sites"), CASES.values(), ids=CASES)
def test_sites_whose_measures_would_be_others(
    now: Callable[[], Mapping[str, Basis]], sites: set[str]
):
    assert outdated(made(), now(), {"priced", "plain", "new"}) == sites


def test_a_site_without_figures_is_never_outdated():
    assert not outdated(made(), made(corrected()), ())
