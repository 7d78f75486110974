"""What a tariff asks for by the month and not by the interval: demand charge, tiered blocks.

Dated rows of the tariff's file (`tariff_tables`), cut at the first of a month, of blocks by the
year at New Year. Exact: decimals in, decimals out; amounts in the unit that the tariff prices.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import zip_longest


@dataclass(frozen=True, slots=True)
class DemandPrices:
    """One row: what a month of demand costs (基本电费). Validity as that of `Prices`."""

    id: str
    tariff: str
    valid_from_ms: int
    valid_to_ms: int | None
    per_kva: Decimal | None
    """容量电价: CNY per contracted kVA and month; None when it cannot be paid so."""
    per_kw: Decimal | None
    """需量电价: CNY per kW of the month's largest demand; None when it cannot be paid so."""
    source: str
    verified: bool
    note: str


@dataclass(frozen=True, slots=True)
class Block:
    """What is used above an amount, up to the next block, costs so much more (阶梯加价)."""

    above: Decimal
    """In the unit of the tariff's price: kWh, m3."""
    surcharge: Decimal
    """CNY per that unit, beside the price of the energy."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """One row of tiered blocks. Validity as that of `Prices`."""

    id: str
    tariff: str
    valid_from_ms: int
    valid_to_ms: int | None
    yearly: bool
    """Counted from New Year on; else from the first of each month."""
    blocks: tuple[Block, ...]
    """Ascending, at least one."""
    source: str
    verified: bool
    note: str

    def shares(self, before: Decimal, amount: Decimal) -> Sequence[Decimal]:
        """Return how much of an amount, used after `before`, lies in each block."""
        found = []
        for block, following in zip_longest(self.blocks, self.blocks[1:]):
            low = max(block.above, before)
            high = before + amount if following is None else min(following.above, before + amount)
            found.append(max(Decimal(0), high - low))
        return found

    def surcharge(self, before: Decimal, amount: Decimal) -> Decimal:
        """Return what an amount costs more, used after `before` [CNY]."""
        shares = self.shares(before, amount)
        return sum(
            (s * block.surcharge for s, block in zip(shares, self.blocks, strict=True)), Decimal(0)
        )
