from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from aggregator.register.carriers import carriers
from aggregator.register.model import Meter, Role
from aggregator.register.roles import Term, terms
from contract.channels import catalogue


def meter(id_: str, carrier: str, role: Role, parent: str = "") -> Meter:
    return Meter("works", id_, carrier, role, parent, 1, "", 0, "")


def account(meters: list[Meter], amounts: Mapping[tuple[str, str], int]) -> list[tuple[Term, int]]:
    channels: dict[str, set[str]] = {}
    for id_, channel in amounts:
        channels.setdefault(id_, set()).add(channel)
    return [(term, amounts[term.meter, term.channel]) for term in terms(meters, channels)]


def consumption(parts: list[tuple[Term, int]]) -> dict[tuple[str, str], int]:
    totals: dict[tuple[str, str], int] = {}
    for term, amount in parts:
        if term.consumption:
            key = (term.carrier, term.unit)
            totals[key] = totals.get(key, 0) + term.consumption * amount
    return totals


def test_every_accounted_channel_is_cumulative():
    for carrier in carriers().values():
        for channel in (*carrier.forward, *filter(None, [carrier.reverse])):
            assert catalogue()[channel].cumulative


def test_coal_burnt_for_steam_used_on_site_counts_once_as_coal():
    parts = account(
        [
            meter("belt", "raw_coal", Role.BOUNDARY_IN),
            meter("boiler-coal", "raw_coal", Role.CONVERSION_IN),
            meter("boiler-steam", "steam", Role.CONVERSION_OUT),
            meter("dryer-steam", "steam", Role.SUB),
        ],
        {
            ("belt", "mass"): 100,
            ("boiler-coal", "mass"): 90,
            ("boiler-steam", "heat"): 1700,
            ("dryer-steam", "heat"): 800,
        },
    )
    assert consumption(parts) == {("raw_coal", "t"): 100}


def test_steam_made_on_site_and_sold_leaves_the_account_of_its_coal():
    parts = account(
        [
            meter("belt", "raw_coal", Role.BOUNDARY_IN),
            meter("boiler-steam", "steam", Role.CONVERSION_OUT),
            meter("sold", "steam", Role.BOUNDARY_OUT),
        ],
        {("belt", "mass"): 100, ("boiler-steam", "heat"): 1700, ("sold", "heat"): 300},
    )
    assert consumption(parts) == {("raw_coal", "t"): 100, ("steam", "GJ"): -300}


def test_pv_with_export_on_one_two_way_boundary_meter():
    parts = account(
        [
            meter("grid", "electricity", Role.BOUNDARY_IN),
            meter("pv", "electricity", Role.OWN_GENERATION),
            meter("line-1", "electricity", Role.SUB, "grid"),
            meter("grid-2", "electricity", Role.CHECK),
        ],
        {
            ("grid", "energy_import"): 1000,
            ("grid", "energy_export"): 150,
            ("pv", "energy_import"): 400,
            ("pv", "energy_export"): 2,
            ("line-1", "energy_import"): 700,
            ("grid-2", "energy_import"): 1001,
        },
    )
    assert consumption(parts) == {("electricity", "kWh"): 1000 - 150 + 400 - 2}
    # CO2: what was bought less what was delivered; the panel's own energy causes none on site
    assert sum(term.co2 * amount for term, amount in parts) == 1000 - 150


def test_own_fuel_causes_co2_where_it_is_burnt():
    (term,) = terms([meter("mine", "raw_coal", Role.OWN_GENERATION)], {"mine": ["mass"]})
    assert (term.consumption, term.co2) == (1, 1)


def test_a_feeder_that_leaves_the_site_enters_with_the_opposite_signs():
    out = terms(
        [meter("feeder", "electricity", Role.BOUNDARY_OUT)],
        {"feeder": ["energy_import", "energy_export"]},
    )
    assert {term.channel: term.consumption for term in out} == {
        "energy_import": -1,
        "energy_export": 1,
    }


def test_tariff_reactive_and_unconverted_channels_are_no_terms():
    found = terms(
        [
            meter("em", "electricity", Role.BOUNDARY_IN),
            meter("gas", "natural_gas", Role.BOUNDARY_IN),
            meter("gas-raw", "natural_gas", Role.BOUNDARY_IN),
        ],
        {
            "em": ["energy_import", "energy_import_peak", "reactive_energy_import"],
            "gas": ["volume", "volume_standard"],
            "gas-raw": ["volume"],
        },
    )
    assert [(term.meter, term.channel) for term in found] == [
        ("em", "energy_import"),
        ("gas", "volume_standard"),
    ]


def test_steam_counts_by_heat_when_metered_else_by_mass():
    steam = [meter("a", "steam", Role.BOUNDARY_IN), meter("b", "steam", Role.BOUNDARY_IN)]
    found = terms(steam, {"a": ["mass", "heat"], "b": ["mass"]})
    assert [(term.meter, term.unit) for term in found] == [("a", "GJ"), ("b", "t")]


def test_a_meter_without_data_has_no_term():
    assert terms([meter("em", "electricity", Role.BOUNDARY_IN)], {}) == ()


@given(st.lists(st.sampled_from(Role), min_size=1, max_size=6), st.randoms())
def test_conversion_sub_and_check_meters_never_change_a_total(roles: list[Role], random):
    meters = [meter(f"m{i}", "heat", role) for i, role in enumerate(roles)]
    amounts = {(m.id, "heat"): random.randrange(10**9) for m in meters}
    boundary = {Role.BOUNDARY_IN: 1, Role.BOUNDARY_OUT: -1, Role.OWN_GENERATION: 1}
    expected = sum(boundary.get(m.role, 0) * amounts[m.id, "heat"] for m in meters)
    assert consumption(account(meters, amounts)).get(("heat", "GJ"), 0) == expected
