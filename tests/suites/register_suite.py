"""What the register must do on every database. Subclass and give a `url` fixture: an empty one."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import event, insert, select, text
from sqlalchemy.exc import IntegrityError

from aggregator.records import IMPOSSIBLE_TIME, Records, StoredState
from aggregator.register.database import RegisterDatabase
from aggregator.register.engine import DatabaseError, make_engine, migrate
from aggregator.register.folder import load_folder
from aggregator.register.problems import RegisterError
from aggregator.register.schema import METADATA, REVISION, ROWS
from contract.topics import Address, MessageKind, topic
from tests.register_example import example, read_folder, write_folder

T0 = 1_795_248_000_000  # 2026-11-21T08:00:00Z
EDGE = Address("370114", "foundry", "gw1")


def revision(database: RegisterDatabase) -> int:
    """How many imports have changed something."""
    with database._engine.connect() as db:
        return int(db.execute(select(REVISION.c.number)).scalar_one())


class RegisterSuite:
    @pytest.fixture
    def database(self, url):
        with RegisterDatabase(url) as database:
            database.open()
            yield database

    @pytest.fixture
    def folder(self, tmp_path):
        return write_folder(tmp_path / "folder", example())

    @pytest.fixture
    def filled(self, database, folder):
        database.import_folder(folder, author="first", now_ms=T0)
        return database

    def test_schema_and_migrations_agree(self, url):
        engine = make_engine(url)
        migrate(engine)
        with engine.connect() as db:
            context = MigrationContext.configure(db, opts={"compare_type": True})
            assert compare_metadata(context, METADATA) == []
        engine.dispose()

    def test_a_new_database_is_an_empty_register(self, database):
        register = database.register()
        assert (register.sites, register.rows, register.aims.quotas) == ({}, {}, ())
        assert (database.audit(), revision(database)) == ((), 0)

    def test_what_was_imported_is_what_the_folder_says(self, filled, folder):
        assert filled.register() == load_folder(folder)
        assert len(filled.register().sites) == 2

    def test_export_of_an_import_is_the_folder_byte_for_byte(self, filled, tmp_path):
        filled.export_folder(tmp_path / "export")
        assert read_folder(tmp_path / "export") == example()

    def test_import_of_an_export_changes_nothing_and_leaves_no_record(self, filled, tmp_path):
        filled.export_folder(tmp_path / "export")
        records = filled.audit()
        assert filled.import_folder(tmp_path / "export", author="again", now_ms=T0 + 1) == ()
        assert (filled.audit(), revision(filled)) == (records, 1)

    def test_a_spreadsheets_folder_comes_out_in_normal_form(self, database, tmp_path):
        files = example()
        header, *rows = files["meters.csv"].splitlines()
        rows[0] = rows[0].replace(
            ",1,gw1,2026-01-01T08:00:00+08:00,", ",1.0,gw1,2026-01-01T00:00Z, "
        )
        files["meters.csv"] = "\ufeff" + "\r\n".join([header, *reversed(rows), ",,,,,,,,,,,,,", ""])
        files["sites.csv"] = files["sites.csv"].replace("24000", "2.4e4")
        database.import_folder(write_folder(tmp_path / "in", files), author="a", now_ms=T0)
        database.export_folder(tmp_path / "out")
        assert read_folder(tmp_path / "out") == example()

    def test_awkward_cells_survive(self, database, tmp_path):
        files = {
            "sites.csv": "site,region,name_zh,name_en,sector,floor_area_m2,headcount,"
            "latitude,longitude\n"
            "office,370114,机关,Office,government,0.1,999999999,-1e-06,\n",
            "meters.csv": "site,meter,carrier,role,parent,multiplier,edge,valid_from,note\n"
            "office,em-01,electricity,boundary_in,,10000000,,2199-12-31T23:59:59.999+08:00,"
            '"a ""b"",\nc\' %s :x \\ 配电室🔌"\n',
        }
        database.import_folder(write_folder(tmp_path / "in", files), author="ü", now_ms=T0)
        assert database.register() == load_folder(tmp_path / "in")
        database.export_folder(tmp_path / "out")
        assert read_folder(tmp_path / "out") == files

    def test_every_changed_row_leaves_one_record(self, filled, folder):
        files = example()
        files["meters.csv"] = files["meters.csv"].replace(",6000,", ",8000,", 1)
        files["production.csv"] = files["production.csv"].replace("2026-02,2870\n", "2026-03,9\n")
        files["factors/own.toml"] += "# looked at\n"
        before = filled.audit()
        write_folder(folder, files)
        changes = filled.import_folder(folder, author="em", now_ms=T0 + 5, note="CT")
        records = filled.audit()[len(before) :]
        assert tuple(record.change for record in records) == changes
        assert {(r.time_ms, r.author, r.note) for r in records} == {(T0 + 5, "em", "CT")}
        meter, gone, come, document = (record.change for record in records)
        assert meter.key == {"site": "foundry", "meter": "em-01", "valid_from": ""}
        assert meter.before is not None
        assert meter.after is not None
        assert (meter.before["multiplier"], meter.after["multiplier"]) == ("6000", "8000")
        assert meter.before | {"multiplier": "8000"} == meter.after
        assert (gone.key["period"], gone.after) == ("2026-02", None)
        assert (come.key["period"], come.before) == ("2026-03", None)
        assert come.after == {
            "site": "foundry", "product": "castings", "period": "2026-03", "amount": "9",
        }  # fmt: skip
        assert (document.table, document.key) == ("documents", {"path": "factors/own.toml"})
        assert revision(filled) == 2
        assert filled.register() == load_folder(folder)

    def test_the_first_import_is_audited_too(self, filled, folder):
        rows = sum(text.count("\n") - 1 for name, text in example().items() if name.endswith("csv"))
        assert len(filled.audit()) == rows + 1  # one document
        assert all(record.change.before is None for record in filled.audit())
        sites = filled.audit(table="sites")
        assert [record.change.key["site"] for record in sites] == ["foundry", "office"]
        assert filled.audit(table="sites", limit=1) == sites[1:]
        assert filled.audit(since_ms=T0 + 1) == ()
        assert len(filled.audit(since_ms=T0)) == rows + 1

    def test_a_table_whose_file_is_absent_stays(self, filled, tmp_path):
        files = {"production.csv": "site,product,period,amount\nfoundry,castings,2026-01,7\n"}
        changes = filled.import_folder(
            write_folder(tmp_path / "some", files), author="a", now_ms=T0
        )
        assert len(changes) == 3
        assert [row.amount for row in filled.register().aims.production] == [7.0]
        assert len(filled.register().rows) == 5
        filled.export_folder(tmp_path / "export")
        assert read_folder(tmp_path / "export") == example() | files

    def test_a_file_with_its_header_only_empties_its_table(self, filled, tmp_path):
        header = "scope,scope_id,indicator,unit,period,bound,value,source\n"
        write_folder(tmp_path / "some", {"targets.csv": header})
        filled.import_folder(tmp_path / "some", author="a", now_ms=T0)
        assert filled.register().aims.targets == ()
        filled.export_folder(tmp_path / "some")
        assert read_folder(tmp_path / "some")["targets.csv"] == header
        filled.export_folder(tmp_path / "new")
        assert "targets.csv" not in read_folder(tmp_path / "new")

    def test_a_refused_folder_changes_nothing(self, filled, folder):
        before = (filled.register(), filled.audit(), revision(filled))
        files = example()
        files["sites.csv"] = files["sites.csv"].replace("Foundry", "Works")
        files["meters.csv"] = files["meters.csv"].replace(",6000,", ",0,")
        write_folder(folder, files)
        with pytest.raises(RegisterError, match=r"meters\.csv: line 3: multiplier: 0 is not above"):
            filled.import_folder(folder, author="a", now_ms=T0)
        assert (filled.register(), filled.audit(), revision(filled)) == before

    def test_rows_of_the_database_are_held_against_the_folder(self, filled, tmp_path):
        header, foundry, _office = example()["sites.csv"].splitlines(keepends=True)
        write_folder(tmp_path / "some", {"sites.csv": header + foundry})
        with pytest.raises(RegisterError) as caught:
            filled.import_folder(tmp_path / "some", author="a", now_ms=T0)
        assert (
            "meters.csv (in the database): site: office em-01: office is not in sites.csv"
            in str(caught.value)
        )

    def test_a_folder_that_holds_nothing_is_refused(self, filled, tmp_path):
        with pytest.raises(RegisterError, match="holds no file of a register"):
            filled.import_folder(tmp_path / "nowhere", author="a", now_ms=T0)

    def test_a_dry_run_tells_and_writes_nothing(self, filled, folder):
        before = (filled.register(), filled.audit(), revision(filled))
        files = example() | {"sites.csv": example()["sites.csv"].replace("Foundry", "Works")}
        write_folder(folder, files)
        (change,) = filled.import_folder(folder, author="a", now_ms=T0, write=False)
        assert str(change) == "sites: foundry: name_en 'Foundry' -> 'Works'"
        assert (filled.register(), filled.audit(), revision(filled)) == before

    def test_rows_and_records_are_written_together_or_not_at_all(self, filled, folder):
        before = (filled.register(), filled.audit(), revision(filled))
        write_folder(folder, {"targets.csv": example()["targets.csv"].replace("7.9", "7.8")})
        nobody: str = None  # type: ignore[assignment]
        with pytest.raises(IntegrityError):
            filled.import_folder(folder, author=nobody, now_ms=T0)
        assert (filled.register(), filled.audit(), revision(filled)) == before

    def test_documents_of_a_folder_that_is_there_are_replaced(self, filled, tmp_path):
        write_folder(tmp_path / "some", {"factors/new.toml": "a = 1\r\n", "tariffs/t.toml": ""})
        filled.import_folder(tmp_path / "some", author="a", now_ms=T0)
        filled.export_folder(tmp_path / "out")
        assert {name: text for name, text in read_folder(tmp_path / "out").items()
                if name.endswith("toml")} == {
            "factors/new.toml": "a = 1\r\n", "tariffs/t.toml": "",
        }  # fmt: skip

    def test_an_export_over_documents_it_does_not_know_is_refused(self, filled, tmp_path):
        write_folder(tmp_path, {"factors/older.toml": "", "sites.csv": "kept"})
        with pytest.raises(RegisterError, match=r"factors/older\.toml: is not in the register"):
            filled.export_folder(tmp_path)
        assert (tmp_path / "sites.csv").read_text() == "kept"

    def test_two_importers_of_one_change_write_it_once(self, filled, folder, url):
        records = len(filled.audit())
        write_folder(folder, {"sites.csv": example()["sites.csv"].replace("Foundry", "Works")})
        together = threading.Barrier(4)

        def work(name: int) -> int:
            with RegisterDatabase(url) as own:
                together.wait(30)
                return len(own.import_folder(folder, author=f"a{name}", now_ms=T0))

        with ThreadPoolExecutor(4) as pool:
            assert sorted(pool.map(work, range(4))) == [0, 0, 0, 1]
        assert (len(filled.audit()), revision(filled)) == (records + 1, 2)

    def test_rows_that_are_put_at_once_are_all_there(self, filled, url):
        before = len(filled.register().aims.production)
        together = threading.Barrier(4)

        def work(month: int) -> str:
            row = {"site": "foundry", "product": "castings", "period": f"2027-0{month}"}
            with RegisterDatabase(url) as own:
                together.wait(30)
                (change,) = own.put_row(
                    "production", row | {"amount": "7.5"}, author="a", note="n", now_ms=T0
                )
                return str(change)

        with ThreadPoolExecutor(4) as pool:
            told = sorted(pool.map(work, range(1, 5)))
        assert told[0] == "production: foundry castings 2027-01: added"
        assert len(filled.register().aims.production) == before + 4
        row = {"site": "foundry", "product": "castings", "period": "2027-01", "amount": "8"}
        (change,) = filled.put_row("production", row, author="b", now_ms=T0 + 1)
        assert "amount '7.5' -> '8'" in str(change)
        assert filled.audit()[-1].author == "b"
        for wrong, told_of in (({"amount": "much"}, "amount"), ({"site": "nowhere"}, "site")):
            with pytest.raises(RegisterError, match=told_of):
                filled.put_row("production", row | wrong, author="b", now_ms=T0 + 2)
        assert len(filled.register().aims.production) == before + 4

    def test_a_reader_sees_one_moment_though_an_import_comes_between(self, filled, folder, url):
        before = filled.register()
        files = {
            "entities.csv": example()["entities.csv"].replace("Example Metals", "Changed"),
            "targets.csv": example()["targets.csv"].replace("7.9", "7.8"),
        }
        write_folder(folder, files)

        def interrupt(_db, _cursor, statement, *_: object) -> None:
            if "FROM targets" in statement and not done:
                done.append(True)
                with RegisterDatabase(url) as other:
                    other.import_folder(folder, author="other", now_ms=T0)

        done: list[bool] = []
        event.listen(filled._engine, "before_cursor_execute", interrupt)
        assert filled.register() == before
        assert done
        assert filled.register() == load_folder(folder) != before

    def test_a_new_database_may_be_opened_by_several_at_once(self, url):
        together = threading.Barrier(4)

        def work(_: int) -> int:
            with RegisterDatabase(url) as own:
                together.wait(30)
                own.open()
                return revision(own)

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(work, range(4))) == [0] * 4

    def test_a_database_from_before_versions_is_taken_over(self, url):
        engine = make_engine(url)
        tables = [METADATA.tables[name] for name in ("meta", "quarantine", "edge_state")]
        METADATA.create_all(engine, tables)
        with engine.begin() as db:  # the oldest shape
            db.execute(text("ALTER TABLE meta RENAME COLUMN used_ms TO first_seen_ms"))
            db.execute(text("DROP INDEX quarantine_age"))
        engine.dispose()
        records = Records(url)
        records.open()
        assert records.keep_metas({(EDGE, "b" * 64): b"1"}, {})
        records.close()
        with RegisterDatabase(url) as database:
            database.open()
            assert database.register().sites == {}
        records.open()
        assert [meta.payload for meta in records.metas()] == [b"1"]
        records.close()

    def test_a_database_of_a_newer_version_is_refused(self, url, database):
        engine = make_engine(url)
        with engine.begin() as db:
            db.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        with pytest.raises(DatabaseError, match=r"9999.*newer version"):
            database.open()
        engine.dispose()

    def test_the_records_keep_metas_quarantine_and_states(self, url):
        records = Records(url, max_quarantined=2)
        records.open()
        assert records.keep_metas({(EDGE, "b" * 64): b"\x00\xff"}, {})
        assert not records.keep_metas({(EDGE, "b" * 64): b"other"}, {})
        assert records.keep_metas({}, {EDGE: (T0, "b" * 64)})
        assert [meta.payload for meta in records.metas()] == [b"\x00\xff"]
        assert [records.quarantine(bytes([i]), "t", "r", T0 + i) for i in range(3)] == [0, 0, 1]
        assert records.quarantine(b"\x02", "t", "again", T0 + 9) == 0
        newest, _ = records.quarantined()
        assert (newest.payload, newest.reason, newest.seen) == (b"\x02", "again", 2)
        assert records.quarantine_size() == (2, 2)
        for payload in (b"1", b"2"):
            records.put_states([StoredState(EDGE, payload, T0)])
        assert [(state.address, state.payload) for state in records.states()] == [(EDGE, b"2")]
        records.close()

    def test_batches_with_impossible_times_make_room_for_nothing(self, url):
        """Their edges have let go of them: junk has room of its own, and theirs can be full."""
        works = topic(EDGE, MessageKind.DATA)
        records = Records(url, max_quarantined=2, max_kept_bytes=3_000)
        records.open()
        kept = [bytes([i]) * 1_000 for i in range(4)]
        told = [
            records.keep(payload, works, IMPOSSIBLE_TIME, T0 + i) for i, payload in enumerate(kept)
        ]
        assert told == [True, True, True, False]
        evicted = [records.quarantine(bytes([i]), "t", "r", T0 + i) for i in range(9)]
        assert evicted.count(1) == 7
        assert records.quarantine(kept[0], "t", "r", T0) == 0
        assert records.keep(kept[0], works, IMPOSSIBLE_TIME, T0 + 9)
        found = list(records.misdated(EDGE.region, EDGE.site))
        assert [one.payload for one in found] == kept[:3]
        assert records.quarantine_size() == (5, 3_002)
        records.close()
        records = Records(url, max_kept_bytes=3_000)
        assert not records.keep(kept[3], works, IMPOSSIBLE_TIME, T0 + 10)
        assert records.release([found[1].hash]) == 1
        assert records.keep(kept[3], works, IMPOSSIBLE_TIME, T0 + 11)
        records.close()

    def test_more_misdated_batches_than_are_read_at_once(self, url, monkeypatch):
        monkeypatch.setattr("aggregator.records._TOGETHER", 2)
        records, works = Records(url), topic(EDGE, MessageKind.DATA)
        records.open()
        for i in range(5):
            assert records.keep(bytes([i]), works, IMPOSSIBLE_TIME, T0 + i // 3)
        assert records.keep(b"other", works.replace(EDGE.site, "elsewhere"), IMPOSSIBLE_TIME, T0)
        found = [one.payload for one in records.misdated(EDGE.region, EDGE.site)]
        assert sorted(found) == [bytes([i]) for i in range(5)]
        region = EDGE.region
        assert records.misdated_sites() == {(region, EDGE.site), (region, "elsewhere")}
        records.close()

    def test_the_database_itself_refuses_a_row_twice(self, filled):
        row = {"region": "370114", "parent": "", "name_zh": "x", "name_en": "x"}
        with filled._engine.connect() as db, pytest.raises(IntegrityError):
            db.execute(insert(ROWS["regions"]).values(row))
