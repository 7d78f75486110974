"""InfluxQL text, built from the names in `contract.stored` only: a wrong name is an error here.

An optional field of a point may be a leftover of an earlier write (InfluxDB merges fields), so a
query that reads one always asks for its bit of `determined` as well.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery

from contract.channels import catalogue
from contract.stored import (
    DETERMINED,
    INTEGER_FIELDS,
    INTERVAL_TAGS,
    MEASURE_FIELDS,
    READING,
    READING_TAGS,
    VERDICT,
    VERDICT_TAGS,
    Level,
    Measurement,
)

DATASOURCE_TYPE = "influxdb"
DATASOURCE_UID = "nenghao"
"""Fixed by our provisioning files, so that dashboards and rules need no choice."""
EXPRESSION_UID = "__expr__"

FIGURES: Mapping[Level, Measurement] = {
    level: Measurement(
        level, INTERVAL_TAGS, INTEGER_FIELDS, MEASURE_FIELDS, optional=MEASURE_FIELDS
    )
    for level in Level
}
"""Figures of single channels."""
VERDICTS = Measurement(VERDICT, VERDICT_TAGS, integers=("value",), texts=("rule", "outcome"))
READINGS = Measurement(READING, READING_TAGS, floats=tuple(catalogue()))


class Names(StrEnum):
    """Placeholders that Grafana or its backend fills in.

    Grafana escapes a placeholder that stands between two slashes, taking them for a regular
    expression: no `/` may stand before and after one.
    """

    RANGE = "$timeFilter"
    FROM = "${__from}ms"
    TO = "${__to}ms"
    STEP = "$__interval"


DAY = "1d, 16h"
"""Buckets that begin at 00:00 Beijing time, which is 16:00 UTC."""
HOUR = "1h"


@dataclass(frozen=True, slots=True)
class Expression:
    """Something to select, and the fields it reads."""

    text: str
    fields: tuple[str, ...]

    def __truediv__(self, divisor: "float | Expression") -> "Expression":
        if isinstance(divisor, Expression):
            fields = self.fields + divisor.fields
            return Expression(f"{self.text} / {divisor.text}", fields)
        # times 1.0: what a subquery makes of integers InfluxDB 1.6 cuts to an integer
        return self if divisor == 1 else replace(self, text=f"{self.text} * 1.0 / {divisor:.0f}")

    def __mul__(self, factor: float) -> "Expression":
        return replace(self, text=f"{self.text} * {factor}")

    def __add__(self, other: "Expression") -> "Expression":
        return Expression(f"({self.text} + {other.text})", self.fields + other.fields)

    def __sub__(self, other: "Expression") -> "Expression":
        return Expression(f"({self.text} - {other.text})", self.fields + other.fields)


def rate(function: str, field: str, unit: str) -> Expression:
    """Return how fast a counter that may restart grows per unit of time, bucket by bucket."""
    inner = call(function, field)
    return replace(inner, text=f"non_negative_derivative({inner.text}, {unit})")


def raw(field: str) -> Expression:
    """Return the field as stored."""
    return Expression(f'"{field}"', (field,))


def call(function: str, field: str, *more: str) -> Expression:
    """Return a function of InfluxQL over a field."""
    arguments = ", ".join((f'"{field}"', *more))
    return Expression(f"{function}({arguments})", (field,))


def total(field: str) -> Expression:
    """Return the sum."""
    return call("sum", field)


def last(field: str) -> Expression:
    """Return the newest value."""
    return call("last", field)


def share(part: str, *whole: str) -> Expression:
    """Return sum of a part / sum of all, 0 to 1."""
    summed = total(whole[0])
    for name in whole[1:]:
        summed = summed + total(name)
    return total(part) * 1.0 / summed


@dataclass(frozen=True, slots=True)
class Condition:
    """Part of a WHERE, and the tags and fields it names."""

    text: str
    names: tuple[str, ...]


def equal(name: str, value: str | int) -> Condition:
    """Compare a tag or text field with a text, an integer field with a number."""
    literal = str(value) if isinstance(value, int) else "'" + value.replace("'", "\\'") + "'"
    return Condition(f'"{name}" = {literal}', (name,))


def other_than(name: str, value: str) -> Condition:
    """Exclude one value of a tag or text field."""
    return Condition(f"\"{name}\" != '{value}'", (name,))


def above(name: str, value: float) -> Condition:
    """Compare a number field."""
    return Condition(f'"{name}" > {value:g}', (name,))


def nonzero(name: str) -> Condition:
    """Take only numbers other than 0."""
    return Condition(f'"{name}" != 0', (name,))


def begun(name: str) -> Condition:
    """Take times [ms] before the end of the range."""
    return Condition(f'"{name}" < ${{__to}}', (name,))


def not_over(name: str) -> Condition:
    """Take times [ms] after the beginning of the range."""
    return Condition(f'"{name}" > ${{__from}}', (name,))


def matches(name: str, pattern: str) -> Condition:
    """Match a tag or text field with a regular expression."""
    return Condition(f'"{name}" =~ /{pattern}/', (name,))


def differs(name: str, pattern: str) -> Condition:
    """Exclude what a regular expression matches."""
    return Condition(f'"{name}" !~ /{pattern}/', (name,))


def chosen(name: str, variable: str = "") -> Condition:
    """Take the values that a dashboard variable has; it is named like the tag by default."""
    return Condition(f'"{name}" =~ /^${{{variable or name}:regex}}$/', (name,))


def chosen_or_none(name: str) -> Condition:
    """Take points without the tag too."""
    return Condition(f"({chosen(name).text} OR \"{name}\" = '')", (name,))


def within(*conditions: str) -> tuple[str, ...]:
    """Return conditions on time."""
    return conditions


RANGE = within(f"{Names.RANGE}")
DAYS_OVER = within(*RANGE, f"time <= {Names.TO} - 1d")
"""Days of the range that are over at its end: what is to come of a day counts as missing in it."""
ALWAYS: tuple[str, ...] = ()
"""Points that stand at one fixed time."""


def span(before_end: str, length: str = "") -> tuple[str, ...]:
    """Return a window that begins `before_end` (7d, 365d) before the end of the range.

    It lasts until the end of the range, or for `length`.
    """
    begin = f"time >= {Names.TO} - {before_end}"
    end = f"time < {Names.TO}"
    return (begin, f"{end} - {before_end} + {length}") if length else (begin, end)


YEAR_BEFORE = (f"time >= {Names.FROM} - 365d", f"time < {Names.TO} - 365d")
"""The same days a year ago; after 29 February one day off."""


@dataclass(frozen=True, slots=True)
class Query(Dataquery, Builder[Dataquery]):
    """One InfluxQL query of a panel or rule, as Grafana's data source stores it."""

    text: str
    measurement: str
    ref: str = "A"
    table: bool = True
    alias: str = ""
    hidden: bool = False

    @property
    def ref_id(self) -> str:
        """Return its letter; the builders ask for it by this name."""
        return self.ref

    def named(self, ref: str, *, hidden: bool = False) -> "Query":
        """Return the query under another letter."""
        return replace(self, ref=ref, hidden=hidden)

    def as_series(self, alias: str) -> "Query":
        """Return it as time series, named by `$tag_...` or a text."""
        return replace(self, table=False, alias=alias)

    def build(self) -> Dataquery:
        """Return itself: it is what the builders build from."""
        return self

    def to_json(self) -> dict[str, object]:
        """Return what Grafana stores."""
        return {
            "refId": self.ref,
            "datasource": {"type": DATASOURCE_TYPE, "uid": DATASOURCE_UID},
            "query": self.text,
            "rawQuery": True,
            "resultFormat": "table" if self.table else "time_series",
            **({"alias": self.alias} if self.alias else {}),
            **({"hide": True} if self.hidden else {}),
        }


def select(
    columns: Mapping[str, Expression],
    of: Measurement,
    *where: Condition,
    time: Sequence[str] = RANGE,
    by: Sequence[str] = (),
    each: str = "",
    once: bool = False,
    newest: int = 0,
) -> Query:
    """Build a query; ValueError for a tag or field that `of` has not.

    by: tags to group by. each: length of time buckets. once: its points are written once, so that
    what is absent was never there, and rows without an optional field are wanted too. newest: how
    many of the newest rows are wanted at most; 0 = all.
    """
    fields = tuple(name for column in columns.values() for name in column.fields)
    filtered = tuple(name for condition in where for name in condition.names)
    known = {*of.fields, *of.tags, DETERMINED}
    for name in (*fields, *filtered, *by):
        if name not in known:
            raise ValueError(f"{of.name} has no tag or field {name!r}")
    for tag in by:
        if tag not in of.tags:
            raise ValueError(f"{of.name}.{tag} is a field: nothing can be grouped by it")
    there = [] if once else _there(of, fields + filtered)
    conditions = [*time, *(condition.text for condition in where), *there]
    selected = ", ".join(f'{column.text} AS "{name}"' for name, column in columns.items())
    text = f'SELECT {selected} FROM "{of.name}"'
    if conditions:
        text += f" WHERE {' AND '.join(conditions)}"
    groups = [f"time({each})"] if each else []
    groups += [f'"{tag}"' for tag in by]
    if groups:
        text += f" GROUP BY {', '.join(groups)}"
    if each:
        text += " fill(none)"
    if newest:
        text += f" ORDER BY time DESC LIMIT {newest}"
    return Query(text, of.name)


def over(
    columns: Mapping[str, Expression], inner: Query, *, by: Sequence[str] = (), where: str = ""
) -> Query:
    """Select from the answer of another query."""
    selected = ", ".join(f'{column.text} AS "{name}"' for name, column in columns.items())
    text = f"SELECT {selected} FROM ({inner.text})"
    if where:
        text += f" WHERE {where}"
    if by:
        text += " GROUP BY " + ", ".join(f'"{tag}"' for tag in by)
    return replace(inner, text=text)


def _there(of: Measurement, fields: Sequence[str]) -> list[str]:
    """Ask that the optional fields among these were known to the latest write."""
    bits = sum(1 << bit for bit, name in enumerate(of.optional) if name in fields)
    return [f'("{DETERMINED}" & {bits}) = {bits}'] if bits else []
