"""Formulas of virtual meters: sums, differences and shares of other meters' figures.

Terms stand apart by spaces: `+em-1 -em-2 +0.4*em-3`. A share is a decimal or a fraction above 0 and
at most 1, so that a formula divides energy and never makes any.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

MAX_TERMS = 100
_TERM = re.compile(
    r"(?P<sign>[+-]?)"
    r"(?:(?P<share>[0-9]{1,9}(?:\.[0-9]{1,9}|/[0-9]{1,9})?)\*)?"
    r"(?P<meter>[a-z0-9][a-z0-9-]{0,62})"
)


@dataclass(frozen=True, slots=True)
class FormulaTerm:
    """One meter in a formula."""

    meter: str
    """Meter or virtual meter of the same site."""
    sign: int
    """+1 or -1."""
    share: Fraction
    """Above 0, at most 1: how much of the meter's figure."""

    def __str__(self) -> str:
        sign = "+" if self.sign > 0 else "-"
        return f"{sign}{'' if self.share == 1 else f'{_text(self.share)}*'}{self.meter}"


def parse_formula(text: str) -> tuple[FormulaTerm, ...]:
    """Return the terms in their order; ValueError says which one is wrong."""
    words = text.split()
    if not words:
        raise ValueError("empty")
    if len(words) > MAX_TERMS:
        raise ValueError(f"has more than {MAX_TERMS} terms")
    terms = tuple(_term(word) for word in words)
    meters = [term.meter for term in terms]
    for meter in meters:
        if meters.count(meter) > 1:
            raise ValueError(f"names {meter} twice")
    return terms


def formula_text(terms: tuple[FormulaTerm, ...]) -> str:
    """Return the one spelling of a formula."""
    return " ".join(map(str, terms))


def _term(word: str) -> FormulaTerm:
    found = _TERM.fullmatch(word)
    if found is None:
        raise ValueError(f"{word!r} is no term like +em-1, -em-2, 0.4*em-3 or 1/3*em-4")
    try:
        share = Fraction(found["share"] or 1)
    except ZeroDivisionError as error:
        raise ValueError(f"{word!r} divides by 0") from error
    if not 0 < share <= 1:
        raise ValueError(f"{word!r}: a share is above 0 and at most 1")
    return FormulaTerm(found["meter"], -1 if found["sign"] == "-" else 1, share)


def _text(share: Fraction) -> str:
    """Return 0.4 where a decimal of nine places says it exactly, else 1/3."""
    billionths = share * 10**9
    if billionths.denominator == 1:
        return f"0.{billionths.numerator:09}".rstrip("0")
    return f"{share.numerator}/{share.denominator}"
