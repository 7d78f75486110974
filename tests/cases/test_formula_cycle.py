"""A formula with a cycle: the folder is refused, the way round is named, and nothing is lost."""

from pathlib import Path

import pytest

from aggregator.register.database import RegisterDatabase
from aggregator.register.problems import RegisterError
from tests.register_example import example, write_folder


def test_formula_with_a_cycle(tmp_path: Path):
    files = example()
    with RegisterDatabase(f"sqlite:///{tmp_path / 'records.sqlite'}") as database:
        database.open()
        database.import_folder(write_folder(tmp_path / "good", files), author="a", now_ms=1)
        before = (database.register(), database.audit())
        files["virtual_meters.csv"] += "office,spare,electricity,+0.5*rest,,\n"
        wrong = files["virtual_meters.csv"].replace("+em-01 -em-02", "+em-01 -spare")
        write_folder(tmp_path / "bad", files | {"virtual_meters.csv": wrong})
        with pytest.raises(RegisterError) as caught:
            database.import_folder(tmp_path / "bad", author="a", now_ms=2)
        assert [str(problem) for problem in caught.value.problems] == [
            "virtual_meters.csv: line 2: formula: is part of itself: rest > spare > rest",
            "virtual_meters.csv: line 4: formula: is part of itself: spare > rest > spare",
        ]
        assert (database.register(), database.audit()) == before
        files["virtual_meters.csv"] = files["virtual_meters.csv"].replace("+0.5*rest", "+0.6*rest")
        write_folder(tmp_path / "good", files)
        database.import_folder(tmp_path / "good", author="a", now_ms=3)
        assert ("office", "spare") in database.register().virtual
