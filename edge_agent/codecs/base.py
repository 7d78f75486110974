"""What a question to a meter must offer to whoever puts it on a wire."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

Answer_co = TypeVar("Answer_co", covariant=True)


class Question(Protocol[Answer_co]):
    """One request and the way to know its answer among echoes, foreign frames and noise."""

    @property
    def unit(self) -> str:
        """Who is asked; also whose late answer could be taken for this one's."""
        ...

    @property
    def request(self) -> bytes:
        """The bytes to send."""
        ...

    @property
    def answer_bytes(self) -> int:
        """Length of the longest answer: it needs so much time on the wire."""
        ...

    def find(self, heard: bytes) -> Answer_co | None:
        """Return the answer in what was heard since the request, None when it is not there (yet).

        MeterError when the meter answers with an error.
        """
        ...

    def damage(self, heard: bytes) -> str:
        """Say what looks like a broken answer to this question; empty when nothing does."""
        ...


@dataclass(frozen=True, slots=True)
class Heard:
    """Who answered a roll call."""

    who: tuple[str, ...]
    """Addresses, each once, in order."""
    broken: bool
    """Whether bytes came that are no whole frame: two at once, or another serial setting."""


class RollCall(Protocol):
    """A read that any number of meters may answer, all at once: only to look who is there."""

    @property
    def request(self) -> bytes:
        """The bytes to send."""
        ...

    @property
    def answer_bytes(self) -> int:
        """Length of the longest answer."""
        ...

    def heard(self, data: bytes) -> Heard:
        """Tell the answers in all that was heard in the time in which an answer may come."""
        ...


GLITCH = 3
"""Bytes that a line makes by itself when its driver turns [bytes]."""


def heard_of(who: Iterable[str], rest: bytes) -> Heard:
    """Return what a roll call heard; `rest` = the bytes outside whole frames."""
    return Heard(tuple(sorted(set(who))), len(rest.strip(b"\xfe")) > GLITCH)
