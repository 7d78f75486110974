"""House rules no linter knows: what may be in the tree, the locks, the door, the light edge."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
MIGRATIONS = "aggregator/register/migrations/versions"
KERNELS = ROOT / "aggregator" / "kernels"
WRAPPED = {
    "alembic": {
        "aggregator/register/engine.py",
        "aggregator/register/migrations/env.py",
        *(str(p.relative_to(ROOT)) for p in (ROOT / MIGRATIONS).glob("v*.py")),
    },
    "aiomqtt": {"edge_agent/links/mqtt.py", "edge_agent/uplink.py"},
    "asyncua": {"edge_agent/links/opcua.py"},
    "bacpypes3": {"edge_agent/links/bacnet.py"},
    "demandlib": {"simulators/bdew.py"},
    # The second is the witness of the chaos proof: not the code that it looks at.
    "duckdb": {"aggregator/store/embedded.py", "simulators/chaos/records.py"},
    "grafana_client": {"grafana/remote.py"},
    "influxdb_client": {"aggregator/store/influx2.py"},
    "meterbus": {"edge_agent/decoders/mbus_records.py"},
    "paho": {"aggregator/ingest/subscriber.py", "simulators/fleet/connection.py"},
    "pvlib": {"simulators/photovoltaics.py"},
    "pymodbus": {"edge_agent/links/modbus.py"},
}
"""Library -> the files that may know it, so that replacing it stays a matter of one file."""
EXTRAS_OF = {
    "edge_agent": ("edge", "mbus", "opcua", "bacnet"),
    "aggregator": ("aggregator", "influx2"),
}
PINNED_UNSEEN = {("edge_agent", "paho-mqtt"), ("aggregator", "youplot")}
"""aiomqtt stands on paho, and which paho it is matters; of youplot files are served, no more."""
COMPANIONS = {"starlette", "urllib3"}
"""Come with fastapi and influxdb-client, which hand out their types and errors."""
LOCKS = {
    "edge": ("edge", "build"),
    "demo": ("demo", "build"),
    "grafana": ("grafana", "build"),
    "stack": ("edge", "aggregator", "influx2", "postgres", "build"),
    "dev": ("dev",),
}
"""Lock file -> the extras of pyproject.toml that it resolves."""
HEAVY = {"numpy", "numba", "llvmlite", "duckdb", "msgspec", "pandas", "fastapi", "influxdb-client"}

DOWNLOAD_ADDRESS = re.compile(
    r"https?://[^\s)\"'>]*(?:/simple/|\.whl\b|\.tar\.gz\b|\.zip\b|/-/)|index-url\b.*https?://"
)
MACHINE_PATH = re.compile(r"(?<![\w./-])/(?:work|root|home)/[\w.]")


def tracked_texts() -> Iterator[tuple[str, str]]:
    """Name and text of every file that is, or is about to be, in the repository."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    for name in listing.stdout.split("\0"):
        path = ROOT / name
        if name and path.is_file():
            try:
                yield name, path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue  # a picture


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()[:120]}"
        for name, text in tracked_texts()
        for number, line in enumerate(text.splitlines(), start=1)
        if pattern.search(line)
    ]


def locked(name: str) -> dict[str, tuple[str, int]]:
    """What a lock file fixes: package -> (version, number of hashes)."""
    text = (ROOT / "deploy" / "locks" / f"{name}.txt").read_text()
    found: dict[str, tuple[str, int]] = {}
    for entry in re.split(r"\n(?=\S)", text.strip()):
        requirement = Requirement(entry.partition("\\")[0].strip())
        (pin,) = requirement.specifier
        assert pin.operator == "=="
        hashes = re.findall(r"--hash=sha256:[0-9a-f]{64}\b", entry)
        found[canonicalize_name(requirement.name)] = (pin.version, len(hashes))
    return found


def pins(project: dict[str, Any], *extras: str) -> dict[str, str]:
    """Exact versions the extras ask for, extras that name extras followed."""
    found: dict[str, str] = {}
    for extra in extras:
        for text in project["optional-dependencies"][extra]:
            requirement = Requirement(text)
            if requirement.name == project["name"]:
                found |= pins(project, *requirement.extras)
                continue
            (pin,) = requirement.specifier
            assert pin.operator == "==", f"{text} is not pinned"
            found[canonicalize_name(requirement.name)] = pin.version
    return found


def test_no_download_address_in_the_tree() -> None:
    assert lines_with(DOWNLOAD_ADDRESS) == []


def test_no_path_of_one_machine_in_the_tree() -> None:
    assert lines_with(MACHINE_PATH) == []


@pytest.mark.parametrize(
    ("pattern", "line"),
    [  # put together here, so that this file does not hold what it forbids
        (DOWNLOAD_ADDRESS, "see https:" + "//example.org/simple/numpy"),
        (DOWNLOAD_ADDRESS, "https:" + "//example.org/a/numpy-2.0-cp311.whl#sha256"),
        (DOWNLOAD_ADDRESS, "--index-url https:" + "//example.org"),
        (MACHINE_PATH, "cd /" + "work/main"),
        (MACHINE_PATH, '"/' + 'root/.venv"'),
    ],
)
def test_the_patterns_catch_what_they_are_for(pattern: re.Pattern[str], line: str) -> None:
    assert pattern.search(line)


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_holds_the_pins_of_pyproject_with_hashes(lock: str, pyproject: dict[str, Any]) -> None:
    fixed = locked(lock)
    assert [name for name, (_, hashes) in fixed.items() if hashes == 0] == []
    wanted = pins(pyproject["project"], *LOCKS[lock])
    assert {name: fixed.get(name, ("missing", 0))[0] for name in wanted} == wanted


def test_locks_agree_on_every_version() -> None:
    everything = locked("dev")
    for lock in ("edge", "demo", "stack"):
        fixed = locked(lock)
        assert {name: everything.get(name) for name in fixed} == fixed


def test_what_replaces_urllib3_is_beside_nothing_of_ours() -> None:
    assert "grafana-client" in locked("grafana")
    for lock in ("edge", "demo", "dev"):
        assert locked(lock).keys() & {"grafana-client", "urllib3-future", "niquests"} == set()


def test_build_backend_is_locked(pyproject: dict[str, Any]) -> None:
    backend = pyproject["build-system"]["requires"]
    assert pyproject["project"]["optional-dependencies"]["build"] == backend


def test_edge_installs_nothing_heavy(pyproject: dict[str, Any]) -> None:
    assert pins(pyproject["project"], "edge").keys() & HEAVY == set()
    assert locked("edge").keys() & HEAVY == set()


def test_every_module_of_the_edge_imports_without_heavy_libraries() -> None:
    modules = sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for package in ("contract", "edge_agent")
        for path in (ROOT / package).rglob("*.py")
    )
    assert "edge_agent" in modules
    blocked = {name.replace("-", "_") for name in HEAVY} | {"aggregator", "simulators", "pydantic"}
    program = (
        "import importlib, sys\n"
        f"sys.modules.update(dict.fromkeys({sorted(blocked)!r}))\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr


def foreign_imports(folder: Path, allowed: set[str]) -> list[str]:
    """Imports under `folder` that are neither of the standard library nor allowed, at any depth."""
    found = []
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                parents = {name.rsplit(".", cut)[0] for cut in range(name.count(".") + 1)}
                if not parents & (allowed | sys.stdlib_module_names):
                    found.append(f"{path.relative_to(ROOT)}: {name}")
    return found


def test_contract_imports_the_standard_library_only() -> None:
    assert foreign_imports(ROOT / "contract", {"contract"}) == []


def test_oracles_never_import_the_product() -> None:
    assert foreign_imports(ROOT / "tests" / "oracle", {"numpy", "tests.oracle"}) == []


def test_kernels_import_numpy_and_numba_only() -> None:
    """They see arrays and scalars: no strings, no dates, no input or output, no logging."""
    assert foreign_imports(KERNELS, {"numpy", "numba", "aggregator.kernels"}) == []
    impure = {"datetime", "logging", "sqlite3", "socket", "json"}
    text = "\n".join(path.read_text(encoding="utf-8") for path in KERNELS.rglob("*.py"))
    used = set(re.findall(r"^\s*(?:import|from) (\w+)", text, flags=re.MULTILINE))
    assert used & impure == set()


@pytest.mark.parametrize(("library", "wrappers"), WRAPPED.items())
def test_a_library_is_used_in_the_files_that_wrap_it_and_nowhere_else(
    library: str, wrappers: set[str]
) -> None:
    users = {
        str(path.relative_to(ROOT))
        for package in ("contract", "edge_agent", "aggregator", "simulators", "grafana")
        for path in (ROOT / package).rglob("*.py")
        if re.search(rf"^\s*(?:import|from) {library}\b", path.read_text("utf-8"), re.MULTILINE)
    }
    assert users == wrappers


@pytest.mark.parametrize(("package", "extras"), EXTRAS_OF.items())
def test_a_part_declares_the_libraries_it_imports_and_no_others(
    package: str, extras: tuple[str, ...], pyproject: dict[str, Any]
) -> None:
    distributions = packages_distributions()
    imported = {
        canonicalize_name(name)
        for line in foreign_imports(ROOT / package, {package, "contract"})
        for name in distributions[line.split(": ")[1].partition(".")[0]]
    }
    unseen = {name for part, name in PINNED_UNSEEN if part == package}
    assert (imported - COMPANIONS) | unseen == set(pins(pyproject["project"], *extras))


def test_make_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = {
        name
        for line in re.findall(r"^\.PHONY:(.*)$", makefile, flags=re.MULTILINE)
        for name in line.split()
    }
    shown = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    assert {line.split()[1] for line in shown.splitlines()} == phony
    assert all(len(line.split()) > 2 for line in shown.splitlines())


def test_changelog_fragments_are_named_right() -> None:
    names = {path.name for path in (ROOT / "changelog.d").iterdir()} - {"README.md"}
    pattern = re.compile(r"[a-z0-9][a-z0-9-]*\.(added|changed|fixed|removed|security)\.md")
    assert [name for name in sorted(names) if not pattern.fullmatch(name)] == []
    assert names, "nothing a user would notice has ever changed?"


def test_decisions_are_numbered_without_gap_and_listed() -> None:
    folder = ROOT / "docs" / "decisions"
    files = sorted(path.name for path in folder.glob("[0-9]*.md"))
    assert [name[:4] for name in files] == [f"{n:04}" for n in range(1, len(files) + 1)]
    listing = (folder / "README.md").read_text(encoding="utf-8")
    assert [name for name in files if f"]({name})" not in listing] == []


def test_links_between_documents_lead_somewhere() -> None:
    broken = []
    for name, text in tracked_texts():
        if not name.endswith(".md"):
            continue
        prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)\s#]+)(?:#[^)]*)?\)", prose):
            if "://" not in target and not target.startswith("mailto:"):
                path = (ROOT / name).parent / target
                if not path.exists():
                    broken.append(f"{name}: {target}")
    assert broken == []
