"""What every link does: open, read, close. Reading only: no link can write to a meter."""

from typing import Any, Protocol


class MeterLink(Protocol):
    """One wire with one or more meters on it.

    Not reentrant: one call at a time. A link may be opened again after `close` and after any
    error. After an error or a cancelled `read` it has made sure that a late answer to that read
    can never be taken for the answer to a later one.
    """

    @property
    def is_open(self) -> bool:
        """Whether the wire is up as far as is known."""
        ...

    async def open(self) -> None:
        """Bring the wire up; does nothing when it is. LinkError when that fails."""
        ...

    async def read(self, question: Any) -> Any:
        """Put a question of a protocol this link speaks (see `codecs`); return the answer.

        Raises LinkTimeoutError when nothing answers, LinkGarbledError when an answer came broken,
        LinkError when the wire fails, MeterError when the meter answers with an error.
        """
        ...

    async def close(self) -> None:
        """Take the wire down. Never raises."""
        ...
