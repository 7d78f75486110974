"""`make scale` in its shortest form, on both stores: the door leads somewhere."""

import json
from pathlib import Path

import pytest

from tests.benchmarks.scale import limit, main
from tests.benchmarks.stages import STAGES


@pytest.mark.slow
@pytest.mark.mosquitto
@pytest.mark.influxdb
@pytest.mark.timeout(240)
@pytest.mark.parametrize("store", ["embedded", "influx"])
def test_a_short_run_says_what_was_sustained_and_what_it_cost(store: str, tmp_path: Path) -> None:
    arguments = ["--meters", "1000", "--rate", "8000", "--measure-s", "4", "--warm-up-s", "2"]
    assert main([*arguments, "--store", store, "--check", "5", "--out", str(tmp_path)]) == 0
    (found,) = json.loads((tmp_path / f"sizes-{store}.json").read_text("utf-8"))["outcomes"]
    assert found["acked_per_s"] > 0
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


@pytest.mark.parametrize(("owner", "name"), [stage[1:] for stage in STAGES])
def test_the_stages_that_are_timed_are_there(owner: object, name: str) -> None:
    assert callable(getattr(owner, name))
