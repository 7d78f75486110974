"""All texts of the dashboards in both languages, from words.csv, panels.csv and units.csv."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

LANGUAGES = ("zh", "en")
DEFAULT_LANGUAGE = "zh"


@dataclass(frozen=True, slots=True)
class PanelText:
    """What the table says of one panel."""

    title: str
    about: str
    must_have_rows: bool
    """Whether each of its queries must return rows where meters have reported for a month."""


@dataclass(frozen=True, slots=True)
class Unit:
    """How a stored number is shown."""

    divisor: float
    """Stored number / divisor = shown number."""
    grafana: str
    """Grafana's name of a unit, or `suffix: text`."""
    decimals: int | None


class Words:
    """The texts of one language; KeyError names what the tables lack."""

    def __init__(self, language: str) -> None:
        if language not in LANGUAGES:
            raise ValueError(f"language {language!r} is none of {', '.join(LANGUAGES)}")
        self.language = language
        self._words = {row["key"]: row[language] for row in table("words")}
        self._units = {
            row["unit"]: Unit(
                float(row[f"divisor_{language}"]), row[language], int(row["decimals"])
            )
            for row in table("units")
        }
        self._panels = {
            (row["dashboard"], row["panel"]): PanelText(
                row[f"title_{language}"], row[f"about_{language}"], row["rows"] == "must"
            )
            for row in table("panels")
        }

    def __getitem__(self, key: str) -> str:
        return self._words[key]

    def unit(self, name: str) -> Unit:
        """Return how a quantity is shown."""
        return self._units[name]

    def panel(self, dashboard: str, panel: str) -> PanelText:
        """Return what the table says of a panel."""
        return self._panels[dashboard, panel]

    @property
    def panels(self) -> Mapping[tuple[str, str], PanelText]:
        """Return the whole table by (dashboard, panel)."""
        return self._panels

    @property
    def words(self) -> Mapping[str, str]:
        """Return all words."""
        return self._words

    @property
    def name_field(self) -> str:
        """Return the field of `node_info` that holds names in this language."""
        return f"name_{self.language}"

    @property
    def choice_field(self) -> str:
        """Return the field of `node_info` from which a variable takes name and id."""
        return f"choice_{self.language}"


@cache
def table(name: str) -> tuple[Mapping[str, str], ...]:
    """Return the rows of one of the package's CSV tables."""
    text = files("grafana").joinpath(f"{name}.csv").read_text("utf-8")
    return tuple(csv.DictReader(text.splitlines()))
