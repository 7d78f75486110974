"""Points <-> InfluxDB: line protocol out, InfluxQL answers in."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from aggregator.points import ABSENT, Points, Tags
from contract.stored import DETERMINED, Measurement

MAX_NAMED = 50
"""Beyond this a query asks for all values of a tag: long OR chains cost more than they save."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SPECIAL = re.compile(r"([,= \\])")


def point_lines(points: Points) -> list[str]:
    """Return one line per point, in milliseconds."""
    of = points.of
    fixed = [name for name in of.integers if name not in of.optional]
    columns: list[list[int]] = [points.columns[name].tolist() for name in fixed]
    template = ",".join(f"{name}=%di" for name in fixed)
    if of.optional:
        there = np.zeros(len(points), np.int64)
        for bit, name in enumerate(of.optional):
            column = points.columns[name]
            known = column != ABSENT if column.dtype.kind == "i" else ~np.isnan(column)
            there |= known.astype(np.int64) << bit
        template += ("," if template else "") + f"{DETERMINED}=%di"
        columns.append(there.tolist())
    rest = [_texts(of, name, points.columns[name].tolist()) for name in of.fields
            if name not in fixed]  # fmt: skip
    heads = [_head(of, tags) for tags in points.keys]
    numbers: Iterator[Sequence[int]] = zip(*columns, strict=True) if columns else iter(())
    body = [template % row for row in numbers] if columns else [""] * len(points)
    lines = []
    for key, time_ms, first, *more in zip(
        points.key.tolist(), points.time_ms.tolist(), body, *rest, strict=True
    ):
        fields = first + "".join(more)
        lines.append(f"{heads[key]} {fields.removeprefix(',')} {time_ms}")
    return lines


def _head(of: Measurement, tags: Tags) -> str:
    named = sorted((name, value) for name, value in zip(of.tags, tags, strict=True) if value)
    return ",".join([of.name, *(f"{name}={_escaped(value)}" for name, value in named)])


def _escaped(tag: str) -> str:
    return _SPECIAL.sub(r"\\\1", _CONTROL.sub("?", tag))


def _texts(of: Measurement, name: str, column: list[Any]) -> list[str]:
    if name in of.texts:
        return [f',{name}="{_quoted(value)}"' for value in column]
    if name in of.floats:
        return ["" if value != value else f",{name}={value!r}" for value in column]  # noqa: PLR0124
    return ["" if value == ABSENT else f",{name}={value}i" for value in column]


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")


def point_query(of: Measurement, where: Mapping[str, Collection[str]], span: str) -> str:
    """Return the InfluxQL that asks for points; `span` is the condition on time."""
    fields = ", ".join(f'"{name}"' for name in _columns(of))
    tags = ", ".join(f'"{name}"' for name in of.tags)
    asked = [span]
    for tag, values in where.items():
        if len(values) <= MAX_NAMED:
            among = " OR ".join(f"\"{tag}\" = '{_literal(value)}'" for value in sorted(values))
            asked.append(f"({among})")
    return f'SELECT {fields} FROM "{of.name}" WHERE {" AND ".join(asked)} GROUP BY {tags}'


def _literal(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "\\'")


def _columns(of: Measurement) -> tuple[str, ...]:
    return of.fields + ((DETERMINED,) if of.optional else ())


def points_of(
    of: Measurement, answers: Iterator[Mapping[str, Any]], where: Mapping[str, Collection[str]]
) -> Points:
    """Return the points of an answer that are whole: the server writes field by field."""
    optional = {name: bit for bit, name in enumerate(of.optional)}
    wanted = {of.tags.index(tag): frozenset(values) for tag, values in where.items()}
    rows: list[tuple[Tags, int, dict[str, Any]]] = []
    for series in answers:
        tags = tuple(series["tags"][name] for name in of.tags)
        if any(tags[i] not in values for i, values in wanted.items()):
            continue
        for time_ms, *values in series["values"]:
            fields = dict(zip(_columns(of), values, strict=True))
            there = fields.pop(DETERMINED, 0)
            for name, bit in optional.items():
                if there is not None and not there >> bit & 1:
                    fields[name] = None
            needed = (v for n, v in fields.items() if n not in optional or there >> optional[n] & 1)
            if there is not None and all(value is not None for value in needed):
                rows.append((tags, time_ms, fields))
    return Points.of_rows(of, rows).settled()
