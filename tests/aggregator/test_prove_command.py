"""`nenghao prove`, as a person calls it: on a store of its own and through a running API."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import uvicorn

from aggregator.api.guard import Doorkeeper
from aggregator.api.main import build_app
from aggregator.batch import IntervalColumns
from aggregator.prove_command.__main__ import main
from aggregator.prove_command.table import decimal
from aggregator.store.embedded import EmbeddedStore
from contract.stored import Level
from tests.aggregator.api_ledger import MIDNIGHT_MS, NOON_MS, QUARTER_MS, Ledger, build
from tests.aggregator.doors import engineer, keeper_of, tokens_in
from tests.aggregator.ledger_files import write_ledger


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_ledger(tmp_path)


def damage(store: EmbeddedStore, meter: str, at_ms: int) -> None:
    """Let one stored interval lose a millionth."""
    (index,) = [
        i
        for i, key in enumerate(store.directory.series.keys())
        if (key.meter, key.channel) == (meter, "energy_import")
    ]
    rows = store.intervals(Level.INTERVAL, np.array([index], np.int32), at_ms, at_ms + QUARTER_MS)
    columns = rows.columns()
    columns[2] = columns[2] - 1
    store.write_intervals(Level.INTERVAL, IntervalColumns(*columns))


def damaged(folder: Path, meter: str, at_ms: int) -> None:
    store = EmbeddedStore(folder / "data" / "ledger.duckdb", QUARTER_MS)
    store.open()
    damage(store, meter, at_ms)
    store.close()


@contextmanager
def serving(ledger: Ledger, keeper: Doorkeeper | None = None) -> Iterator[str]:
    """Serve the API of a ledger, and say so in the store's lock file."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        ledger.store.announce(url)
        server = uvicorn.Server(
            uvicorn.Config(
                build_app(ledger.reader, keeper=keeper), log_level="error", lifespan="off"
            )
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            deadline = time.monotonic() + 20
            while not server.started and time.monotonic() < deadline:
                time.sleep(0.01)
            assert server.started
            yield url
        finally:
            server.should_exit = True
            thread.join()


def test_a_good_ledger_closes(config: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["--config", str(config)]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == "All 9 close."
    office = out[out.index("office\n") :].splitlines()[2].split()
    assert office[:2] == ["em-01", "energy_import"]
    # a register of 10 000 kWh went round once: start, end, multiplier, events, booked, held, diff
    assert office[6:14] == ["9980", "172", "1", "10000", "(1)", "192", "0", "0"]
    assert office[15:19] == ["100.0", "0.0", "0.0", "0.0"]
    assert office[-2:] == ["48/48", "closes"]


def test_one_millionth_too_little_is_found_in_its_day_and_site(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    damaged(tmp_path, "grid", MIDNIGHT_MS + 3 * QUARTER_MS)
    assert main(["--config", str(config)]) == 1
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == "8 of 9 close."
    (line,) = [line for line in out.splitlines() if line.endswith("DOES NOT CLOSE")]
    assert line.split()[:2] == ["grid", "energy_import"]
    assert " 0.000001 " in line
    assert main(["--config", str(config), "--site", "office"]) == 0
    six = "2026-03-02T06:00:00+08:00"
    assert main(["--config", str(config), "--from", six]) == 0
    assert main(["--config", str(config), "--to", six]) == 1


def test_a_line_per_day(config: Path, capsys: pytest.CaptureFixture[str]):
    call = ["--config", str(config), "--site", "foundry", "--meter", "belt"]
    span = ["--from", "2026-03-01", "--to", "2026-03-03", "--by", "day", "--json"]
    assert main([*call, *span]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["from_ms"], row["booked_micro"]) for row in rows] == [
        (MIDNIGHT_MS - 96 * QUARTER_MS, 0),
        (MIDNIGHT_MS, 24_000_000),
    ]


@pytest.mark.parametrize("by_url", [True, False])
def test_a_running_aggregator_is_asked(
    by_url: bool, tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]
):
    config = write_ledger(tmp_path)
    (tmp_path / "running").mkdir()
    ledger = build(tmp_path / "running")
    (tmp_path / "data" / "ledger.duckdb").unlink()
    lock = tmp_path / "data" / "ledger.duckdb.lock"
    lock.unlink(missing_ok=True)
    lock.hardlink_to(tmp_path / "running" / "store.duckdb.lock")
    with serving(ledger) as url:
        call = ["--url", url] if by_url else ["--config", str(config)]
        assert main([*call, "--json"]) == 0
        at_once = capsys.readouterr().out.splitlines()
        assert len(at_once) == 9
        # a site of more channels than one answer may have is asked meter by meter
        monkeypatch.setattr("aggregator.api.routes.proof.MAX_CHANNELS", 2)
        assert main([*call, "--json"]) == 0
        assert sorted(capsys.readouterr().out.splitlines()) == sorted(at_once)
        damage(ledger.store, "pv", MIDNIGHT_MS)
        assert main(call) == 1
        assert "DOES NOT CLOSE" in capsys.readouterr().out
        assert main([*call, "--site", "nowhere"]) == 2
        assert "no site 'nowhere'" in capsys.readouterr().err
        assert main([*call, "--to", str(NOON_MS - 1)]) == 2
    ledger.store.close()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--from", "yesterday"], "--from: 'yesterday' is neither"),
        (["--from", "2026-03-03", "--to", "2026-03-02"], "is not before"),
        (["--by", "day"], "wants --from and --to"),
        (["--meter", "belt"], "--meter wants --site"),
        (["--site", "nowhere"], "no site 'nowhere'"),
        (["--site", "foundry", "--meter", "no"], "no meter 'no'"),
        (["--from", "2026-03-02T00:01:00+08:00"], "borders of intervals of 15 min"),
    ],
)
def test_wrong_calls(
    arguments: list[str], told: str, config: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["--config", str(config), *arguments]) == 2
    assert told in capsys.readouterr().err


def test_nothing_to_prove_is_not_proved(config: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["--config", str(config), "--site", "empty"]) == 1
    assert "nothing to prove" in capsys.readouterr().err
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert main(["--url", f"http://127.0.0.1:{port}"]) == 1
    assert f"127.0.0.1:{port}" in capsys.readouterr().err
    with pytest.raises(SystemExit) as refused:
        main([])
    assert refused.value.code == 2


@pytest.mark.parametrize(
    ("micro", "text"),
    [(None, "-"), (0, "0"), (1, "0.000001"), (-1_500_000, "-1.5"), (20_000_000, "20")],
)
def test_figures_are_exact(micro: int | None, text: str):
    assert decimal(micro) == text


def test_an_aggregator_that_wants_a_token_is_given_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    ledger = build(tmp_path)
    tokens = tokens_in(tmp_path)
    engineer(tokens, "nenghao-a-token-of-the-tests")
    (tmp_path / "token").write_text("nenghao-a-token-of-the-tests\n")
    with serving(ledger, keeper_of(tokens)) as url:
        assert main(["--url", url]) == 1
        assert "a token is needed" in capsys.readouterr().err
        assert main(["--url", url, "--token-file", str(tmp_path / "token")]) == 0
    tokens.close()
    ledger.store.close()
