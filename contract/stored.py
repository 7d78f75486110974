"""Names of what is stored: measurements, tags and fields. Writer, API and dashboards use these.

Stored types, fixed for ever (a field never changes its type):

* amounts are int64 micro-units (1e-6 of the channel's unit), so that sums of intervals are exact;
* durations are int64 milliseconds, for the same reason;
* counts, flags and masks are int64;
* derived measures (coal, CO2, cost) are float64; *not determined* is absent (NULL), never 0.

Times are UTC milliseconds; an interval, hour, day or month is stamped with its START.
"""

from enum import StrEnum


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
RECEIPT_TAGS = (REGION, SITE, EDGE, OUTBOX)
DIRTY_TAGS = (REGION, SITE)

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
INTERVAL_FIELDS = INTEGER_FIELDS + MEASURE_FIELDS

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
