"""Names of what is stored: measurements, tags and fields. Writer, API and dashboards use these.

Stored types, fixed for ever (a field never changes its type):

* amounts are int64 micro-units (1e-6 of the channel's unit), so that sums of intervals are exact;
* durations are int64 milliseconds, for the same reason;
* counts, flags and masks are int64;
* derived measures (coal, CO2, cost) are float64; *not determined* is absent (NULL), never 0.

Times are UTC milliseconds; an interval, hour, day or month is stamped with its START.
"""

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Level(StrEnum):
    """Length of a stored figure; the value is its measurement (InfluxDB) or table (embedded)."""

    INTERVAL = "interval"
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


# Measurements
READING = "reading"
RECEIPT = "receipt"
DIRTY = "dirty"
GRID = "grid"
VERDICT = "verdict"

# Tags: identities that never change
REGION = "region"
SITE = "site"
METER = "meter"
CHANNEL = "channel"
EDGE = "edge"
OUTBOX = "outbox"

READING_TAGS = (REGION, SITE, METER, EDGE, OUTBOX)
INTERVAL_TAGS = (REGION, SITE, METER, CHANNEL)
VERDICT_TAGS = (REGION, SITE, METER, CHANNEL)

# Fields of `reading`: one per catalogue channel, and these
SEQ = "seq"
QUALITY_SUFFIX = "_q"
"""`<channel>_q` is present only when the quality of that value is not good."""

# Fields of interval, hour, day and month
AMOUNT_FIELDS = ("amount", "amount_estimated", "amount_held")
"""int64 micro-units. `amount` is all that is booked; `amount_estimated` is the part of it that
was spread over a gap; `amount_held` awaits a decision and is not part of `amount`."""
DURATION_FIELDS = ("measured_ms", "estimated_ms", "missing_ms")
"""int64 milliseconds; together they are the length of the interval."""
COUNT_FIELDS = ("received", "expected", "flags")
"""int64: slots with a good reading, slots expected, bits of the ledger's verdicts."""
INTEGER_FIELDS = AMOUNT_FIELDS + DURATION_FIELDS + COUNT_FIELDS
MEASURE_FIELDS = ("kgce_calorific", "kgce_equivalent", "co2_kg", "cost_cny")
"""float64: kg standard coal (当量, 等价), kg CO2, CNY. Absent while not determined."""
DETERMINED = "determined"
"""int64, InfluxDB only: bit i is set when MEASURE_FIELDS[i] was determined by the latest write.
InfluxDB merges the fields of a point, so a measure that a recompute withdraws would live on;
whoever reads a measure there takes it as absent when its bit is clear."""

# Fields of `verdict`, at the time of the reading
VERDICT_FIELDS = ("rule", "value", "outcome")
"""Text, int64 micro-units of the display, text. In InfluxDB the number of the rule stands in the
nanoseconds, so that verdicts of several rules about one reading stand side by side; there an empty
`outcome` says that the verdict holds no longer: whoever reads leaves such points out."""

# Fields of the small measurements
RANGES = "ranges"
"""Of `receipt`: text `1-17,20-20`: sequence numbers settled for that outbox."""
OPEN = "open"
"""Of `dirty`: int64, 1 while the roll-ups of (site, day) must be redone, else 0."""
GRID_MS = "grid_ms"
"""Of `grid`: int64, length of the base interval, fixed when the store is created."""


# --------------------------------------------------------------- what is stored for dashboards


@dataclass(frozen=True, slots=True)
class Measurement:
    """One measurement: (tags, time) is the key of a point; every write carries every field.

    Fields are int64, float64 or text. Those in `optional` may be absent; in InfluxDB, which
    merges the fields of a point, bit i of `determined` says whether the latest write had
    `optional[i]`.
    """

    name: str
    tags: tuple[str, ...]
    integers: tuple[str, ...] = ()
    floats: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()

    @property
    def fields(self) -> tuple[str, ...]:
        """Return all fields but `determined`."""
        return self.integers + self.floats + self.texts


# More tags
NODE = "node"
CARRIER = "carrier"
UNIT = "unit"
"""Unit of the amounts before micro: kWh, m3, GJ, t; of `_energy` kgce."""
BUS = "bus"
KIND = "kind"
ENTITY = "entity"
INDICATOR = "indicator"
BOUND = "bound"
PERIOD = "period"
MEASURE = "measure"
FACTOR = "factor"
NAME_ZH = "name_zh"
NAME_EN = "name_en"

# Values of tags that are ours: they begin with _ and can never clash with an id
THE_REGION = "_region"
"""site: sum over the region's sites."""
TOTAL = "_total"
"""node: what the site consumes (roles)."""
UNALLOCATED = "_unallocated"
"""node: what is in no node: total - sum of the nodes at the top."""
GENERATION = "_generation"
"""node: own generation; part of the total."""
OUT = "_out"
"""node: what leaves the site (boundary_out); already taken from the total."""
ENERGY = "_energy"
"""carrier: comprehensive energy (综合能耗) over all carriers that count; amounts are 0."""
SEVERAL = "_entity"
"""site, of `plan`: an entity with more sites than one."""

NODE_TAGS = (REGION, SITE, NODE, CARRIER, UNIT)


def _of_nodes(level: Level) -> Measurement:
    return Measurement(
        f"node_{level}", NODE_TAGS, INTEGER_FIELDS, MEASURE_FIELDS, optional=MEASURE_FIELDS
    )


NODE_FIGURES = MappingProxyType({level: _of_nodes(level) for level in Level})
"""`node_interval` (only `_total`), `node_hour`, `node_day`, `node_month`.

Durations and counts are sums over the meters behind the figure, so measured_ms / (measured_ms +
estimated_ms + missing_ms) is its measured share. amount_estimated and amount_held are sums without
sign: what of all that was added or taken away is not sure."""

_BALANCE_TAGS = (REGION, SITE, NODE, METER, CARRIER, UNIT)
_BALANCE_FIELDS = ("parent", "children", "residual", "limit_ppm", "over", "without_data")
BALANCES = MappingProxyType(
    {
        level: Measurement(f"balance_{level}", _BALANCE_TAGS, _BALANCE_FIELDS, optional=("over",))
        for level in (Level.DAY, Level.MONTH)
    }
)
"""One row per node (meter empty; `_total`: the site) and per meter with others below it (node
empty). residual = parent - children [micro-units] is what nobody accounts for; over is 1 when it is
above limit_ppm of the parent, absent when it cannot be judged: nothing below, or a meter (their
number is without_data) lacks data."""


def choice(name: str, id_: str) -> str:
    """Return name and id as one text: a menu can show the one and take the other."""
    return f"{name} | {id_}"


NODE_INFO = Measurement(
    "node_info",
    (REGION, SITE, NODE),
    integers=("listed",),
    floats=("floor_area_m2", "heated_area_m2", "headcount", "latitude", "longitude"),
    texts=(
        "name_zh", "name_en", "choice_zh", "choice_en", "kind", "sector", "parent", "entity",
        "entity_zh", "key_unit", "two_highs", "climate_zone",
    ),
    optional=("floor_area_m2", "heated_area_m2", "headcount", "latitude", "longitude"),
)  # fmt: skip
"""At INFO_TIME_MS. The region (site `_region`, node `_total`), sites (node `_total`) and nodes;
kind: region, site, system or the sub-item; parent: the node above, of a top node `_total`.
listed: 0 once the register has it no longer. choice_*: `choice` of the name and the id of the
region, site or node."""
METER_INFO = Measurement(
    "meter_info",
    INTERVAL_TAGS[:3],
    integers=("listed", "multiplier", "calibration_due_ms"),
    texts=(
        "name_zh", "choice_zh", "carrier", "role", "parent", "node", "serial", "model",
        "accuracy_class", "edge",
    ),
    optional=("calibration_due_ms",),
)  # fmt: skip
"""At INFO_TIME_MS. name_zh is the register's note, else the id."""
INFO_TIME_MS = 0
NAMES = Measurement("names", (REGION, SITE, EDGE, NAME_ZH, NAME_EN), integers=("listed",))
"""At INFO_TIME_MS: names of sites (no edge) and of the site of each edge, as tags, so that a rule
can say them. A new name is a new point; of the old one `listed` is 0."""
FACTOR_INFO = Measurement(
    "factor_info",
    (REGION, SITE, METER, CARRIER, MEASURE, FACTOR),
    integers=(
        "listed", "verified", "used", "data_year", "valid_from_ms", "valid_to_ms",
        "provisional_from_ms",
    ),
    texts=("value", "unit", "source", "edition", "reason"),
    optional=("provisional_from_ms",),
)  # fmt: skip
"""At INFO_TIME_MS. Each row of the factor set for what is metered in a region (site `_region`; the
tag factor is its id), and each measured calorific value of a site (factor: the report; no meter:
of all its meters). used: 0 where it may not be applied, and the reason. valid_to_ms: `OPEN_MS`
while it is open-ended."""
OPEN_MS = 253_402_271_999_000
"""The end of the year 9999, Beijing: nothing ends then."""
PLAN = Measurement(
    "plan",
    (REGION, SITE, ENTITY, CARRIER, KIND, INDICATOR, BOUND, PERIOD),
    integers=("listed",),
    floats=("value",),
    texts=("unit", "level", "source"),
)
"""At the start of the year or month it is for; a quota at the time from which it holds.

kind budget | quota | target | production; indicator: the budget's measure (amount, tce_calorific,
tce_equivalent, t_co2), the quota's or target's indicator, the product; bound and the field level:
constraint, baseline or guide (约束, 基准, 引导) of a quota, at_most or at_least of a target, else
empty; period: year, month, or empty. carrier is `_energy` for what is said of all."""
PROOF = Measurement(
    "proof",
    INTERVAL_TAGS,
    integers=(
        "start", "end", "level_start", "level_end", "events", "booked", "held",
        "difference", "closes", "readings", "received", "expected", "measured_ms", "estimated_ms",
        "held_ms", "missing_ms",
    ),
    optional=("start", "end"),
)  # fmt: skip
"""One row per cumulative channel and settled Beijing day. start, end: the register as displayed;
level_*: times the multiplier; level_end - level_start + events = booked + held + difference, all
in micro-units. closes: 1 when difference is 0."""
PROOF_DAY = Measurement("proof_day", (REGION, SITE), integers=("due", "channels", "not_closing"))
"""Per site and settled day: due is not 0 while it must be proved (again); what came of it."""
TARIFF_DAY = Measurement(
    "tariff_day",
    (REGION, SITE, CARRIER, UNIT, PERIOD),
    integers=AMOUNT_FIELDS,
    floats=("cost_cny",),
    optional=("cost_cny",),
)
"""What a site bought on a Beijing day, by period of its tariff: sharp, peak, flat, valley,
deep_valley (尖峰平谷深谷); no period: while no tariff holds. Sums of the channels' stored figures:
together they are the cost of the day of node `_total`."""
RESTATEMENT = Measurement(
    "restatement",
    (*INTERVAL_TAGS, MEASURE),
    integers=("day_ms", "found_ms"),
    floats=("from_value", "to_value"),
    texts=("cause", "why", "details"),
    optional=("from_value", "to_value"),
)
"""A settled day's figure that changed (measure: the stored field; amounts in units, not micro,
durations in ms). Its time is the day's start plus the record's number in ms (modulo a day), so that
changes of one figure stand side by side."""
ARRIVAL_DAY = Measurement(
    "arrival_day", (REGION, SITE, EDGE), integers=("readings", "late", "longest_ms")
)
"""Readings of a Beijing day (by when they were read), how many of them came more than a base
interval after they were read, and the longest they took."""
COMPLETENESS_DAY = Measurement(
    "completeness_day",
    (REGION, SITE),
    integers=("received", "expected", "offline", "unpolled", "unread"),
    texts=("cause",),
)
"""Slots of the cumulative channels of a settled day; of those without a reading, how many fell into
times when the gateway was offline, when polls of its meters failed, and the rest. cause: which of
the three is the most, or `COMPLETE` where hardly anything is missing."""
COMPLETE = "complete"
UNREGISTERED = Measurement(
    "unregistered",
    (REGION, SITE, METER),
    integers=("listed", "channels", "first_ms", "last_ms"),
    texts=("edge",),
    optional=("first_ms", "last_ms"),
)
"""At INFO_TIME_MS. Meters with data that the register does not know; first and last cumulative
reading, and the edge that brought the first. listed: 0 once they are registered."""
TOLD_EVENT = Measurement(
    "told_event",
    (REGION, SITE, METER, CHANNEL, EDGE, KIND),
    integers=("listed", "told_ms"),
    texts=("author", "reason"),
)
"""At the time of what happened. What people said of meters and gateways (kind: exchange, reset,
correction, clock, accept ...); no meter or channel: it is said of all. listed: 0 once undone."""
QUARANTINE = Measurement(
    "quarantine",
    (REGION, SITE, EDGE),
    integers=("payloads", "seen", "first_ms", "last_ms"),
    texts=("reason",),
)
"""At INFO_TIME_MS. What the aggregator keeps aside, by who sent it (no tags: lines that the store
refused): distinct payloads, how often they came, and the reason of the last; 0 payloads once they
are gone."""
NODE_PLAN = Measurement("node_plan", (REGION, SITE), texts=("steps",))
"""At INFO_TIME_MS: which tree and roles the site's node figures were made with."""
EDGE_HISTORY = Measurement(
    "edge",
    (REGION, SITE, EDGE),
    integers=(
        "online", "started_ms", "outbox_depth", "outbox_batches", "outbox_bytes",
        "outbox_oldest_ms", "outbox_held_bytes", "outbox_limit_bytes", "dropped", "horizon_ms",
        "clock_synchronised", "clock_offset_ms", "certificate_expires_ms", "connects", "sent",
        "acked", "resent", "quarantined", "meters", "meters_ok", "polls", "failures", "timeouts",
    ),
    texts=("version", "clock_source", "boot"),
    optional=("started_ms", "horizon_ms", "clock_offset_ms", "certificate_expires_ms"),
)  # fmt: skip
"""When a state message came, by the aggregator's clock, at most one a minute unless online changes.
outbox_depth: readings not acked; outbox_oldest_ms: age of the oldest of them, 0 when there is
none. connects to quarantined (batches), polls to timeouts (over all meters): since the edge's
process began."""
BUS_HISTORY = Measurement(
    "bus",
    (REGION, SITE, EDGE, BUS),
    integers=("cycles", "missed_cycles", "cycle_ms"),
    texts=("kind",),
    optional=("cycle_ms",),
)
"""With `edge`. Since the edge's process began; cycle_ms: length of the last cycle."""

MEASUREMENTS = MappingProxyType(
    {
        one.name: one
        for one in (
            *NODE_FIGURES.values(),
            *BALANCES.values(),
            NODE_INFO,
            METER_INFO,
            NAMES,
            FACTOR_INFO,
            PLAN,
            PROOF,
            PROOF_DAY,
            TARIFF_DAY,
            RESTATEMENT,
            ARRIVAL_DAY,
            COMPLETENESS_DAY,
            UNREGISTERED,
            TOLD_EVENT,
            QUARANTINE,
            NODE_PLAN,
            EDGE_HISTORY,
            BUS_HISTORY,
        )
    }
)
"""By name."""
