"""`make scale` in its shortest form, on both stores: the door leads somewhere."""

import json
from pathlib import Path

import pytest

from simulators.fleet.report import DELAYS
from tests.benchmarks.scale import Case, climb, limit, main
from tests.benchmarks.scale_table import (
    Outcome,
    chart,
    exit_code,
    most_held,
    put_into_docs,
    remarks,
    table,
)
from tests.benchmarks.stages import STAGES


@pytest.mark.slow
@pytest.mark.mosquitto
@pytest.mark.influxdb
@pytest.mark.timeout(240)
@pytest.mark.parametrize("store", ["embedded", "influx"])
def test_a_short_run_says_what_was_sustained_and_what_it_cost(store: str, tmp_path: Path) -> None:
    arguments = ["--meters", "1000", "--rate", "8000", "--measure-s", "4", "--warm-up-s", "2"]
    code = main([*arguments, "--store", store, "--check", "5", "--out", str(tmp_path)])
    (found,) = json.loads((tmp_path / f"sizes-{store}.json").read_text("utf-8"))["outcomes"]
    assert code == (0 if found["sustained"] else 3)
    assert found["acked_per_s"] > 0
    assert found["probes"]["taken"] == found["probes"]["seen"] + found["probes"]["unsettled"]
    processes = {"aggregator", "generator", "mosquitto"} | (
        {"influxd"} if store == "influx" else set()
    )
    assert set(found["cores"]) == set(found["peak_rss_mb"]) == processes
    assert found["cores"]["aggregator"] > 0 < found["cores"]["generator"]
    assert found["store_mb"] > 0
    assert found["truth"].startswith("truth = ledger")
    assert (tmp_path / f"sizes-{store}.svg").read_text("utf-8").startswith("<svg")
    assert (tmp_path / f"sizes-{store}-1000" / "report.html").exists()


@pytest.mark.parametrize(
    ("sustained", "cores", "thread", "others", "said"),
    [
        (True, {"aggregator": 1.2}, 0.95, 0.1, "none reached"),
        (False, {"aggregator": 1.2, "influxd": 0.2}, 0.95, 0.1, "the pipeline's thread"),
        (False, {"aggregator": 0.7, "influxd": 1.1}, 0.6, 0.1, "the machine"),
        (False, {"aggregator": 0.5, "influxd": 0.4}, 0.4, 0.0, "waiting"),
    ],
)
def test_the_limit_is_what_was_saturated(
    sustained: bool, cores: dict[str, float], thread: float, others: float, said: str
) -> None:
    assert limit(sustained, cores, thread, others, 2).startswith(said)


NOTHING = {"count": 0, "p50": None, "p99": None, "at_least_from": None}


def outcome(rate: float, *, sustained: bool = True, truth: str = "truth = ledger") -> Outcome:
    waits = NOTHING | {"count": 9, "p50": 634, "p99": 40_900, "at_least_from": 900}
    return Outcome(
        store="influx",
        broker="mosquitto",
        meters=20_000,
        sites=1_000,
        poll_ms=1_000,
        readings_per_batch=1_280,
        seconds=300,
        rollup_s=60,
        offered_per_s=round(rate),
        acked_per_s=round(rate),
        sustained=sustained,
        lag_first=0,
        lag_last=0,
        resent_batches=0,
        unsettled_batches=7,
        unsent_batches=2,
        delays_ms=dict.fromkeys(DELAYS, NOTHING) | {"sent_to_ack": waits},
        probes=dict.fromkeys(("taken", "seen", "held_up", "unsettled", "unsent", "refused"), 5),
        cores={"aggregator": 0.5, "generator": 0.1},
        thread=0.4,
        other_cores=0.0,
        cpu_s_per_million={"aggregator": 0.5, "generator": 0.1},
        peak_rss_mb={"aggregator": 500},
        store_mb=1,
        store_bytes_per_reading=6,
        start_s=1,
        raw_per_s=None,
        limit="none reached",
        truth=truth,
        complaints=0,
    )


def test_a_climb_ends_with_the_first_rate_that_is_not_held() -> None:
    rates: list[float] = []

    def run(case: Case) -> Outcome:
        rates.append(case.rate)
        return outcome(case.rate, sustained=case.rate < 200_000)

    found = list(climb(Case(20_000, 8, 150_000), run))
    assert rates == [150_000, 187_500, 234_375]
    assert most_held(found).endswith("holds: 187,500 readings/s; 234,375 are too many.")
    assert exit_code(found[:-1]) == 0
    assert "holds: less" in most_held(found[-1:])
    assert chart(found).count("<svg") == 1


def test_the_exit_code_says_what_was_not_so() -> None:
    held, lagging = outcome(1), outcome(1, sustained=False)
    unfinished = outcome(1, sustained=False, truth="truth: not compared")
    assert exit_code([held, held]) == 0
    assert exit_code([held, lagging]) == 3
    assert exit_code([unfinished, held]) == 1


def test_the_table_says_of_which_delays_the_end_was_not_seen() -> None:
    *_, row = table([outcome(1)])
    assert "| 634 / ≥ 40,900 | – / – | – / – (5, 5) |" in row
    (remark,) = remarks([outcome(1)])
    assert "7 never acknowledged (2 never sent)" in remark
    assert "5 probes taken" in remark


def test_marks_that_are_missing_are_told_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    with pytest.raises(SystemExit, match="2"):
        main(["--figure", "city", "--store", "influx", "--docs", "--out", str(out)])
    assert "write the lines `<!-- scale city-influx -->`" in capsys.readouterr().err
    assert not out.exists()
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- scale x -->\nold\n<!-- scale y -->\nkept\n<!-- end -->\n", "utf-8")
    with pytest.raises(ValueError, match="0 places"):
        put_into_docs("x", "new", page)
    put_into_docs("y", None, page)
    assert "kept" in page.read_text("utf-8")
    put_into_docs("y", "new", page)
    assert page.read_text("utf-8").endswith("old\n<!-- scale y -->\nnew\n<!-- end -->\n")


@pytest.mark.parametrize(("owner", "name"), [stage[1:] for stage in STAGES])
def test_the_stages_that_are_timed_are_there(owner: object, name: str) -> None:
    assert callable(getattr(owner, name))
