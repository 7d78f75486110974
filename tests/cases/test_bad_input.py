"""Input that cannot be true: what is refused is kept and told, what is true goes on."""

import pytest

from aggregator.documents import Judge
from aggregator.ledger.factor_tables import load_library, tables_folder
from aggregator.ledger.factors import FactorTableError
from aggregator.register.database import RegisterDatabase
from aggregator.register.problems import RegisterError
from contract.data import encode_data
from contract.meta import meta_hash
from contract.units import MAX_CUMULATIVE_MICRO
from tests.cases.rig import (
    DAY_MS,
    HOUR_MS,
    KWH,
    SUSPECT,
    EventKind,
    Life,
    agree,
    at,
)
from tests.register_example import example, read_folder, write_folder

DAY = at("2026-03-10 00:00")
END = DAY + DAY_MS
WHEN = DAY + 10 * HOUR_MS + 300_000
GW1 = "gw-1", "00000000000000aa"


def test_a_meter_unknown_to_the_register(story):
    """Kept raw and named; once somebody registers it, its past is there."""
    tale, life, known = story(), Life(DAY, 2), Life(DAY, 2, seed=2)
    tale.send(known.polls(DAY, END))
    tale.send(life.polls(DAY, END), meter="em-9", edge="gw-2")
    before = tale.so_far()
    assert before.rows(meter="em-9") == {}
    agree(before, known, DAY, END)
    assert before.counts["unregistered_readings"] == len(life.polls(DAY, END))
    assert [row["meter"] for row in before.logged if row["event"] == "meter_unregistered"] == [
        "em-9"
    ]
    assert [key.meter for key in before.reader.unregistered()] == ["em-9"]

    tale.restart(tale.row("em-1"), tale.row("em-9", ratio=30), when=END + HOUR_MS)
    tale.send(life.polls(END + 300_000, END + DAY_MS), meter="em-9", edge="gw-2")
    ledger = tale.end()
    agree(ledger, life, DAY, END + DAY_MS, ratio=30, meter="em-9")
    agree(ledger, known, DAY, END)


def test_a_channel_with_an_unknown_unit(story):
    """The meta is refused and kept, its data are not acknowledged: the gateway keeps them."""
    tale, life = story(unsettled=True), Life(DAY, 1)
    tale.restart(when=DAY, metas={"gw-1": tale.meta("MWh")})
    tale.send(life.polls(DAY, END))
    before = tale.so_far()
    assert before.rows() == {}
    assert before.acks.get(GW1, 0) == 0
    assert before.need_meta == {meta_hash(tale.meta("MWh"))}
    (kept,) = before.quarantined()
    assert kept.payload == tale.meta("MWh")
    assert "'MWh' is not the catalogue's kWh" in kept.reason

    tale.restart(when=END, metas={"gw-1": tale.meta()})  # mended: the same readings, a true meta
    tale.send(life.polls(DAY, END), arrives=END)
    ledger = tale.end()
    agree(ledger, life, DAY, END)


def test_a_register_value_of_minus_1(story):
    """Minus one is what some drivers say for no value: a dip that does not count."""
    tale, life = story(), Life(DAY, 1)
    tale.send([(t, -KWH if t == WHEN else micro) for t, micro in life.polls(DAY, END)])
    ledger = tale.end()
    agree(ledger, life, DAY, END)
    assert ledger.total(of="held") == 0
    assert [row.flags for row in ledger.rows().values() if row.flags] == [SUSPECT]


def test_a_register_value_of_minus_1_at_first(story):
    """Nothing before it tells that it is wrong: the step from it waits for a person."""
    tale, life = story(), Life(DAY, 1)
    tale.send([(DAY, -KWH), *life.polls(DAY + 300_000, END)])
    before = tale.so_far()
    assert before.total(of="held") == life.shown(DAY + 300_000) + KWH
    assert before.total() == life.used(DAY + 300_000, END)
    tale.say(EventKind.REPLACE, DAY, value_micro=life.shown(DAY), when=END + HOUR_MS)
    ledger = tale.end()
    agree(ledger, life, DAY, END)
    assert ledger.total(of="held") == 0


@pytest.mark.parametrize("value", ["NaN", str(2**63), "1e400"], ids=["NaN", "2^63", "1e400"])
def test_a_register_value_that_is_no_number_or_beyond_every_register(story, value):
    """The batch breaks the contract: kept, not acknowledged; others go on.

    The gateway gives it up after some tries and says so: the total stays exact.
    """
    tale, life = story(unsettled=True), Life(DAY, 1)
    tale.send(life.polls(DAY, WHEN))
    bad = tale.batch(life.polls(WHEN + 300_000, WHEN + 3 * HOUR_MS))
    good = f"{life.shown(WHEN + HOUR_MS) / KWH!r},"
    payload = spoilt(bad, good, f"{value},")
    tale.give(bad, arrives=WHEN + 3 * HOUR_MS, payload=payload)
    rest = life.polls(WHEN + 3 * HOUR_MS + 300_000, END)
    tale.give(tale.batch(rest[:-1]), arrives=END)
    before = tale.so_far()
    assert before.acks[GW1] == bad.seq - 1
    (kept,) = before.quarantined()
    assert kept.payload == payload

    tale.give(tale.batch(rest[-1:], void=[(bad.seq, bad.seq)]), arrives=END)
    ledger = tale.end()
    assert ledger.acks[GW1] == bad.seq + 2
    gap = WHEN - 300_000, rest[0][0] + 300_000
    agree(ledger, life, DAY, gap[0])
    agree(ledger, life, gap[1], END)
    assert ledger.total() == life.used(DAY, END)
    assert ledger.total(of="estimated") == life.used(WHEN, rest[0][0])


def spoilt(batch, old, new):
    payload = encode_data(batch)
    assert payload.count(old.encode()) == 1
    return payload.replace(old.encode(), new.encode())


def test_a_register_value_at_the_limit_of_the_contract_behind_a_multiplier(story):
    """All ones of a broken meter pass the contract; behind CT x VT no int64 would hold them."""
    tale, life = story(), Life(DAY, 1)
    tale.restart(tale.row(ratio=6_000), when=DAY)
    ones = MAX_CUMULATIVE_MICRO
    tale.send([(t, ones if t in (WHEN, END) else u) for t, u in life.polls(DAY, END)])
    ledger = tale.end()
    agree(ledger, life, DAY, END - 900_000, ratio=6_000)
    assert ledger.total() == 6_000 * life.used(DAY, END - 300_000)
    assert ledger.total(of="held") == 0


@pytest.mark.parametrize("year", [1970, 2099])
def test_a_timestamp_in_another_age(story, year):
    """Its readings stay outside, the payload is kept, the rest of the batch is booked."""
    tale, life = story(), Life(DAY, 1)
    shown = life.polls(DAY, END)
    tale.give(tale.batch([*shown[:100], (at(f"{year}-02-03 00:00"), 5 * KWH)]), arrives=END)
    tale.send(shown[100:])
    ledger = tale.end()
    agree(ledger, life, DAY, END)
    assert ledger.counts["quarantined_readings"] == 1
    (kept,) = ledger.quarantined()
    assert kept.reason == "impossible time"
    assert len(ledger.rows()) == 96 + 1  # the last reading stands at the end of the day


def test_a_multiplier_of_0(tmp_path):
    """The register refuses the row by file, line and column, and stays as it was."""
    good = example()
    with RegisterDatabase(f"sqlite:///{tmp_path / 'register.sqlite'}") as database:
        database.open()
        database.import_folder(write_folder(tmp_path / "good", good), author="li", now_ms=DAY)
        database.export_folder(tmp_path / "before")
        header, first, *others = good["meters.csv"].splitlines()
        cells = first.split(",")
        cells[header.split(",").index("multiplier")] = "0"
        bad = good | {"meters.csv": "\n".join([header, ",".join(cells), *others, ""])}
        with pytest.raises(RegisterError, match=r"meters\.csv: line 2: multiplier: 0 is not above"):
            database.import_folder(write_folder(tmp_path / "bad", bad), author="li", now_ms=DAY)
        database.export_folder(tmp_path / "after")
    assert read_folder(tmp_path / "after") == read_folder(tmp_path / "before")


def test_a_factor_file_with_a_missing_year(tmp_path):
    """Refused by file and row, with the year that the row before ends in."""
    rows = "".join(
        f"""
[[factor]]
id = "grid-x-{year}"
item = "electricity"
measure = "co2_kg"
value = 0.5
unit = "kgCO2/kWh"
data_year = {year}
basis = "yearly"
valid_from = {year}-01-01
valid_to = {year + 1}-01-01
region = "national"
edition = "test"
source = "made up for this test"
verified = true
"""
        for year in (2023, 2025)
    )
    gap = "valid_from: gap after grid-x-2023, which is valid until 2024-01-01"
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "grid-x.toml").write_text(rows)
    with pytest.raises(FactorTableError) as refused:
        load_library([tables_folder(), tmp_path / "tables"])
    (problem,) = refused.value.problems
    assert str(problem) == f"grid-x.toml: row (grid-x-2025): {gap}"

    # The register refuses the whole folder with it, and says afterwards what it said before.
    good = example()
    bad = good | {"factors/grid-x.toml": rows, "meters.csv": good["meters.csv"] + "\n"}
    bad["sites.csv"] = good["sites.csv"].replace("Office", "Offices")
    assert bad["sites.csv"] != good["sites.csv"]
    url = f"sqlite:///{tmp_path / 'register.sqlite'}"
    with RegisterDatabase(url, Judge()) as database:
        database.open()
        database.import_folder(write_folder(tmp_path / "good", good), author="li", now_ms=DAY)
        documents, audit = database.documents(), database.audit()
        assert "factors/own.toml" in documents
        database.export_folder(tmp_path / "before")
        with pytest.raises(RegisterError, match=f"grid-x.*{gap}"):
            database.import_folder(write_folder(tmp_path / "bad", bad), author="li", now_ms=END)
        assert (database.documents(), database.audit()) == (documents, audit)
        database.export_folder(tmp_path / "after")
    assert read_folder(tmp_path / "after") == read_folder(tmp_path / "before")
