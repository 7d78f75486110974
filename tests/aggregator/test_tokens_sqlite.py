"""Tokens in SQLite, and the command that makes them."""

import json
import stat

import pytest

from aggregator.tokens import Tokens
from aggregator.tokens_command.__main__ import main
from tests.suites.tokens_suite import TokensSuite


class TestTokensInSqlite(TokensSuite):
    @pytest.fixture
    def url(self, tmp_path):
        return f"sqlite:///{tmp_path / 'records.sqlite'}"


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "aggregator.toml"
    file.write_text(
        f'[aggregator]\nregions = ["370114"]\ndata_dir = "{tmp_path}"\nfactor_set = "demo"\n'
    )
    return file


def test_a_token_is_made_shown_once_listed_without_it_and_revoked(config, tmp_path, capsys):
    who = ["--config", str(config)]
    for_office = ["add", *who, "--name", "某厂", "--role", "enterprise", "--site", "works"]
    assert main([*for_office, "--days", "30"]) == 0
    secret = capsys.readouterr().out.strip()
    tokens = Tokens(f"sqlite:///{tmp_path / 'records.sqlite'}")
    given = tokens.find(secret)
    assert given is not None
    assert given.expires_ms is not None
    assert given.expires_ms - given.made_ms == 30 * 86_400_000

    assert main(["list", *who]) == 0
    listed = capsys.readouterr().out
    assert "某厂" in listed
    assert secret not in listed
    assert main(["list", *who, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sites"] == ["works"]

    assert main(["revoke", *who, str(given.id), "--author", "me"]) == 0
    assert main(["revoke", *who, "7"]) == 1
    revoked = tokens.find(secret)
    assert revoked is not None
    assert revoked.revoked_by == "me"
    capsys.readouterr()

    tokens.end(tokens.begin(given, "POST", "/api/v1/events", b'{\n "a": 1}', 0), 201)
    assert main(["log", *who]) == 0
    line = capsys.readouterr().out
    assert "某厂 (enterprise, token 1): POST /api/v1/events 201" in line
    assert '{ "a": 1}' in line
    assert main(["log", *who, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["body"] == '{\n "a": 1}'
    tokens.close()


def test_a_tokens_file_is_for_its_owner_alone_and_never_written_over(config, tmp_path, capsys):
    file = tmp_path / "token"
    call = ["add", "--config", str(config), "--name", "g", "--role", "machine", "--everything"]
    assert main([*call, "--file", str(file)]) == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    secret = file.read_text().strip()
    assert capsys.readouterr().out.strip() == str(file)
    assert main([*call, "--file", str(file)]) == 1
    assert file.read_text().strip() == secret
    tokens = Tokens(f"sqlite:///{tmp_path / 'records.sqlite'}")
    assert len(tokens.grants()) == 1
    assert tokens.find(secret) is not None
    tokens.close()


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (["--role", "supervisor", "--name", "x"], "regions"),
        (["--role", "machine", "--name", " ", "--everything"], "--name"),
        (["--role", "machine", "--name", "x", "--everything", "--days", "0"], "--days"),
    ],
)
def test_a_token_that_cannot_be_meant_is_refused(config, capsys, more, reason):
    assert main(["add", "--config", str(config), *more]) == 2
    assert reason in capsys.readouterr().err
    assert main(["list", "--config", str(config)]) == 0
    assert "No token was made" in capsys.readouterr().out
