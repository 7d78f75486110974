"""The balance of a site: always the sum of its parts, whatever its tree and figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.balance import CarrierBalance, balance
from aggregator.batch import IntervalColumns
from aggregator.register.formula import FormulaTerm, parse_formula
from aggregator.register.model import Meter, Node, Register, Role, VirtualMeter
from aggregator.tree import Tree, rounded
from tests.oracle import tree as oracle

SITE = "works"
QUARTER_MS = 900_000
START_MS = 1_772_380_800_000  # 2026-03-02T00:00:00+08:00
SLOTS = 4
MOVE_MS = START_MS + 2 * QUARTER_MS
END_MS = START_MS + SLOTS * QUARTER_MS
Figures = Mapping[tuple[str, str], Sequence[int]]
"""(meter, channel) -> amount of each slot [micro-units]."""


def columns(figures: Figures) -> tuple[dict[tuple[str, str], int], IntervalColumns]:
    """Index the channels and give their figures as a store would, all measured."""
    series = {key: i for i, key in enumerate(figures)}
    rows = [
        (series[key], START_MS + slot * QUARTER_MS, amount)
        for key, amounts in figures.items()
        for slot, amount in enumerate(amounts)
    ]
    index, starts, amount = np.array(rows or np.empty((0, 3)), np.int64).T.copy()

    def full(value: int) -> np.ndarray:
        return np.full(len(rows), value, np.int64)

    def unknown() -> np.ndarray:
        return np.full(len(rows), np.nan)

    return series, IntervalColumns(
        series=index.astype(np.int32),
        start_ms=starts,
        amount=amount,
        amount_estimated=full(0),
        amount_held=full(0),
        measured_ms=full(QUARTER_MS),
        estimated_ms=full(0),
        missing_ms=full(0),
        received=full(1),
        expected=full(1),
        flags=full(0),
        kgce_calorific=unknown(),
        kgce_equivalent=unknown(),
        co2_kg=unknown(),
        cost_cny=unknown(),
    )


def balances(
    register: Register, figures: Figures, from_ms: int = START_MS, to_ms: int = END_MS
) -> dict[tuple[str, str], CarrierBalance]:
    series, rows = columns(figures)
    rows = rows.take((rows.start_ms >= from_ms) & (rows.start_ms < to_ms))
    found = balance(register, SITE, series, rows, from_ms, to_ms, to_ms)
    return {(one.carrier, one.unit): one for one in found}


def meter(
    id_: str, role: Role, parent: str = "", node: str = "", carrier: str = "electricity"
) -> Meter:
    return Meter(SITE, id_, carrier, role, parent, 1, "", 0, "", node=node)


def node(id_: str, parent: str = "", since_ms: int = 0) -> Node:
    return Node(SITE, id_, parent, id_, id_, None, since_ms)


def virtual(id_: str, formula: str, to: str = "", carrier: str = "electricity") -> VirtualMeter:
    return VirtualMeter(SITE, id_, carrier, parse_formula(formula), to, 0)


def flat(**amounts: int) -> dict[tuple[str, str], list[int]]:
    return {(id_, "energy_import"): [amount] * SLOTS for id_, amount in amounts.items()}


def nodes_of(found: CarrierBalance) -> dict[str, int]:
    return {one.node: one.amount for one in found.nodes}


@dataclass(frozen=True)
class World:
    nodes: list[Node]
    meters: list[Meter]
    virtual: list[VirtualMeter]
    figures: dict[tuple[str, str], list[int]]

    def register(self) -> Register:
        return Register.of([], self.meters, nodes=self.nodes, virtual=self.virtual)


AMOUNT = st.integers(-(2**40), 2**40)
SHARES = st.sampled_from([Fraction(1), Fraction(1), *map(Fraction, ("1/2", "1/3", "0.4", "2/3"))])


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Any tree, any meters, formulas on top of each other, all of which may move at MOVE_MS."""

    def before(ids: Sequence[str]) -> str:
        return draw(st.sampled_from(["", *ids]))

    names = [f"n{i}" for i in range(draw(st.integers(0, 4)))]
    nodes = [node(id_, before(names[:i])) for i, id_ in enumerate(names)]
    ids = [f"m{i}" for i in range(draw(st.integers(1, 7)))]
    roles = st.sampled_from(Role)
    meters = [meter(id_, draw(roles), before(ids[:i]), before(names)) for i, id_ in enumerate(ids)]
    formulas = [f"v{i}" for i in draw(st.permutations(range(draw(st.integers(0, 4)))))]
    virtuals = []
    for i, id_ in enumerate(formulas):
        chosen = st.lists(st.sampled_from(ids + formulas[:i]), min_size=1, max_size=3, unique=True)
        terms = tuple(
            FormulaTerm(of, draw(st.sampled_from([1, 1, -1])), draw(SHARES)) for of in draw(chosen)
        )
        virtuals.append(VirtualMeter(SITE, id_, "electricity", terms, before(names), 0))
    later_nodes = [
        replace(row, parent=before(names[:i]), valid_from_ms=MOVE_MS)
        for i, row in enumerate(nodes)
        if draw(st.booleans())
    ]
    later_meters = [
        replace(
            row,
            role=draw(roles),
            parent=before(ids[:i]),
            node=before(names),
            valid_from_ms=MOVE_MS,
        )
        for i, row in enumerate(meters)
        if draw(st.booleans())
    ]
    later_virtuals = [
        replace(row, node=before(names), valid_from_ms=MOVE_MS)
        for row in virtuals
        if draw(st.booleans())
    ]
    amounts = st.lists(AMOUNT, min_size=SLOTS, max_size=SLOTS)
    figures = {
        (id_, channel): draw(amounts)
        for id_ in ids
        for channel in ("energy_import", "energy_export")
        if draw(st.integers(0, 3)) or (id_, channel) == ("m0", "energy_import")
    }
    return World(nodes + later_nodes, meters + later_meters, virtuals + later_virtuals, figures)


def expected(world: World, from_ms: int, to_ms: int) -> tuple[int, dict[str, int], dict[str, int]]:
    """Total, own amount and amount of each node, by the oracle, span by span."""
    total = 0
    own: dict[str, int] = {}
    amounts: dict[str, int] = {}
    for low_ms, high_ms in ((from_ms, min(to_ms, MOVE_MS)), (max(from_ms, MOVE_MS), to_ms)):
        if low_ms >= high_ms:
            continue
        nodes = {
            row.id: row.parent
            for row in sorted(world.nodes, key=lambda row: row.valid_from_ms)
            if row.valid_from_ms <= low_ms
        }
        meters = {
            row.id: oracle.Meter(str(row.role), row.parent, row.node)
            for row in sorted(world.meters, key=lambda row: row.valid_from_ms)
            if row.valid_from_ms <= low_ms
        }
        formulas = {
            row.id: oracle.Virtual([(t.sign, t.share, t.meter) for t in row.terms], row.node)
            for row in sorted(world.virtual, key=lambda row: row.valid_from_ms)
            if row.valid_from_ms <= low_ms
        }
        slots = range((low_ms - START_MS) // QUARTER_MS, (high_ms - START_MS) // QUARTER_MS)
        read: dict[str, int] = {}
        for (id_, channel), values in world.figures.items():
            sign = 1 if channel == "energy_import" else -1
            read[id_] = read.get(id_, 0) + sign * sum(values[slot] for slot in slots)
        total += oracle.total(meters, read)
        part = oracle.own(meters, formulas, read)
        for id_ in ("", *nodes):
            own[id_] = own.get(id_, 0) + part.get(id_, 0)
            amount = oracle.with_children(nodes, part, id_)
            amounts[id_] = amounts.get(id_, 0) + amount
    return total, own, amounts


@given(worlds())
def test_a_site_is_exactly_the_sum_of_its_parts(world: World):
    register = world.register()
    spans = [(START_MS + i * QUARTER_MS, START_MS + (i + 1) * QUARTER_MS) for i in range(SLOTS)]
    for from_ms, to_ms in [*spans, (START_MS, MOVE_MS), (START_MS, END_MS)]:
        found = balances(register, world.figures, from_ms, to_ms)["electricity", "kWh"]
        total, own, amounts = expected(world, from_ms, to_ms)
        nodes = {one.node: one for one in found.nodes}
        assert found.site.amount == total
        assert found.site.unallocated == own.pop("")
        assert {id_: nodes[id_].own if id_ in nodes else 0 for id_ in own} == own
        amounts.pop("")
        assert {id_: nodes[id_].amount if id_ in nodes else 0 for id_ in amounts} == amounts
        assert all(one.own == one.metered + one.unallocated for one in found.nodes)
        if to_ms <= MOVE_MS or from_ms >= MOVE_MS:  # one tree in the whole period
            parents = {row.id: row.parent for row in register.nodes_of(SITE, from_ms)}
            tops = sum(one.amount for id_, one in nodes.items() if not parents[id_])
            assert tops + found.site.unallocated == found.site.amount
            for id_, one in nodes.items():
                below = (n.amount for n in found.nodes if parents[n.node] == id_)
                assert one.amount == one.own + sum(below)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), AMOUNT)
def test_shares_that_make_a_whole_make_the_meter_to_the_micro_unit(parts: list[int], amount: int):
    whole = sum(parts)
    shares = [Fraction(part, whole) for part in parts]
    terms = [(FormulaTerm("m", 1, share),) for share in shares]
    rows = [VirtualMeter(SITE, f"v{i}", "electricity", t, "", 0) for i, t in enumerate(terms)]
    tree = Tree({}, {"m": meter("m", Role.BOUNDARY_IN)}, {row.id: row for row in rows})
    amounts = tree.amounts({"m": amount})
    assert sum(amounts[row.id, 0] for row in rows) == amount
    for row, share in zip(rows, shares, strict=True):
        assert abs(amounts[row.id, 0] - share * amount) < 1 or share == 1
    if len(rows) > 1:
        assert amounts["v0", 0] == rounded(shares[0] * amount)


def test_half_is_rounded_away_from_zero():
    halves = [Fraction(n, 2) for n in (-5, -3, -1, 1, 3, 5)]
    assert [rounded(half) for half in halves] == [-3, -2, -1, 1, 2, 3]


def test_formulas_are_sums_and_differences_of_what_is_shown():
    tree = Tree(
        {},
        {id_: meter(id_, Role.SUB) for id_ in ("a", "b")},
        {
            "rest": virtual("rest", "a -b"),
            "some": virtual("some", "0.5*rest"),
            "other": virtual("other", "rest -some"),
        },
    )
    amounts = tree.amounts({"a": 10, "b": 3})
    assert (amounts["some", 0], amounts["other", 0] + amounts["other", 1]) == (4, 3)


def test_formulas_in_a_circle_are_an_error_that_names_it():
    rows = {"a": virtual("a", "0.5*b"), "b": virtual("b", "0.5*a")}
    with pytest.raises(ValueError, match="a > b > a"):
        Tree({}, {}, rows).amounts({})


def test_sub_meters_fill_nodes_and_the_rest_is_unallocated():
    register = Register.of(
        [],
        [
            meter("grid", Role.BOUNDARY_IN),
            meter("pv", Role.OWN_GENERATION),
            meter("sold", Role.BOUNDARY_OUT),
            meter("shop", Role.SUB, "grid", "shop"),
            meter("line", Role.SUB, "shop", "line"),
            meter("office", Role.SUB, "grid"),
            meter("twin", Role.CHECK, "grid", "shop"),
            meter("below-twin", Role.SUB, "twin", "office"),
        ],
        nodes=[node("shop"), node("line", "shop"), node("office")],
    )
    amounts = {"grid": 1000, "pv": 200, "sold": 100, "shop": 600, "line": 500, "office": 250}
    found = balances(register, flat(**amounts, twin=999, **{"below-twin": 40}))
    one = found["electricity", "kWh"]
    assert (one.site.amount, one.site.unallocated) == (4 * 1100, 4 * (1100 - 640))
    assert nodes_of(one) == {"shop": 4 * 600, "line": 4 * 500, "office": 4 * 40}
    shop = next(n for n in one.nodes if n.node == "shop")
    assert (shop.own, shop.metered, shop.unallocated) == (4 * 100, 0, 4 * 100)
    assert one.site.metered == 4 * 250
    assert {m.meter: (m.amount, m.below, m.gap) for m in one.meters} == {
        "grid": (4000, 4 * 890, 4 * 110),
        "shop": (2400, 2000, 400),
    }


def test_a_meter_that_moves_counts_here_until_its_date_and_there_from_it_on():
    rows = [meter("grid", Role.BOUNDARY_IN), meter("em", Role.SUB, "grid", "old")]
    moved = replace(rows[1], node="new", valid_from_ms=MOVE_MS)
    register = Register.of([], [*rows, moved], nodes=[node("old"), node("new")])
    figures = flat(grid=10) | {("em", "energy_import"): [1, 2, 4, 8]}
    one = balances(register, figures)["electricity", "kWh"]
    assert nodes_of(one) == {"old": 3, "new": 12}
    assert one.site.unallocated == 25


def test_coal_burnt_for_steam_is_no_unexplained_coal_and_its_steam_is_shared_out():
    def steam(id_: str, role: Role, parent: str = "", to: str = "") -> Meter:
        return meter(id_, role, parent, to, "steam")

    register = Register.of(
        [],
        [
            meter("belt", Role.BOUNDARY_IN, carrier="raw_coal"),
            meter("boiler", Role.CONVERSION_IN, "belt", "house", "raw_coal"),
            meter("burner", Role.SUB, "boiler", "house", "raw_coal"),
            steam("made", Role.CONVERSION_OUT, to="house"),
            steam("dryer", Role.SUB, "made", "dryer"),
        ],
        nodes=[node("house"), node("dryer")],
    )
    heat = {("made", "heat"): [1700] * SLOTS, ("dryer", "heat"): [1650] * SLOTS}
    coal = {("belt", "mass"): [100] * 4, ("boiler", "mass"): [97] * 4, ("burner", "mass"): [96] * 4}
    found = balances(register, heat | coal)
    burnt, used = found["raw_coal", "t"], found["steam", "GJ"]
    assert (burnt.site.amount, burnt.site.unallocated, burnt.site.unexplained) == (400, 400, 12)
    assert nodes_of(burnt) == {}
    assert used.site.amount == 0
    assert nodes_of(used) == {"dryer": 6600}
    assert (used.site.unallocated, used.site.unexplained) == (-6600, 200)


def test_a_virtual_meter_takes_from_where_its_energy_stands():
    register = Register.of(
        [],
        [
            meter("grid", Role.BOUNDARY_IN),
            meter("shop", Role.SUB, "grid", "shop"),
            meter("line", Role.SUB, "shop", "line"),
        ],
        nodes=[node("shop"), node("line"), node("rest"), node("tenant")],
        virtual=[virtual("rest", "shop -line", "rest"), virtual("tenant", "1/3*line", "tenant")],
    )
    one = balances(register, flat(grid=100, shop=70, line=50))["electricity", "kWh"]
    assert nodes_of(one) == {"shop": 0, "line": 4 * 50 - 67, "rest": 80, "tenant": 67}
    assert one.virtual == {"rest": 80, "tenant": 67}
    assert one.site.unallocated == 120


def test_a_meter_without_data_is_named_and_nothing_is_judged():
    register = Register.of(
        [],
        [
            meter("grid", Role.BOUNDARY_IN),
            meter("shop", Role.SUB, "grid", "shop"),
            meter("lost", Role.SUB, "grid", "shop"),
        ],
        nodes=[node("shop")],
    )
    one = balances(register, flat(grid=100, shop=70))["electricity", "kWh"]
    shop = one.nodes[0]
    assert shop.known.without_data == ("lost",)
    assert shop.known.measured_share == 0.5
    assert one.site.known.measured_share == 1.0
    assert one.meters[0].without_data == ("lost",)
    assert not one.site.judged


def test_how_well_a_figure_is_known_is_told_by_the_meters_that_make_it():
    register = Register.of(
        [],
        [
            meter("grid", Role.BOUNDARY_IN),
            meter("shop", Role.SUB, "grid", "shop"),
            meter("line", Role.SUB, "shop", "shop"),
            meter("twin", Role.CHECK, "shop", "shop"),
        ],
        nodes=[node("shop")],
    )
    series, rows = columns(flat(grid=100, shop=70, line=50, twin=70))
    gaps = (rows.series == series["shop", "energy_import"]) & (rows.start_ms >= MOVE_MS)
    rows = replace(
        rows,
        measured_ms=np.where(gaps, 0, QUARTER_MS),
        estimated_ms=np.where(gaps, QUARTER_MS, 0),
        amount_held=np.where(gaps, 7, 1),
    )
    (one,) = balance(register, SITE, series, rows, START_MS, END_MS, END_MS)
    known = one.nodes[0].known  # of the shop's meter: the line is a part of it
    assert (known.measured_share, known.estimated_share, known.held) == (0.5, 0.5, 2 * 7 + 2)
    assert (one.site.known.measured_share, one.site.known.held) == (1.0, 4)
    until_ms = MOVE_MS + QUARTER_MS
    (early,) = balance(register, SITE, series, rows.take(rows.start_ms < until_ms),
                       START_MS, END_MS, until_ms)  # fmt: skip
    assert early.nodes[0].known.estimated_share == 1 / 3
