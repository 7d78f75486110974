"""A configuration that cannot work is refused before anything is opened, by file and key."""

import pytest

from aggregator.config import ConfigError, load

GOOD = """
[aggregator]
regions = ["370114"]
data_dir = "var"
register = "register"
factor_set = "demo"
"""


@pytest.fixture
def config(tmp_path):
    def written(text: str = GOOD, extra: str = ""):
        file = tmp_path / "aggregator.toml"
        file.write_text(text + extra, encoding="utf-8")
        return load(file)

    return written


@pytest.mark.parametrize(
    ("extra", "key", "reason"),
    [
        ("grid_min = 7", "aggregator.grid_min", "dividing the hour"),
        ("grid_min = 0", "aggregator.grid_min", "1 to 60"),
        ("grid_min = 61", "aggregator.grid_min", "1 to 60"),
        ('[broker]\ntls_certificate = "a.pem"', "broker.tls_certificate", "without tls_ca"),
        (
            '[broker]\ntls_ca = "ca.pem"\ntls_key = "a.key"',
            "broker.tls_key",
            "without tls_certificate",
        ),
        ('database = "mysql://db/x"', "aggregator.database", "sqlite or postgresql"),
        (
            'database = "postgresql+psycopg://u:secret@db/x"',
            "aggregator.database",
            "holds a password",
        ),
        (
            'database_password_file = "secret"',
            "aggregator.database_password_file",
            "without database",
        ),
        ('[broker]\npassword_file = "secret"', "broker.password_file", "without username"),
        ('[store]\npassword_file = "secret"', "store.password_file", "without username"),
        ('[brokr]\nhost = "x"', "brokr", "not permitted"),
    ],
)
def test_a_wrong_key_is_named_with_its_file(config, tmp_path, extra, key, reason):
    with pytest.raises(ConfigError) as refused:
        config(extra=extra)
    (line,) = str(refused.value).splitlines()
    assert line.startswith(f"{tmp_path / 'aggregator.toml'}: {key}: ")
    assert reason in line


def test_every_length_that_divides_the_hour_is_a_grid(config):
    for grid_min in (1, 5, 15, 30, 60):
        loaded = config(extra=f"grid_min = {grid_min}")
        assert loaded.aggregator.grid_ms == grid_min * 60_000


def test_aggregators_of_different_regions_have_different_sessions(config):
    here, there = config(), config(GOOD.replace("370114", "370112"))
    assert here.client_id != there.client_id
    assert len(here.client_id) <= 23  # what every MQTT 3.1.1 broker takes
    both = GOOD.replace('"370114"', '"370114", "370113"')
    same = GOOD.replace('"370114"', '"370113", "370114"')
    assert config(both).client_id == config(same).client_id
    assert config(extra='[broker]\nclient_id = "mine"').client_id == "mine"


@pytest.mark.parametrize(
    ("extra", "exposed"),
    [
        (
            '[broker]\nhost = "mq.city"\nusername = "u"\npassword_file = "s"',
            [("broker", "mq.city")],
        ),
        ('[broker]\nhost = "mq.city"\nusername = "u"\npassword_file = "s"\ntls_ca = "ca"', []),
        ('[broker]\nhost = "127.0.0.1"\nusername = "u"\npassword_file = "s"', []),
        ('[broker]\nhost = "localhost"\nusername = "u"\npassword_file = "s"', []),
        ('[broker]\nhost = "mq.city"', []),
        (
            '[store]\nkind = "influx2"\nurl = "http://10.0.0.7:8086"\ntoken_file = "t"',
            [("store", "10.0.0.7")],
        ),
        ('[store]\nkind = "influx2"\nurl = "https://10.0.0.7:8086"\ntoken_file = "t"', []),
        ('[store]\nkind = "influx2"\nurl = "http://[::1]:8086"\ntoken_file = "t"', []),
        ('[store]\nkind = "embedded"\nurl = "http://10.0.0.7:8086"\ntoken_file = "t"', []),
        ('[api]\nhost = "0.0.0.0"', [("api", "0.0.0.0")]),
        ('[api]\nhost = "localhost"', []),
        ("", []),
    ],
)
def test_a_secret_that_would_travel_in_clear_is_told(config, extra, exposed):
    assert list(config(extra=extra).exposed()) == exposed
