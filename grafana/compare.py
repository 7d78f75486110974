"""What differs between two JSON documents, told by path."""

from collections.abc import Iterator, Mapping
from typing import Any

OWN = frozenset({"id", "version"})
"""Members that Grafana gives to each dashboard."""


def differences(ours: Any, theirs: Any, *, extra: bool, at: str = "") -> Iterator[str]:
    """Yield a line per difference. extra: whether members that only they have are one."""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        for name in sorted({*ours, *theirs}):
            where = f"{at}.{name}" if at else name
            if name not in theirs:
                yield f"{where}: missing in Grafana"
            elif name not in ours:
                if extra and not (at == "" and name in OWN):
                    yield f"{where}: only in Grafana"
            else:
                yield from differences(ours[name], theirs[name], extra=extra, at=where)
    elif isinstance(ours, list) and isinstance(theirs, list):
        if len(ours) != len(theirs):
            yield f"{at}: {len(ours)} here, {len(theirs)} in Grafana"
        for place, (one, other) in enumerate(zip(ours, theirs, strict=False)):
            yield from differences(one, other, extra=extra, at=f"{at}[{place}]")
    elif ours != theirs:
        yield f"{at}: {_short(ours)} here, {_short(theirs)} in Grafana"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
