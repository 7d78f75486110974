"""Who stands behind a correction: whoever told the event, or changed the register's row."""

from pathlib import Path

from aggregator.closings import Closings
from aggregator.register.database import RegisterDatabase
from aggregator.restatements import Restatement
from tests.register_example import example, write_folder


def record(cause: str) -> Restatement:
    return Restatement(
        "370114", "foundry", "em-01", "energy_import", 0, "amount", 1, 2, cause, "", 9
    )


def test_a_change_of_the_register_has_the_author_of_its_audit_record(tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'records.sqlite'}"
    with RegisterDatabase(url) as database:
        database.open()
        folder = write_folder(tmp_path / "register", example())
        database.import_folder(folder, author="zhang", now_ms=1)
        text = (folder / "meters.csv").read_text("utf-8")
        (folder / "meters.csv").write_text(text.replace(",,6000,", ",,8000,"), "utf-8")
        database.import_folder(folder, author="wang", now_ms=2)
        last = len(database.audit())
    closings = Closings(url)
    causes = [f"register change {last}", "register change 1", "register change 9999", "register"]
    found = closings.authors([record(cause) for cause in causes])
    closings.close()
    assert found == {f"register change {last}": "wang", "register change 1": "zhang"}
