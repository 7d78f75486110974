"""The `nenghao` command: what a person meets before any subcommand runs."""

import subprocess
import sys
from importlib.metadata import EntryPoint, version
from pathlib import Path
from typing import Any

import pytest

import nenghao

ROOT = Path(__file__).parent.parent


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "nenghao.py"), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )


def install(monkeypatch: pytest.MonkeyPatch, **points: str) -> None:
    """Make the given entry points (name -> module:function) the only ones installed."""
    found = [EntryPoint(name, value, nenghao.ENTRY_POINT_GROUP) for name, value in points.items()]
    monkeypatch.setattr(nenghao, "entry_points", lambda **_: found)


def test_help_lists_every_subcommand_with_its_line() -> None:
    result = run("--help")
    assert result.returncode == 0, result.stderr
    for name, command in nenghao.COMMANDS.items():
        line = next(row for row in result.stdout.splitlines() if row.split()[:1] == [name])
        assert line.endswith(command.summary)


def test_help_imports_no_subcommand() -> None:
    program = (
        "import sys, nenghao; nenghao.main(['--help']); "
        "sys.exit(', '.join(sorted(nenghao.OUR_MODULES & sys.modules.keys())) or 0)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, f"imported: {result.stderr}"


def test_version() -> None:
    assert run("--version").stdout == f"nenghao {version('nenghao')}\n"


@pytest.mark.parametrize("name", sorted(nenghao.COMMANDS))
def test_every_subcommand_answers_help(name: str) -> None:
    result = run(name, "--help")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"usage: nenghao {name}")


def test_without_arguments_help_goes_to_stderr_and_exit_code_is_2() -> None:
    result = run()
    assert (result.returncode, result.stdout) == (2, "")
    assert "usage: nenghao" in result.stderr


def test_unknown_command_names_the_known_ones() -> None:
    result = run("poll")
    assert result.returncode == 2
    assert "'poll'" in result.stderr
    assert all(name in result.stderr for name in nenghao.COMMANDS)


def test_arguments_and_exit_code_pass_through(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "plugin_of_a_test.py").write_text("def main(argv): return len(argv)\n")
    monkeypatch.syspath_prepend(tmp_path)
    install(monkeypatch, extra="plugin_of_a_test:main")
    assert nenghao.main(["extra", "a", "--help", "c"]) == 3


@pytest.mark.parametrize(
    ("module", "extra"),
    [("aiomqtt", "edge"), ("aiomqtt.sub", "edge"), ("influxdb_client", "influx2")],
)
def test_missing_library_prints_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    module: str,
    extra: str,
) -> None:
    name = f"needs_{module.replace('.', '_')}"
    (tmp_path / f"{name}.py").write_text(f"raise ModuleNotFoundError('no', name={module!r})\n")
    monkeypatch.syspath_prepend(tmp_path)
    install(monkeypatch, edge=f"{name}:main")
    assert nenghao.main(["edge"]) == 2
    assert f"    pip install 'nenghao[{extra}]'\n" in capsys.readouterr().err


@pytest.mark.parametrize("module", ["edge_agent.nothing", "sqlite3", ""])
def test_a_fault_of_ours_is_not_taken_for_a_missing_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, module: str
) -> None:
    name = f"broken_{module.replace('.', '_')}"
    (tmp_path / f"{name}.py").write_text(f"raise ModuleNotFoundError('no', name={module!r})\n")
    monkeypatch.syspath_prepend(tmp_path)
    install(monkeypatch, edge=f"{name}:main")
    with pytest.raises(ModuleNotFoundError):
        nenghao.main(["edge"])


def test_the_extra_named_for_each_command_exists_in_pyproject(
    pyproject: dict[str, Any],
) -> None:
    extras = pyproject["project"]["optional-dependencies"]
    named = {command.extra for command in nenghao.COMMANDS.values()}
    named |= set(nenghao.MODULES_OF_OTHER_EXTRAS.values())
    assert named <= extras.keys()
    entry_points = pyproject["project"]["entry-points"]
    assert entry_points[nenghao.ENTRY_POINT_GROUP].keys() == nenghao.COMMANDS.keys()
