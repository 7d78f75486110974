"""docs/register.md says what the code does: its column tables, its example, its rules."""

import re

from aggregator.ledger.factor_tables import load_library, tables_folder
from aggregator.register.folder import load_folder
from aggregator.register.tables import TABLES
from tests.register_example import PAGE, example, write_folder


def test_the_page_has_every_table_with_every_column():
    page = PAGE.read_text("utf-8")
    sections = {part.split("\n", 1)[0]: part for part in page.split("\n## ")[1:]}
    assert [name for name in sections if name.endswith(".csv")] == [
        table.file for table in TABLES.values()
    ]
    for table in TABLES.values():
        section = sections[table.file]
        rows = re.findall(r"^\| (`.*) \|$", section, re.MULTILINE)
        assert rows == [
            f"`{column.name}`{'°' if column.extra else ''} | {column.cell.says} | {column.about}"
            + (f" (in {column.to}.csv)" if column.to else "")
            for column in table.columns
        ]
        assert f"{table.about} Key: {', '.join(table.key)}.\n" in section


def test_the_example_is_a_register_with_every_table_filled(tmp_path):
    assert example().keys() == {table.file for table in TABLES.values()} | {"factors/own.toml"}
    register = load_folder(write_folder(tmp_path, example()))
    aims = register.aims
    assert all((register.regions, register.entities, register.nodes, aims.products))
    assert all((aims.production, aims.quotas, aims.budgets, aims.targets))
    for name, text in example().items():
        if name.endswith(".csv"):
            header, *rows = text.splitlines()
            assert rows
            assert header.split(",") == [
                column.name for column in TABLES[name.removesuffix(".csv")].columns
            ]


def test_the_examples_factors_load(tmp_path):
    write_folder(tmp_path, example())
    library = load_library([tables_folder(), tmp_path / "factors"])
    assert "own-steam-mass-co2" in library.rows


def test_the_model_has_what_the_rows_say(tmp_path):
    register = load_folder(write_folder(tmp_path, example()))
    assert register.sites["foundry"].two_highs == "existing"
    assert register.sites["office"].two_highs is None
    assert register.entities["example-metals"].key_unit == "statutory"
    change = 1_772_294_400_000  # 2026-03-01 in Beijing
    found = [register.meter("foundry", "em-02", t) for t in (change - 1, change)]
    assert [(row.serial, row.node) for row in found if row] == [
        ("SN-0002", "melting"),
        ("SN-0107", "melting-furnaces"),
    ]
    assert register.node("foundry", "melting-furnaces", change - 1) is None
    furnaces = register.node("foundry", "melting-furnaces", change)
    assert furnaces is not None
    assert furnaces.parent == "melting"
    assert [target.indicator for target in register.aims.targets] == [
        "water-leakage",
        "energy-intensity",
    ]
    limit, office = register.aims.quotas
    assert (limit.product, office.climate_zone, office.verified) == ("castings", "B", False)
