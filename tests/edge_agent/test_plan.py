"""The planner: every register once, within the limits, with the fewest reads."""

from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.plan import Span, plan_reads


@st.composite
def registers(draw, most=8):
    """Registers that do not overlap, in any order, as a device map may list them."""
    spans, at = [], draw(st.integers(0, 50))
    for _ in range(draw(st.integers(1, most))):
        count = draw(st.sampled_from([1, 2, 4]))
        spans.append(Span(at, count))
        at += count + draw(st.integers(0, 12))
    return draw(st.permutations(spans))


LIMITS = (st.integers(4, 30), st.integers(0, 12))  # longest read, longest gap


@given(registers(most=40), *LIMITS)
def test_each_register_is_read_once_within_the_limits(spans, max_span, max_gap):
    reads = plan_reads(spans, max_span, max_gap)
    asked = [address for read in reads for address in range(read.address, read.end)]
    wanted = {address for span in spans for address in range(span.address, span.end)}
    assert len(asked) == len(set(asked))
    assert wanted <= set(asked)
    for span in spans:  # a value is never torn between two reads
        assert sum(r.address <= span.address and span.end <= r.end for r in reads) == 1
    for read in reads:
        assert read.count <= max_span
        inside = sorted(a for a in wanted if read.address <= a < read.end)
        assert inside[0] == read.address
        assert inside[-1] == read.end - 1
        assert all(b - a - 1 <= max_gap for a, b in pairwise(inside))


def fewest(spans, max_span, max_gap):
    """Brute force: try every way to cut the sorted registers into runs."""
    ordered = sorted(spans, key=lambda span: span.address)
    cuts = range(1, len(ordered))

    def fits(run):
        gaps = all(b.address - a.end <= max_gap for a, b in pairwise(run))
        return gaps and run[-1].end - run[0].address <= max_span

    for number in range(len(ordered)):
        for chosen in combinations(cuts, number):
            borders = [0, *chosen, len(ordered)]
            if all(fits(ordered[a:b]) for a, b in pairwise(borders)):
                return number + 1
    raise AssertionError("one register a read always fits")


@given(registers(), *LIMITS)
def test_no_plan_has_fewer_reads(spans, max_span, max_gap):
    assert len(plan_reads(spans, max_span, max_gap)) == fewest(spans, max_span, max_gap)


def test_limits_are_inclusive():
    assert plan_reads([Span(0, 2), Span(5, 2)], 7, 3) == (Span(0, 7),)
    assert plan_reads([Span(0, 2), Span(5, 2)], 6, 3) == (Span(0, 2), Span(5, 2))
    assert plan_reads([Span(0, 2), Span(5, 2)], 7, 2) == (Span(0, 2), Span(5, 2))
    assert plan_reads([], 120, 0) == ()


@pytest.mark.parametrize("spans", [[Span(0, 2), Span(1, 2)], [Span(0, 121)], [Span(0, 0)]])
def test_impossible_registers_are_refused(spans):
    with pytest.raises(ValueError, match="Span"):
        plan_reads(spans, 120, 0)
