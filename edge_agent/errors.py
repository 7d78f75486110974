"""What can go wrong at the edge, as one tree.

EdgeError                  base of all; `retriable` says whether trying again can help
+-- ConfigError            the TOML file is wrong; lists every problem (permanent)
+-- LinkError              the wire: refused, cut, broken (retriable)
|   +-- LinkTimeoutError   nothing answered in time
|   +-- LinkGarbledError   an answer came, but broken: wrong checksum or length
+-- MeterError             the meter answered and said no: illegal address (permanent)
+-- OutboxError            the outbox file cannot be opened, read or written
+-- OutboxLockedError  another process has the outbox open
+-- OutboxFullError    the disk has no room
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


class EdgeError(Exception):
    """Base of all errors raised by the edge agent on purpose."""

    retriable: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a configuration file."""

    key: str
    """Dotted path of the key, e.g. ``bus[0].meter[2].unit``; empty for the file as a whole."""
    reason: str
    """What is wrong, in words that say what would be right."""
    line: int = 0
    """Line of the key, or of the table that lacks it; 0 = not known."""


class ConfigError(EdgeError):
    """The configuration is wrong. Carries all problems found, not just the first."""

    def __init__(self, file: str, problems: Sequence[Problem]) -> None:
        self.file = file
        self.problems = tuple(problems)
        lines = (
            ": ".join(filter(None, (f"{file}:{p.line}" if p.line else file, p.key, p.reason)))
            for p in self.problems
        )
        super().__init__("\n".join(lines))


class _PlacedError(EdgeError):
    def __init__(self, where: str, reason: str) -> None:
        self.where = where
        self.reason = reason
        super().__init__(f"{where}: {reason}")


class LinkError(_PlacedError):
    """The wire failed (where = bus or endpoint). Trying again later can help."""

    retriable: ClassVar[bool] = True


class LinkTimeoutError(LinkError):
    """No answer in time. The wire may be fine and the meter dead."""


class LinkGarbledError(LinkError):
    """An answer came broken: noise, a wrong serial setting, two devices with one address."""


class MeterError(_PlacedError):
    """The meter refused or cannot mean what it says (where = meter). Trying again cannot help."""


class OutboxError(_PlacedError):
    """The outbox (where = its file) cannot be opened, read or written."""


class OutboxLockedError(OutboxError):
    """Another process has the outbox open."""


class OutboxFullError(OutboxError):
    """The disk has no room and nothing in the outbox may go."""
