"""What the register's TOML documents say (factors, tariffs), and whether its sites fit them.

An import is refused with every problem that would stop the aggregator's next start.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from aggregator.ledger import rows
from aggregator.ledger.factor_tables import load_library, tables_folder
from aggregator.ledger.factors import FactorLibrary
from aggregator.ledger.tariff_tables import load_tariffs, tariffs_folder
from aggregator.ledger.tariffs import TariffLibrary
from aggregator.register.build import build_register
from aggregator.register.dated import Line
from aggregator.register.problems import Problem
from aggregator.site_tariffs import SiteTariffs
from contract.interval import MINUTE_MS


@dataclass(frozen=True, slots=True)
class Libraries:
    """The shipped tables and a register's own."""

    factors: FactorLibrary
    tariffs: TariffLibrary


def load_documents(documents: Mapping[str, str]) -> Libraries:
    """Load factors/*.toml and tariffs/*.toml, path -> text; TableError with every problem."""
    with TemporaryDirectory(prefix="nenghao-register-") as scratch:
        for path, text in documents.items():
            file = Path(scratch) / path
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(text.encode())
        problems: list[rows.Problem] = []
        factors = tariffs = None
        try:
            factors = load_library([tables_folder(), Path(scratch) / "factors"])
        except rows.TableError as error:
            problems += error.problems
        try:
            tariffs = load_tariffs([tariffs_folder(), Path(scratch) / "tariffs"])
        except rows.TableError as error:
            problems += error.problems
    if factors is None or tariffs is None:
        raise rows.TableError(problems)
    return Libraries(factors, tariffs)


class Judge:
    """Says what of a register, good by itself, would stop an aggregator's start.

    factor_set: the configured one; "" where no configuration is known. grid_ms: its intervals.
    """

    def __init__(self, factor_set: str = "", grid_ms: int = MINUTE_MS) -> None:
        self._factor_set = factor_set
        self._grid_ms = grid_ms

    def __call__(
        self, tables: Mapping[str, Sequence[Line]], documents: Mapping[str, str]
    ) -> Sequence[Problem]:
        """Return every problem, with its file, and its line in sites.csv."""
        sites = {line.row["site"]: line for line in tables["sites"]}
        folder = {path.partition("/")[2]: path for path in documents}
        try:
            libraries = load_documents(documents)
            if self._factor_set:
                libraries.factors.choose(self._factor_set)
            register = build_register(
                {name: [line.row for line in lines] for name, lines in tables.items()}
            )
            SiteTariffs(register, libraries.tariffs, self._grid_ms)
        except rows.TableError as error:
            return [_placed(problem, sites, folder) for problem in error.problems]
        return ()


def _placed(
    problem: rows.Problem, sites: Mapping[str, Line], documents: Mapping[str, str]
) -> Problem:
    line = sites.get(problem.row.removeprefix("site ")) if problem.file == "sites.csv" else None
    if line is not None and line.number:
        return Problem(line.file, line.number, problem.key, problem.reason)
    reason = ": ".join(part for part in (problem.row, problem.key, problem.reason) if part)
    file = line.file if line is not None else documents.get(problem.file, problem.file)
    return Problem(file, 0, "", reason)
