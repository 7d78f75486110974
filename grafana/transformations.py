"""What becomes of answers before they are shown: transformations, arithmetic between queries."""

from collections.abc import Mapping
from typing import Any

from grafana_foundation_sdk.builders import expr
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import dashboard as m

from grafana.influxql import EXPRESSION_UID, Query

EXPRESSIONS = m.DataSourceRef(type_val=EXPRESSION_UID, uid=EXPRESSION_UID)


def letters(*queries: Query) -> tuple[Query, ...]:
    """Name queries A, B, C ..."""
    return tuple(query.named(chr(ord("A") + place)) for place, query in enumerate(queries))


def compared(formula: str, *queries: Query) -> tuple[Dataquery, ...]:
    """Return queries A, B ... and arithmetic over their last numbers, done by Grafana's server.

    The formula calls them $A, $B ...; one alias for all, or Grafana finds nothing to match.
    """
    numbers: list[Dataquery] = []
    for place, query in enumerate(queries):
        letter = chr(ord("A") + place)
        numbers.append(query.as_series("value").named(letter, hidden=True))
        reduced = expr.TypeReduce().ref_id(f"R{letter}").expression(letter).reducer("last")
        numbers.append(reduced.datasource(EXPRESSIONS).hide(True).build())
        formula = formula.replace(f"${letter}", f"${{R{letter}}}")
    result = expr.TypeMath().ref_id("Z").expression(formula).datasource(EXPRESSIONS)
    return (*numbers, result.build())


def transform(kind: str, **options: Any) -> m.DataTransformerConfig:
    """Return one transformation."""
    return m.DataTransformerConfig(id_val=kind, options=options)


def of_queries(which: str, of: m.DataTransformerConfig) -> m.DataTransformerConfig:
    """Let a transformation touch only some answers: `A|B`, or a pattern between slashes."""
    only = m.MatcherConfig(id_val="byRefId", options=which)
    return m.DataTransformerConfig(id_val=of.id_val, options=of.options, filter_val=only)


def join(by: str, *, mode: str = "inner") -> m.DataTransformerConfig:
    """Put tables side by side where a column is equal."""
    return transform("joinByField", byField=by, mode=mode)


def with_a(name: str) -> m.DataTransformerConfig:
    """Keep rows that have something in a column."""
    absent = {"fieldName": name, "config": {"id": "isNull", "options": {}}}
    return transform("filterByValue", type="exclude", match="any", filters=[absent])


def columns(*names: str) -> m.DataTransformerConfig:
    """Keep these columns, in this order."""
    return transform("filterFieldsByName", include={"names": list(names)})


def ordered(*names: str, rename: Mapping[str, str] | None = None) -> m.DataTransformerConfig:
    """Set the order of columns."""
    return transform(
        "organize",
        indexByName={name: place for place, name in enumerate(names)},
        renameByName=dict(rename or {}),
    )


def timeless(which: str) -> m.DataTransformerConfig:
    """Drop the time column of answers that have none to tell."""
    return of_queries(which, transform("organize", excludeByName={"Time": True}))


def sorted_by(name: str, *, ascending: bool = False) -> m.DataTransformerConfig:
    """Sort rows."""
    return transform("sortBy", sort=[{"field": name, "desc": not ascending}])


def top(rows: int) -> m.DataTransformerConfig:
    """Keep the first rows."""
    return transform("limit", limitField=rows)


def ratio(name: str, left: str, operator: str, right: str) -> m.DataTransformerConfig:
    """Add a column computed from two others."""
    return transform(
        "calculateField",
        mode="binary",
        alias=name,
        binary={
            "left": {"matcher": {"id": "byName", "options": left}},
            "operator": operator,
            "right": {"matcher": {"id": "byName", "options": right}},
        },
    )
