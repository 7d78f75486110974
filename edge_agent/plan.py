"""Plan reads: registers in, the fewest requests out. Pure; knows no protocol and does no I/O."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive 16-bit registers: `count` of them from `address`."""

    address: int
    count: int

    @property
    def end(self) -> int:
        """First address after the span."""
        return self.address + self.count


def plan_reads(spans: Iterable[Span], max_span: int, max_gap: int) -> tuple[Span, ...]:
    """Cover `spans` with the fewest reads, in order of address.

    A read covers at most `max_span` registers and no run of more than `max_gap` registers nobody
    asked for. Spans must not overlap nor be longer than `max_span` (ValueError). Taking as much as
    fits, from the lowest address on, is optimal: a read that starts later can never cover less.
    """
    reads: list[Span] = []
    last_end = -1
    for span in sorted(spans, key=lambda span: span.address):
        if span.count < 1 or span.count > max_span:
            raise ValueError(f"{span}: must be 1 to {max_span} registers long")
        if span.address < last_end:
            raise ValueError(f"{span}: overlaps with the span before it")
        last_end = span.end
        if reads:
            open_read = reads[-1]
            gap = span.address - open_read.end
            if gap <= max_gap and span.end - open_read.address <= max_span:
                reads[-1] = Span(open_read.address, span.end - open_read.address)
                continue
        reads.append(span)
    return tuple(reads)
