"""What a question to a meter must offer to whoever puts it on a wire."""

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
