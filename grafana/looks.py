"""How fields and series look: names, colours, units, thresholds, links, as overrides."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from grafana_foundation_sdk.models import dashboard as m

from grafana.palette import BAD, GOOD, WATCH
from grafana.words import Unit

Steps = Sequence[tuple[float | None, str]]
"""Thresholds: (from this value on, colour); the first has None."""

SHARE_STEPS: Steps = ((None, BAD), (0.9, WATCH), (0.97, GOOD))
"""Completeness and measured share: 90 % is the target of the national system."""
LATE_STEPS: Steps = ((None, GOOD), (0.01, WATCH), (0.1, BAD))
"""Of what came late, or was estimated."""
BUDGET_STEPS: Steps = ((None, GOOD), (0.9, WATCH), (1.0, BAD))
CHANGE_STEPS: Steps = ((None, GOOD), (0.0, WATCH), (0.05, BAD))


@dataclass(frozen=True, slots=True)
class Look:
    """How one field or series is shown; None leaves the panel's way."""

    name: str = ""
    color: str = ""
    unit: Unit | None = None
    width: int = 0
    steps: Steps = ()
    paint: str = ""
    """In tables: text, background, bar."""
    mappings: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Value -> (text, colour)."""
    link: tuple[str, str] = ("", "")
    """(title, address)."""
    most: float | None = None
    line: bool = False
    hidden: bool = False


Looks = Mapping[str, Look]


def thresholds(steps: Steps) -> m.ThresholdsConfig:
    """Return absolute thresholds."""
    return m.ThresholdsConfig(
        mode=m.ThresholdsMode.ABSOLUTE, steps=[m.Threshold(value=v, color=c) for v, c in steps]
    )


def mappings(of: Mapping[str, tuple[str, str]]) -> list[m.ValueMapping]:
    """Return value mappings: value -> (text, colour)."""
    options = {
        value: m.ValueMappingResult(text=text, color=color, index=place)
        for place, (value, (text, color)) in enumerate(of.items())
    }
    return [m.ValueMap(options=options)]


def overrides(looks: Looks) -> list[m.DashboardFieldConfigSourceOverrides]:
    """Return one override per field, found by name; a single letter is that of a query."""
    made = []
    for name, look in looks.items():
        kind = "byFrameRefID" if len(name) == 1 else "byName"
        made.append(
            m.DashboardFieldConfigSourceOverrides(
                matcher=m.MatcherConfig(id_val=kind, options=name),
                properties=[m.DynamicConfigValue(id_val=i, value=v) for i, v in _properties(look)],
            )
        )
    return made


def _properties(look: Look) -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = [*_numbers(look), *_marks(look)]
    for name, value in (
        ("displayName", look.name),
        ("custom.width", look.width),
        ("mappings", mappings(look.mappings) if look.mappings else None),
        ("custom.hidden", look.hidden),
        ("max", look.most),
    ):
        if value:
            found.append((name, value))
    if look.link[1]:
        found.append(("links", [m.DashboardLink(title=look.link[0], url=look.link[1])]))
    return found


def _numbers(look: Look) -> Iterator[tuple[str, object]]:
    if look.unit is not None:
        yield "unit", look.unit.grafana
        yield "decimals", look.unit.decimals
    if look.steps:
        yield "thresholds", thresholds(look.steps)
        yield "color", m.FieldColor(mode=m.FieldColorModeId.THRESHOLDS)
    elif look.color:
        yield "color", m.FieldColor(mode=m.FieldColorModeId.FIXED, fixed_color=look.color)


def _marks(look: Look) -> Iterator[tuple[str, object]]:
    if look.paint:
        yield "custom.cellOptions", _PAINTS[look.paint]
    if look.paint == "bar":
        yield "min", 0
    if look.paint == "bar" and look.most is None:  # as long as its share of the column's largest
        yield "fieldMinMax", True
    if look.line:
        yield "custom.drawStyle", "line"
        yield "custom.lineWidth", 2
        yield "custom.fillOpacity", 0
        yield "custom.stacking", {"mode": "none", "group": "B"}


_PAINTS: Mapping[str, object] = {
    "text": {"type": "color-text"},
    "background": {"type": "color-background", "mode": "basic"},
    "bar": {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"},
}
