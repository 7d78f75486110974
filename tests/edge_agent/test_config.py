import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.__main__ import main
from edge_agent.config import EdgeConfig, describe_keys, missing_files, parse_config
from edge_agent.errors import ConfigError
from edge_agent.registers import devices_folder

FILE = Path("/etc/nenghao/edge.toml")
GOOD: dict[str, Any] = {
    "edge": {"region": "370114", "site": "foundry", "id": "gw1", "data_dir": "var/gw1"},
    "uplink": {"host": "broker.example"},
    "bus": [
        {
            "id": "bus1",
            "host": "10.0.0.7",
            "meter": [
                {"id": "em-01", "model": "eastron-sdm630", "unit": 1, "rating": 1500},
                {"id": "em-02", "model": "eastron-sdm630", "unit": 1, "port": 5021},
            ],
        }
    ],
}


def toml(table: dict[str, Any]) -> bytes:
    """Inline TOML of a table; enough for what configurations hold."""
    return "\n".join(f"{key(k)} = {value(v)}" for k, v in table.items()).encode()


def key(name: str) -> str:
    return json.dumps(name)


def value(item: Any) -> str:
    if isinstance(item, dict):
        return "{" + ", ".join(f"{key(k)} = {value(v)}" for k, v in item.items()) + "}"
    if isinstance(item, list):
        return "[" + ", ".join(value(v) for v in item) + "]"
    if isinstance(item, float):
        return repr(item)
    return json.dumps(item)


def changed(path: str, to: Any) -> dict[str, Any]:
    """GOOD with one key set (or deleted where `to` is ...)."""
    table = copy.deepcopy(GOOD)
    at: Any = table
    *way, last = [int(step) if step.isdigit() else step for step in path.split("/")]
    for step in way:
        at = at.setdefault(step, {}) if isinstance(at, dict) else at[step]
    if to is ...:
        del at[last]
    else:
        at[last] = to
    return table


def parse(table: dict[str, Any]) -> EdgeConfig:
    return parse_config(toml(table), FILE)


def test_a_good_file_with_defaults():
    config = parse(GOOD)
    assert config.edge.data_dir == Path("/etc/nenghao/var/gw1")
    assert config.outbox_path == Path("/etc/nenghao/var/gw1/outbox.sqlite")
    assert (config.uplink.port, config.uplink.commit_period_s, config.uplink.window) == (
        1883,
        30,
        8,
    )
    assert config.poll.period_ms == 15_000
    assert config.buses[0].kind == "modbus-tcp"
    assert config.buses[0].meters[0].rating == 1500.0
    assert config.buses[0].meters[1].port == 5021
    assert config.outbox.max_days == 190


SERIAL: dict[str, Any] = {
    "id": "rs485", "kind": "serial", "device": "/dev/ttyUSB0", "baud": 2400, "parity": "even",
    "meter": [{"id": "em-11", "model": "eastron-sdm630", "unit": 5}],
}  # fmt: skip


def test_a_serial_bus():
    config = parse(changed("bus/0", SERIAL))
    assert config.buses[0].device == "/dev/ttyUSB0"
    assert (config.buses[0].baud, config.buses[0].parity) == (2400, "even")


def test_a_serial_bus_needs_a_port_and_has_no_host():
    with pytest.raises(ConfigError) as caught:
        parse(changed("bus/0/kind", "serial"))
    reasons = {problem.key: problem.reason for problem in caught.value.problems}
    assert "a serial bus needs it" in reasons["bus[0].device"]
    assert "a serial bus has none" in reasons["bus[0].host"]
    assert "no host or port" in reasons["bus[0].meter[1].host"]


def test_a_port_belongs_to_one_bus_and_its_meters_have_no_host():
    table = changed("bus/0", SERIAL)
    table["bus"].append(copy.deepcopy(SERIAL) | {"id": "other"})
    table["bus"][1]["meter"][0] |= {"id": "em-12", "host": "10.0.0.9"}
    with pytest.raises(ConfigError) as caught:
        parse(table)
    assert {problem.key for problem in caught.value.problems} == {
        "bus[1].device", "bus[1].meter[0].host", "bus[1].meter[0].unit",
    }  # fmt: skip


def outcome(raw: bytes) -> object:
    """A configuration or the problems; any other exception fails the test."""
    try:
        return parse_config(raw, FILE)
    except ConfigError as error:
        return error.problems


BAD = {
    "region_not_six_digits": ("edge/region", "37011", "edge.region", "6 digits"),
    "region_a_number": ("edge/region", 370114, "edge.region", "must be a text"),
    "site_upper_case": ("edge/site", "Foundry", "edge.site", "is not an id"),
    "edge_id_missing": ("edge/id", ..., "edge.id", "missing: edge id"),
    "data_dir_empty": ("edge/data_dir", "", "edge.data_dir", "must be a path"),
    "edge_table_missing": ("edge", ..., "edge", "missing"),
    "edge_not_a_table": ("edge", 3, "edge", "must be a table [edge]"),
    "uplink_host_missing": ("uplink/host", ..., "uplink.host", "missing: broker host"),
    "uplink_host_empty": ("uplink/host", "", "uplink.host", "1 to 255 characters"),
    "uplink_host_control": ("uplink/host", "a\nb", "uplink.host", "control characters"),
    "port_zero": ("uplink/port", 0, "uplink.port", "0 is outside 1 to 65535"),
    "port_text": ("uplink/port", "1883", "uplink.port", "whole number, not '1883'"),
    "port_true": ("uplink/port", True, "uplink.port", "whole number, not True"),
    "port_float": ("uplink/port", 1.5, "uplink.port", "whole number, not 1.5"),
    "commit_period_nan": ("uplink/commit_period_s", float("nan"), "uplink.commit_period_s", "nan"),
    "commit_period_long": ("uplink/commit_period_s", 1e9, "uplink.commit_period_s", "0.1 to 900"),
    "window_too_wide": ("uplink/window", 9, "uplink.window", "1 to 8"),
    "password_in_the_file": (
        "uplink/password",
        "x",
        "uplink.password",
        "unknown key; did you mean",
    ),
    "password_without_user": ("uplink/password_file", "p", "uplink.username", "without a username"),
    "key_without_certificate": ("uplink/tls_key", "k", "uplink.tls_certificate", "go together"),
    "reconnect_crossed": ("uplink/reconnect_max_s", 0.5, "uplink.reconnect_min_s", "larger than"),
    "ack_timeout_crossed": ("uplink/ack_timeout_max_s", 1, "uplink.ack_timeout_s", "larger than"),
    "poll_period_zero": ("poll/period_s", 0, "poll.period_s", "0.1 to 3600"),
    "poll_unknown": ("poll/perod_s", 1, "poll.perod_s", "did you mean 'period_s'"),
    "outbox_too_small": ("outbox/max_bytes", 1, "outbox.max_bytes", "outside"),
    "outbox_days": ("outbox/max_days", 0, "outbox.max_days", "outside 1 to 3660"),
    "no_bus": ("bus", ..., "bus", "at least one is needed"),
    "empty_buses": ("bus", [], "bus", "0 given, 1 to 64 allowed"),
    "bus_a_table": ("bus", {"id": "x"}, "bus", "array of tables [[bus]]"),
    "bus_kind": ("bus/0/kind", "modbus-rtu", "bus[0].kind", "not one of modbus-tcp"),
    "bus_timeout": ("bus/0/timeout_s", 0, "bus[0].timeout_s", "0.05 to 60"),
    "bus_without_meters": ("bus/0/meter", ..., "bus[0].meter", "at least one is needed"),
    "meter_unit": ("bus/0/meter/1/unit", 300, "bus[0].meter[1].unit", "0 to 255"),
    "meter_rating": ("bus/0/meter/0/rating", -1, "bus[0].meter[0].rating", "outside"),
    "meter_model_missing": ("bus/0/meter/0/model", ..., "bus[0].meter[0].model", "missing"),
    "meter_twice": ("bus/0/meter/1/id", "em-01", "bus[0].meter[1].id", "already used by"),
    "address_twice": ("bus/0/meter/1/port", 502, "bus[0].meter[1].unit", "10.0.0.7:502 unit 1"),
    "host_missing": ("bus/0/host", ..., "bus[0].host", "a modbus-tcp bus needs it"),
    "tcp_with_device": ("bus/0/device", "/dev/ttyS0", "bus[0].device", "modbus-tcp bus has none"),
    "baud_unknown": ("bus/0/baud", 9601, "bus[0].baud", "9601 is not one of 300, 600"),
    "baud_text": ("bus/0/baud", "9600", "bus[0].baud", "whole number"),
    "parity_unknown": ("bus/0/parity", "E", "bus[0].parity", "not one of none, even, odd"),
    "stop_bits": ("bus/0/stop_bits", 3, "bus[0].stop_bits", "1 to 2"),
    "unknown_table": ("metres", {}, "metres", "unknown key"),
}


@pytest.mark.parametrize("name", BAD)
def test_each_mistake_is_named_with_file_key_and_reason(name):
    path, to, where, reason = BAD[name]
    with pytest.raises(ConfigError) as caught:
        parse(changed(path, to))
    assert [p.key for p in caught.value.problems] == [where]
    assert reason in caught.value.problems[0].reason
    assert re.match(rf"{FILE}(:[1-9])?: {re.escape(where)}: ", str(caught.value))


def test_all_mistakes_are_told_at_once():
    table = changed("uplink/port", 0)
    table["edge"]["site"] = "UPPER"
    table["bus"][0]["meter"][1]["unit"] = -1
    table["stray"] = 1
    with pytest.raises(ConfigError) as caught:
        parse(table)
    assert {p.key for p in caught.value.problems} == {
        "uplink.port", "edge.site", "bus[0].meter[1].unit", "stray",
    }  # fmt: skip


@pytest.mark.parametrize("raw", [b"\xff", b"a = ", b"[" * 9000, b"x" * (2 << 20), b"a=1\na=2"])
def test_what_is_not_toml(raw):
    with pytest.raises(ConfigError, match=r"edge\.toml: "):
        parse_config(raw, FILE)


@given(cut=st.integers(0, 400), insert=st.binary(max_size=8), at=st.integers(0, 400))
def test_mutated_bytes_never_give_another_exception(cut, insert, at):
    raw = toml(GOOD)
    mutated = raw[:at] + insert + raw[at + cut % 9 :]
    assert outcome(mutated)


SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.none().map(lambda _: []),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=80),
)
ANYTHING: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abid"), inner)
)
PATHS = [path for path, *_ in BAD.values()]


@given(st.lists(st.tuples(st.sampled_from(PATHS), ANYTHING), min_size=1, max_size=4))
def test_any_value_anywhere_is_taken_or_refused_by_name(changes):
    table = copy.deepcopy(GOOD)
    for path, to in changes:
        at: Any = table
        *way, last = [int(step) if step.isdigit() else step for step in path.split("/")]
        try:
            for step in way:
                at = at.setdefault(step, {}) if isinstance(at, dict) else at[step]
            at[last] = to
        except (TypeError, IndexError, KeyError, AttributeError):
            continue  # an earlier change took the place away
    assert outcome(toml(table))


def test_files_it_names_are_looked_for_before_anything_runs(tmp_path):
    (tmp_path / "secret").write_text("x")
    table = changed("uplink/username", "edge")
    table["uplink"] |= {"password_file": "secret", "tls_ca": "ca.pem"}
    config = parse_config(toml(table), tmp_path / "edge.toml")
    assert [p.key for p in missing_files(config)] == ["uplink.tls_ca"]


def test_every_key_is_listed_with_meaning_and_bounds():
    rows = {row[0]: row for row in describe_keys()}
    assert rows["bus[].meter[].unit"][1:3] == ("0 to 255", "1")
    assert rows["edge.region"][1:3] == ("6 digits", "required")
    assert all(doc for *_, doc in rows.values())


def test_check_config_tells_everything_and_touches_nothing(tmp_path, capsys):
    file = tmp_path / "edge.toml"
    table = changed("bus/0/meter/0/model", "no-such-meter")
    table["uplink"]["tls_ca"] = "ca.pem"
    file.write_bytes(toml(table))
    assert main(["check-config", "--config", str(file)]) == 2
    told = capsys.readouterr().err
    assert "uplink.tls_ca" in told
    assert "no-such-meter" in told
    file.write_bytes(toml(GOOD))
    assert main(["check-config", "--config", str(file)]) == 0
    assert "2 meters" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == [file]
    assert main(["run", "--config", str(tmp_path / "none.toml")]) == 2
    assert main(["check-config", "--keys"]) == 0
    assert "uplink.commit_period_s" in capsys.readouterr().out


def test_a_rating_the_contract_cannot_carry_is_refused_by_file_and_key(tmp_path, capsys):
    file = tmp_path / "edge.toml"
    file.write_bytes(toml(changed("bus/0/meter/0/rating", 4e9)))
    assert main(["check-config", "--config", str(file)]) == 0
    file.write_bytes(toml(changed("bus/0/meter/0/rating", 4.1e9)))
    for command in ("check-config", "run"):
        assert main([command, "--config", str(file)]) == 2
        assert (
            f"{file}:3: bus[0].meter[0].rating: 4100000000.0 is outside" in capsys.readouterr().err
        )


def test_more_meters_than_one_meta_takes_is_a_wrong_configuration(tmp_path, capsys):
    table = copy.deepcopy(GOOD)
    table["bus"] = [
        {
            "id": f"bus{b}",
            "host": f"10.0.0.{b}",
            "meter": [
                {"id": f"em-{b}-{m}", "model": "eastron-sdm630", "unit": m} for m in range(200)
            ],
        }
        for b in range(6)
    ]
    file = tmp_path / "edge.toml"
    file.write_bytes(toml(table))
    assert main(["run", "--config", str(file)]) == 2
    assert "1200 meters make no meta of one edge" in capsys.readouterr().err


def test_meters_that_cannot_be_on_their_bus_are_named(tmp_path, capsys):
    """What only the device maps can tell: the protocol of a meter and the form of its address."""
    path = tmp_path / "edge.toml"
    table = copy.deepcopy(GOOD)
    table["bus"] = [
        {"id": "lan", "host": "10.0.0.7", "meter": [
            {"id": "m1", "model": "dlt645-1997", "address": "123456789012"},
        ]},
        {"id": "rs485", "kind": "serial", "device": "/dev/ttyUSB0", "meter": [
            {"id": "m2", "model": "dlt645-1997", "address": "12345"},
            {"id": "m3", "model": "cjt188-water", "unit": 3},
            {"id": "m4", "model": "gwf-mtkcoder", "unit": 251},
            {"id": "m5", "model": "manual-water", "unit": 5},
            {"id": "m6", "model": "dlt645-1997", "address": "123456789012"},
        ]},
    ]  # fmt: skip
    path.write_bytes(toml(table))
    assert main(["check-config", "--config", str(path)]) == 2
    said = capsys.readouterr().err.splitlines()
    expected = {
        "bus[0].meter[0].model": "dlt645-1997 speaks dlt645: its bus must be one of tcp, serial",
        "bus[1].meter[0].address": "'12345' is not a DL/T 645 address: 12 digits",
        "bus[1].meter[1].address": "'' is not a CJ/T 188 address: 14 digits",
        "bus[1].meter[2].address": "'251' is not an M-Bus address",
        "bus[1].meter[3].model": "manual-water speaks manual: its bus must be one of manual",
    }
    assert len(said) == len(expected)
    for line, (key, reason) in zip(said, expected.items(), strict=True):
        assert line.startswith(f"{path}:3: {key}: {reason}"), line


def test_a_map_of_ones_own_is_found_beside_the_configuration(tmp_path, capsys):
    path = tmp_path / "edge.toml"
    table = changed("edge/devices_dir", "maps")
    table["bus"][0]["meter"] = [{"id": "m1", "model": "our-meter"}]
    path.write_bytes(toml(table))
    assert main(["check-config", "--config", str(path)]) == 2
    assert "there is no device map 'our-meter'" in capsys.readouterr().err
    folder = tmp_path / "maps"
    folder.mkdir()
    product = (devices_folder() / "abb-b23.toml").read_text("utf-8")
    (folder / "our-meter.toml").write_text(product.replace('"abb-b23"', '"our-meter"'))
    assert main(["check-config", "--config", str(path)]) == 0
    (folder / "our-meter.toml").write_text(product)
    assert main(["check-config", "--config", str(path)]) == 2
    assert f"{folder}/our-meter.toml:1 model: 'abb-b23' must be" in capsys.readouterr().err
