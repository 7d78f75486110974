"""What is wrong with a folder between its rows: each case changes the example in one place."""

import pytest

from aggregator.register.folder import RegisterError, load_folder
from aggregator.register.tables import TABLES
from tests.register_example import example, write_folder

_COKE, _PROOF = '"carbon balance of March, made up"', '"certificates 1 to 12, made up"'
_BOUGHT = "renewable_certificate"

REFUSALS = {
    "region its own parent": ("regions.csv", "370100,,济", "370100,370114,济", 2, "parent",
                              "370100 > 370114 > 370100"),
    "region part of nothing known": ("regions.csv", "370114,370100", "370114,370200", 3, "parent",
                                     "370200 is not in regions.csv"),
    "region of a site unknown": ("sites.csv", "office,370114", "office,370115", 3, "region",
                                 "not in regions.csv"),
    "entity twice": ("entities.csv", "example-office,示", "example-metals,示", 3, "entity",
                     "example-metals stands already in line 2"),
    "entity unknown": ("sites.csv", ",example-office,", ",example-offices,", 3, "entity",
                       "not in entities.csv"),
    "class of key unit": ("entities.csv", "statutory", "large", 2, "key_unit", "'large'"),
    "two-highs list": ("sites.csv", "B,existing", "B,old", 2, "two_highs", "'old'"),
    "node of an unknown site": ("nodes.csv", "office,sockets", "shop,sockets", 5, "site",
                                "shop is not in sites.csv"),
    "node twice": ("nodes.csv", "melting-furnaces,melting,电炉,Furnaces,,2026-03-01",
                   "melting,,x,x,,", 3, "node", "foundry melting stands already in line 2"),
    "node part of nothing": ("nodes.csv", "furnaces,melting,", "furnaces,forge,", 3, "parent",
                             "forge is no node of foundry"),
    "node part of a later one": ("nodes.csv", "foundry,melting,,",
                                 "foundry,melting,melting-furnaces,", 2, "parent",
                                 "melting-furnaces is not yet valid then"),
    "node its own ancestor": ("nodes.csv", "foundry,melting,,熔炼车间,Melting shop,,",
                              "foundry,melting,melting-furnaces,熔炼车间,Melting shop,,2026-04-01",
                              2, "parent", "melting > melting-furnaces > melting"),
    "sub-item": ("nodes.csv", "air_conditioning", "cooling", 4, "sub_item", "'cooling'"),
    "meter of an unknown node": ("meters.csv", ",1,,,melting\n", ",1,,,forge\n", 4, "node",
                                 "forge is no node of foundry"),
    "meter of a later node": ("meters.csv", ",1,,,melting\n", ",1,,,melting-furnaces\n", 4, "node",
                              "not yet valid then"),
    "calibration runs out before": ("meters.csv", "2027-11-02", "2025-11-02", 3, "calibration_due",
                                    "before the calibration"),
    "virtual meter of a meter's name": ("virtual_meters.csv", "office,rest,", "office,em-02,", 2,
                                        "meter", "em-02 is a meter of office already"),
    "formula of nothing": ("virtual_meters.csv", "+em-01 -em-02", "", 2, "formula", "empty"),
    "formula of another kind": ("virtual_meters.csv", "+em-01 -em-02", "em-01 * em-02", 2,
                                "formula", "'*' is no term like"),
    "formula with a product": ("virtual_meters.csv", "+em-01 -em-02", "2*em-01", 2, "formula",
                               "'2*em-01': a share is above 0 and at most 1"),
    "formula with nothing of a meter": ("virtual_meters.csv", "+0.4*rest", "0.0*rest", 3,
                                        "formula", "above 0"),
    "formula divided by nothing": ("virtual_meters.csv", "+0.4*rest", "1/0*rest", 3, "formula",
                                   "'1/0*rest' divides by 0"),
    "formula names a meter twice": ("virtual_meters.csv", "-em-02", "-em-01", 2, "formula",
                                    "names em-01 twice"),
    "formula of an unknown meter": ("virtual_meters.csv", "-em-02", "-em-03", 2, "formula",
                                    "em-03 is no meter of office"),
    "formula of a later virtual meter": ("virtual_meters.csv", "-em-02,,", "-em-02,,2026-04-01", 3,
                                         "formula", "rest is not yet valid then"),
    "formula of another carrier": ("virtual_meters.csv", "rest,electricity,+em", "rest,water,+em",
                                   2, "formula", "em-01 counts electricity, not water"),
    "virtual meter of another carrier later": ("virtual_meters.csv", "sockets,\n",
                                              "sockets,\noffice,rest,water,+em-01,,2026-04-01\n",
                                              4, "carrier",
                                              "rest counts electricity; what counts another"),
    "formula with itself": ("virtual_meters.csv", "-em-02", "-rest", 2, "formula",
                            "is part of itself: rest > rest"),
    "formula with a cycle": ("virtual_meters.csv", "-em-02", "-rest-sockets", 2, "formula",
                             "is part of itself: rest > rest-sockets > rest"),
    "formulas that give away too much": ("virtual_meters.csv", "sockets,\n",
                                         "sockets,\noffice,more,electricity,2/3*rest,,\n", 4,
                                         "formula", "shares of rest make 1.06667, more than all"),
    "virtual meter of an unknown node": ("virtual_meters.csv", ",sockets,", ",plugs,", 3, "node",
                                         "plugs is no node of office"),
    "analysis of an unknown meter": ("calorific_values.csv", "raw_coal,,", "raw_coal,belt,", 2,
                                     "meter", "belt is no meter of foundry"),
    "analysis of another meter's fuel": ("calorific_values.csv", "raw_coal,,", "raw_coal,em-01,",
                                         2, "meter", "em-01 counts electricity, not raw_coal"),
    "analysis of no fuel": ("calorific_values.csv", "raw_coal", "electricity", 2, "carrier",
                            "unknown fuel 'electricity'"),
    "analysis in kcal": ("calorific_values.csv", "21.4", "5112", 2, "ncv_gj", "not between"),
    "analysis of gas by 10^4 m3": ("calorific_values.csv", "raw_coal,,2026-03-01,2026-04-01,21.4",
                                   "natural_gas,,2026-03-01,2026-04-01,35.5", 2, "ncv_gj",
                                   "35.5 GJ/m3 is not between 0.001 and 0.2"),
    "analysis that ends before": ("calorific_values.csv", "2026-04-01", "2026-03-01", 2,
                                  "valid_to", "is not after valid_from"),
    "analyses that overlap": ("calorific_values.csv", "foundry,raw",
                              "foundry,raw_coal,,2026-03-31,,22,x\nfoundry,raw", 2, "valid_from",
                              "overlaps line 3, which holds longer"),
    "electricity as feedstock": ("deductions.csv", "coke,feedstock", "electricity,feedstock", 2,
                                 "kind", "feedstock is for fuel, not for electricity"),
    "certificate for a fuel": ("deductions.csv", "electricity,renew", "coke,renew", 3, "kind",
                               "renewable_certificate is for electricity, not for coke"),
    "deduction of a year and its month": ("deductions.csv", f"coke,feedstock,2026-03,1.5,{_COKE}",
                                          f"electricity,{_BOUGHT},2026-02,9,{_PROOF}", 2,
                                          "period", "2026-02 is deducted already in line 3"),
    "deduction of less than nothing": ("deductions.csv", "12000", "-1", 3, "amount", "not between"),
    "demand of an unknown meter": ("demand_contracts.csv", "em-01,contracted", "em-9,contracted",
                                   2, "meter", "em-9 is no meter of foundry"),
    "demand of no electricity": ("demand_contracts.csv", "em-01,contracted", "coal,contracted", 2,
                                 "meter", "coal counts raw_coal, not electricity"),
    "demand inside a month": ("demand_contracts.csv", "2026-04-01", "2026-04-02", 3, "valid_from",
                              "is not the first of a month"),
    "integrated channel of no meter": ("integrated_channels.csv", "coal,mass", "coke,mass", 2,
                                       "meter", "coke is no meter of foundry"),
    "integrated channel without rate": ("integrated_channels.csv", "mass", "energy_import_peak", 2,
                                        "channel", "'energy_import_peak'"),
    "integrated channel in no total": ("integrated_channels.csv", "coal,mass", "em-01,mass", 2,
                                       "channel", "mass is not what is counted of electricity"),
    "demand without capacity": ("demand_contracts.csv", "630", "", 2, "contracted_kva",
                                "empty, and the basis is contracted"),
    "product unknown": ("production.csv", "castings,2026-01", "forgings,2026-01", 3, "product",
                        "forgings is not in products.csv"),
    "output twice": ("production.csv", "2026-02", "2026-01", 4, "product",
                     "foundry castings 2026-01 stands already in line 3"),
    "output of a year and its month": ("production.csv", "castings,2025,", "castings,2026,", 4,
                                       "period", "2026-02 counts already in 2026, line 2"),
    "output below nothing": ("production.csv", "3105.5", "-3105.5", 3, "amount", "not between"),
    "quota without value": ("quotas.csv", "420,380,310", ",,", 2, "constraint_value", "no value"),
    "quota upside down": ("quotas.csv", "20.8,12.6,6.9", "6.9,12.6,20.8", 3, "baseline_value",
                          "12.6 is above constraint_value 6.9"),
    "quota upside down, one left out": ("quotas.csv", "20.8,12.6,6.9", "6.9,,20.8", 3,
                                        "guide_value", "20.8 is above constraint_value 6.9"),
    "limit of no product": ("quotas.csv", ",castings,", ",,", 2, "product", "empty"),
    "quota of a product by area": ("quotas.csv", "B,,,20.8", "B,castings,,20.8", 3, "product",
                                   "filled"),
    "quota without source": ("quotas.csv", ",example,no", ",,no", 2, "source", "empty"),
    "budget of an unknown entity": ("budgets.csv", "metals,,tce_equivalent,2026,",
                                    "steel,,tce_equivalent,2026,", 2, "entity",
                                    "not in entities.csv"),
    "budget in no unit": ("budgets.csv", "raw_coal,amount", ",amount", 4, "carrier", "empty"),
    "target of an unknown site": ("targets.csv", "site,foundry", "site,forge", 3, "scope_id",
                                  "forge is not in sites.csv"),
    "target of an unknown region": ("targets.csv", "region,370114", "region,370200", 2, "scope_id",
                                    "370200 is not in regions.csv"),
    "target of a scope unknown": ("targets.csv", "region,370114", "city,370114", 2, "scope",
                                  "unknown scope 'city'"),
    "not TOML": ("factors/own.toml", "[series]", "[series", 0, "", "line 1"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
def test_refused(case, tmp_path):
    file, old, new, line, column, reason = REFUSALS[case]
    files = example()
    assert files[file].count(old) == 1
    write_folder(tmp_path, files | {file: files[file].replace(old, new)})
    with pytest.raises(RegisterError) as caught:
        load_folder(tmp_path)
    found = [(p.file, p.line, p.column) for p in caught.value.problems if reason in p.reason]
    assert (file, line, column) in found, caught.value


def test_a_meter_counts_one_carrier(tmp_path):
    files = example()
    files["meters.csv"] += "office,em-02,heat,check,,1,,2026-09-01,,,,,,\n"
    line = files["meters.csv"].count("\n")
    with pytest.raises(RegisterError) as caught:
        load_folder(write_folder(tmp_path, files))
    assert [(p.file, p.line, p.column, p.reason) for p in caught.value.problems] == [
        ("meters.csv", line, "carrier",
         "em-02 counts electricity; what counts another is another meter"),
    ]  # fmt: skip


def test_one_wrong_cell_brings_no_complaint_about_what_depends_on_it(tmp_path):
    files = example()
    for file, old, new in [
        ("nodes.csv", "2026-03-01", "March"),
        ("quotas.csv", ",castings,", ",Castings,"),
        ("production.csv", "2026-01", "January"),
        ("targets.csv", "370114", ""),
    ]:
        files[file] = files[file].replace(old, new, 1)
    with pytest.raises(RegisterError) as caught:
        load_folder(write_folder(tmp_path, files))
    assert [(p.file, p.line, p.column) for p in caught.value.problems] == [
        ("nodes.csv", 3, "valid_from"),
        ("production.csv", 3, "period"),
        ("quotas.csv", 2, "product"),
        ("targets.csv", 2, "scope_id"),
    ]


def test_without_a_list_of_regions_any_code_is_taken(tmp_path):
    files = example()
    del files["regions.csv"]
    assert load_folder(write_folder(tmp_path, files)).sites["office"].region == "370114"
    write_folder(tmp_path, {"targets.csv": files["targets.csv"].replace("370114", "37011")})
    with pytest.raises(RegisterError, match=r"targets\.csv: line 2: scope_id: '37011' is not a GB"):
        load_folder(tmp_path)


def test_a_file_nobody_knows_is_named(tmp_path):
    write_folder(tmp_path, example() | {"quota.csv": "", "notes.txt": ""})
    with pytest.raises(RegisterError, match=r"^quota\.csv: unknown file; known: regions\.csv, "):
        load_folder(tmp_path)


def test_a_row_is_named_by_its_first_line_though_a_cell_holds_line_breaks(tmp_path):
    files = example()
    first, rest = files["meters.csv"].replace("belt scale", '"belt\n\nscale"').split("em-01", 1)
    files["meters.csv"] = (
        first.replace(",boundary_in", ",main")
        + "em-01"
        + rest.replace("office,em-02,electricity,sub", "office,em-02,electricity,main")
    )
    with pytest.raises(RegisterError) as caught:
        load_folder(write_folder(tmp_path, files))
    assert [(p.line, p.column) for p in caught.value.problems] == [(2, "role"), (9, "role")]


def test_a_meter_below_a_cycle_is_not_in_it(tmp_path):
    files = example()
    files["meters.csv"] = (
        files["meters.csv"].replace(
            "office,em-01,electricity,boundary_in,,", "office,em-01,electricity,sub,em-02,"
        )
        + "office,em-03,electricity,sub,em-02,1,,,,,,,,\n"
    )
    with pytest.raises(RegisterError) as caught:
        load_folder(write_folder(tmp_path, files))
    assert [(p.line, p.reason) for p in caught.value.problems] == [
        (6, "is its own ancestor: em-01 > em-02 > em-01"),
        (7, "is its own ancestor: em-02 > em-01 > em-02"),
    ]


def test_a_cycle_that_begins_at_a_date_is_refused_there_with_its_way(tmp_path):
    files = example()
    files["virtual_meters.csv"] += (
        "office,rest,electricity,+em-01 -third,,2026-05-01\n"
        "office,third,electricity,+0.5*rest-sockets,,2026-05-01\n"
    )
    with pytest.raises(RegisterError) as caught:
        load_folder(write_folder(tmp_path, files))
    assert [(p.line, p.column, p.reason) for p in caught.value.problems] == [
        (4, "formula", "is part of itself: rest > third > rest-sockets > rest"),
        (5, "formula", "is part of itself: third > rest-sockets > rest > third"),
    ]


def test_formulas_have_one_spelling():
    cell = TABLES["virtual_meters"].column("formula").cell
    for text, normal in {
        "em-1  -em-2 0.40*em-3": "+em-1 -em-2 +0.4*em-3",
        "2/6*em-1 -1.0*em-2": "+1/3*em-1 -em-2",
        "1/4*0": "+0.25*0",
    }.items():
        assert cell.write(cell.read(text)) == normal == cell.read(normal)
