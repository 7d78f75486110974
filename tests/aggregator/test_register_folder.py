from datetime import UTC, datetime
from pathlib import Path

import pytest

from aggregator.register.folder import RegisterError, load_folder
from aggregator.register.model import Role

SITES = """\
site,region,name_zh,name_en,sector,floor_area_m2,headcount,latitude,longitude
foundry,370114,铸造厂,Foundry,metal casting,24000,310,36.71,117.53
office,370114,机关,Office,government,8000.5,,,
"""
METERS = """\
site,meter,carrier,role,parent,multiplier,edge,valid_from,note
foundry,em-01,electricity,boundary_in,,6000,gw1,,"incomer, 10 kV"
foundry,em-02,electricity,sub,em-01,40,,,
foundry,em-02,electricity,sub,em-01,80,,2026-03-01,CT changed
foundry,coal,raw_coal,boundary_in,,1,gw1,2026-01-01T08:00:00+08:00,
office,em-01,electricity,boundary_in,,1.0,,,
"""


def write(folder: Path, sites: str = SITES, meters: str = METERS) -> Path:
    (folder / "sites.csv").write_text(sites, "utf-8")
    (folder / "meters.csv").write_text(meters, "utf-8")
    return folder


def beijing_ms(year: int, month: int, day: int) -> int:
    return int(datetime(year, month, day, tzinfo=UTC).timestamp()) * 1000 - 8 * 3600 * 1000


def test_loads_sites_and_meters(tmp_path: Path):
    register = load_folder(write(tmp_path))
    foundry, office = register.sites["foundry"], register.sites["office"]
    assert (foundry.name_zh, foundry.floor_area_m2, foundry.headcount) == ("铸造厂", 24000.0, 310)
    assert (office.headcount, office.latitude) == (None, None)
    incomer = register.meter("foundry", "em-01", 0)
    assert incomer is not None
    assert (incomer.role, incomer.multiplier, incomer.note) == (
        Role.BOUNDARY_IN,
        6000,
        "incomer, 10 kV",
    )
    assert [meter.id for meter in register.meters("foundry", beijing_ms(2026, 6, 1))] == [
        "coal",
        "em-01",
        "em-02",
    ]


def test_a_site_may_name_its_tariffs(tmp_path: Path):
    lines = SITES.splitlines()
    named = "\n".join([lines[0] + ",tariff", lines[1] + ",contract demo-gas", lines[2] + ","])
    register = load_folder(write(tmp_path, sites=named + "\n"))
    assert register.sites["foundry"].tariffs == ("contract", "demo-gas")
    assert register.sites["office"].tariffs == ()
    assert load_folder(write(tmp_path)).sites["foundry"].tariffs == ()
    with pytest.raises(RegisterError, match=r"sites.csv: line 2: tariff: .*Contract"):
        load_folder(write(tmp_path, sites=named.replace("contract", "Contract")))


def test_rows_are_dated_from_beijing_midnight(tmp_path: Path):
    register = load_folder(write(tmp_path))
    change = beijing_ms(2026, 3, 1)
    before, after = (register.meter("foundry", "em-02", t) for t in (change - 1, change))
    assert before is not None
    assert after is not None
    assert (before.multiplier, after.multiplier) == (40, 80)
    assert register.borders("foundry", 0, beijing_ms(2027, 1, 1)) == (
        beijing_ms(2026, 1, 1) + 8 * 3600 * 1000,
        change,
    )
    assert register.meter("foundry", "coal", 0) is None
    assert register.meter("foundry", "none", change) is None


def test_a_spreadsheets_byte_order_mark_and_blank_lines_are_no_harm(tmp_path: Path):
    write(tmp_path)
    (tmp_path / "sites.csv").write_text("\ufeff" + SITES + ",,,,,,,,\n\n", "utf-8")
    assert set(load_folder(tmp_path).sites) == {"foundry", "office"}


METER_REFUSALS = {
    "unknown role": ("sub,em-01,40", "main,em-01,40", 3, "role", "'main'"),
    "unknown carrier": ("coal,raw_coal", "coal,charcoal", 5, "carrier", "'charcoal'"),
    "unknown site": ("office,em-01", "offices,em-01", 6, "site", "not in sites.csv"),
    "bad id": ("foundry,coal", "foundry,Coal", 5, "meter", "'Coal'"),
    "duplicate": ("80,,2026-03-01", "80,,", 4, "meter", "already in line 3"),
    "multiplier zero": (",,6000,", ",,0,", 2, "multiplier", "not above 0"),
    "multiplier negative": (",,6000,", ",,-6000,", 2, "multiplier", "not above 0"),
    "multiplier decimal": (",,6000,", ",,1.5,", 2, "multiplier", "is not whole"),
    "multiplier not a number": (",,6000,", ",,NaN,", 2, "multiplier", "not above 0"),
    "multiplier empty": (",,6000,", ",,,", 2, "multiplier", "'' is not a number"),
    "multiplier absurd": (",,6000,", ",,1e9,", 2, "multiplier", "above 10000000"),
    "parent missing": ("sub,em-01,40", "sub,em-09,40", 3, "parent", "no meter of foundry"),
    "parent of another site": (
        "office,em-01,electricity,boundary_in,,",
        "office,em-01,electricity,sub,coal,",
        6,
        "parent",
        "coal is no meter of office",
    ),
    "parent not yet valid": (
        "em-02,electricity,sub,em-01,40",
        "em-02,electricity,sub,coal,40",
        3,
        "parent",
        "not yet valid",
    ),
    "parent of another carrier": (
        "sub,em-01,80",
        "sub,coal,80",
        4,
        "parent",
        "coal counts raw_coal, not electricity",
    ),
    "parent cycle": (
        "em-01,electricity,boundary_in,,6000",
        "em-01,electricity,boundary_in,em-02,6000",
        2,
        "parent",
        "em-01 > em-02 > em-01",
    ),
    "own parent": ("sub,em-01,80", "sub,em-02,80", 4, "parent", "em-02 > em-02"),
    "date without sense": ("2026-03-01", "2026-02-30", 4, "valid_from", "2026-02-30"),
    "time without offset": ("2026-03-01", "2026-03-01T00:00", 4, "valid_from", "no offset"),
    "too few cells": (",80,,2026-03-01,CT changed", ",80", 4, "", "6 cells"),
    "unclosed quote": ('"incomer, 10 kV"', '"incomer', 6, "", ""),
}


@pytest.mark.parametrize("case", METER_REFUSALS)
def test_meters_refused(case: str, tmp_path: Path):
    old, new, line, column, reason = METER_REFUSALS[case]
    assert METERS.count(old) == 1
    with pytest.raises(RegisterError) as caught:
        load_folder(write(tmp_path, meters=METERS.replace(old, new)))
    found = [(p.file, p.line, p.column) for p in caught.value.problems if reason in p.reason]
    assert ("meters.csv", line, column) in found, caught.value


SITE_REFUSALS = {
    "region too short": ("foundry,370114", "foundry,3701", 2, "region", "'3701'"),
    "duplicate": ("office,", "foundry,", 3, "site", "already in line 2"),
    "no name": ("铸造厂", "", 2, "name_zh", "empty"),
    "area not a number": ("8000.5", "nan", 3, "floor_area_m2", "nan"),
    "area in words": ("8000.5", "big", 3, "floor_area_m2", "big"),
    "latitude and longitude exchanged": ("36.71,117.53", "117.53,36.71", 2, "latitude", "117.53"),
    "half a person": (",310,", ",310.5,", 2, "headcount", "310.5"),
    "column missing": ("name_zh,", "", 1, "name_zh", "missing column"),
    "column unknown": ("sector,", "sectors,", 1, "sectors", "unknown column"),
}


@pytest.mark.parametrize("case", SITE_REFUSALS)
def test_sites_refused(case: str, tmp_path: Path):
    old, new, line, column, reason = SITE_REFUSALS[case]
    with pytest.raises(RegisterError) as caught:
        load_folder(write(tmp_path, sites=SITES.replace(old, new, 1)))
    found = [(p.file, p.line, p.column) for p in caught.value.problems if reason in p.reason]
    assert ("sites.csv", line, column) in found, caught.value


def test_a_cycle_that_only_a_later_row_closes_is_found(tmp_path: Path):
    meters = METERS.replace(
        "foundry,coal,", "foundry,em-01,electricity,sub,em-02,6000,,2026-04-01,\nfoundry,coal,"
    )
    with pytest.raises(RegisterError, match="em-01 > em-02 > em-01"):
        load_folder(write(tmp_path, meters=meters))


def test_missing_files_and_wrong_encoding_are_named(tmp_path: Path):
    (tmp_path / "sites.csv").write_bytes(SITES.encode("gbk"))
    with pytest.raises(RegisterError) as caught:
        load_folder(tmp_path)
    assert [(p.file, p.reason[:9]) for p in caught.value.problems] == [
        ("meters.csv", "missing"),
        ("sites.csv", "not UTF-8"),
    ]


def test_a_character_that_not_every_database_keeps_is_refused(tmp_path: Path):
    with pytest.raises(RegisterError) as caught:
        load_folder(write(tmp_path, sites=SITES.replace("office", "off\0ice", 1)))
    (problem, *_) = [p for p in caught.value.problems if "NUL" in p.reason]
    line = SITES[: SITES.index("office")].count("\n") + 1
    assert (problem.file, problem.line) == ("sites.csv", line)


def test_all_problems_are_told_at_once_in_order(tmp_path: Path):
    with pytest.raises(RegisterError) as caught:
        load_folder(
            write(
                tmp_path,
                sites=SITES.replace("36.71", "-91"),
                meters=METERS.replace("6000", "0").replace("raw_coal", "ash"),
            )
        )
    assert [(p.file, p.line, p.column) for p in caught.value.problems] == [
        ("meters.csv", 2, "multiplier"),
        ("meters.csv", 5, "carrier"),
        ("sites.csv", 2, "latitude"),
    ]
    assert "meters.csv: line 5: carrier: unknown carrier 'ash'" in str(caught.value)
