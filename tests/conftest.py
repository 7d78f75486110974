"""What every test may rely on: Hypothesis profiles and the markers of real servers.

`@pytest.mark.mosquitto`, `influxdb`, `postgres` and `chromium` skip where the program is not
installed, and fail where NENGHAO_REQUIRE_SERVERS=1 says that it must be.
"""

import os
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

SERVERS = {
    "chromium": ("chromium", "chromium"),
    "mosquitto": ("mosquitto", "mosquitto"),
    "influxdb": ("influxd", "influxdb"),
    "postgres": ("postgres", "postgresql"),
}
"""Marker -> the program it needs, and Debian's package that holds it."""

# `make test` draws the same examples each time; `make test-all` draws new ones, and many more.
settings.register_profile(
    "test", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "thorough",
    max_examples=1000,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "test"))


def find_server(marker: str) -> str | None:
    """Path of the program behind a marker; Debian keeps servers off a user's PATH."""
    folders = [
        "/usr/sbin",
        "/sbin",
        *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)),
    ]
    path = os.pathsep.join([os.environ.get("PATH", ""), *folders])
    return shutil.which(SERVERS[marker][0], path=path)


def require_server(marker: str) -> str:
    """Path of the program behind a marker; without it the running test is skipped or fails."""
    program = find_server(marker)
    if program is not None:
        return program
    name, package = SERVERS[marker]
    reason = f"{name} is not installed (apt install {package})"
    if os.environ.get("NENGHAO_REQUIRE_SERVERS") == "1":
        pytest.fail(f"{reason}, and NENGHAO_REQUIRE_SERVERS=1", pytrace=False)
    pytest.skip(reason)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep what shares servers in one of the processes that run side by side."""
    for item in items:
        folder, file = item.path.parent.name, item.path.name
        group = folder if folder == "grafana" else f"{folder}/{file}"
        item.add_marker(pytest.mark.xdist_group(group))


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in SERVERS:
        if item.get_closest_marker(marker) is not None:
            require_server(marker)


@pytest.fixture(scope="session")
def chromium_program() -> str:
    """Path of Debian's chromium."""
    return require_server("chromium")


@pytest.fixture(scope="session")
def mosquitto_program() -> str:
    """Path of Debian's mosquitto."""
    return require_server("mosquitto")


@pytest.fixture(scope="session")
def influxd_program() -> str:
    """Path of Debian's influxd (1.6)."""
    return require_server("influxdb")


@pytest.fixture(scope="session")
def postgres_program() -> str:
    """Path of Debian's postgres, beside initdb."""
    return require_server("postgres")


@pytest.fixture(scope="session")
def pyproject() -> dict[str, Any]:
    """The project's own description."""
    with (Path(__file__).parent.parent / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)
