"""What can be wrong with a register folder, and where."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason why a folder is refused. `line` is the file's line, 1 = header; 0 = whole file."""

    file: str
    line: int
    column: str
    reason: str

    def __str__(self) -> str:
        where = [self.file, f"line {self.line}" if self.line else "", self.column, self.reason]
        return ": ".join(part for part in where if part)


class RegisterError(ValueError):
    """The folder cannot be used; permanent until a person edits it."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        ordered = sorted(problems, key=lambda p: (p.file, p.line, p.column))
        super().__init__("\n".join(str(problem) for problem in ordered))
        self.problems = tuple(ordered)
