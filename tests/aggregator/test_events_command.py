"""`nenghao events` against a real server: what is said arrives, what is refused is named."""

import io
import json
import socket
import threading
import time
from pathlib import Path

import pytest
import uvicorn

from aggregator.events_command.__main__ import main
from tests.aggregator.works import T0, TOKEN, Works, minutes


@pytest.fixture
def call(tmp_path: Path, capsys):
    """Run a command line on a works with a fall that waits for a decision."""
    token = tmp_path / "token"
    token.write_text(TOKEN + "\n", "utf-8")
    with Works(tmp_path) as works:
        works.read(minutes(500, 501, 502, 3, 4, 5))
        listener = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(works.app, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        deadline = time.monotonic() + 20
        while not server.started:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"

        def run(*arguments: str, with_token: bool = False) -> tuple[int, str, str]:
            more = ["--token-file", str(token)] if with_token else []
            code = main([arguments[0], "--url", url, *more, *arguments[1:]])
            printed = capsys.readouterr()
            return code, printed.out, printed.err

        yield run
        server.should_exit = True
        thread.join(20)
        listener.close()


EXCHANGE = ("kind=exchange", "site=works", "meter=em-1", "channel=energy_import",
            "at_ms=2026-03-02T08:45:00+08:00", "final_kwh=502.5", "start_kwh=3",
            "author=the tests", "reason=a new meter")  # fmt: skip


def test_an_exchange_is_told_listed_and_undone(call):
    code, out, err = call("add", *EXCHANGE, with_token=True)
    assert (code, err) == (0, "")
    assert "event 1 (exchange at works) stands" in out
    assert "1 intervals changed" in out
    code, out, _ = call("list", "--site", "works", with_token=True)
    line = out.splitlines()[1]
    for text in ("1  exchange", "em-1", "final_kwh=502.5", "2026-03-02T08:45:00+08:00", "a new"):
        assert text in line
    code, out, _ = call("undo", "1", "--author", "x", "--reason", "wrong meter", with_token=True)
    assert code == 0
    assert "is undone by x: wrong meter" in out
    assert "1 intervals changed" in out
    (row,) = json.loads(call("list", "--json", with_token=True)[1])["events"]
    assert (row["at_ms"], row["stands"]) == (T0 + 2_700_000, False)


def test_a_proposal_is_shown_and_told_as_it_is(call, tmp_path, monkeypatch):
    code, out, _ = call("proposals", "--site", "works", with_token=True)
    assert code == 0
    assert "works/em-1/energy_import at 2026-03-02T08:45:00+08:00: fall (backward-step)" in out
    proposal = next(line for line in out.splitlines() if line.startswith("proposed: "))
    monkeypatch.setattr("sys.stdin", io.StringIO(proposal.removeprefix("proposed: ")))
    assert call("add", "--from-json", "-", "author=the tests", with_token=True)[0] == 0
    (row,) = json.loads(call("list", "--json", with_token=True)[1])["events"]
    assert row["author"] == "the tests"
    assert call("proposals", with_token=True)[1] == "Nothing is held.\n"


@pytest.mark.parametrize(
    ("arguments", "with_token", "code", "reason"),
    [
        (("add", *EXCHANGE), False, 1, "authorization: "),
        (("add", *EXCHANGE[:-1]), True, 1, "reason: "),
        (("add", *EXCHANGE, "site=nowhere"), True, 1, "site: no site 'nowhere'"),
        (("add", "kind"), True, 2, "'kind' is not NAME=VALUE"),
        (("add", "offset_ms=soon"), True, 2, "whole number"),
        (("add",), True, 2, "nothing is said"),
        (("add", "--from-json", "/nonexistent"), True, 1, "/nonexistent"),
        (("undo", "9", "--author", "a", "--reason", "b"), True, 1, "id: no event 9"),
        (("list",), False, 1, "authorization: "),
        (("list", "--site", "nowhere"), True, 1, "site: no site 'nowhere'"),
        (("list", "--token-file", "/nonexistent"), False, 1, "/nonexistent"),
    ],
)
def test_what_is_refused_is_named(call, arguments, with_token, code, reason):
    got, out, err = call(*arguments, with_token=with_token)
    assert (got, out) == (code, "")
    assert reason in err
    assert err.startswith(f"nenghao events {arguments[0]}: ")
    assert len(err.splitlines()) == 1


def test_no_aggregator_and_no_api_are_told_apart_from_a_refusal(capsys):
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    assert main(["list", "--url", url]) == 1
    assert url in capsys.readouterr().err
    assert main(["list", "--url", "http://127.0.0.1:port"]) == 1
    assert "cannot be used" in capsys.readouterr().err


def test_a_token_that_cannot_be_sent_is_not_printed(tmp_path, capsys):
    file = tmp_path / "token"
    file.write_text("secret-of-two\nlines", "utf-8")
    assert main(["list", "--token-file", str(file)]) == 1
    assert "secret" not in capsys.readouterr().err
