"""Colours: the same one means the same thing on every dashboard."""

from collections.abc import Mapping
from types import MappingProxyType

CARRIERS: Mapping[str, str] = MappingProxyType(
    {
        "electricity": "#4C9AFF",
        "natural_gas": "#FF8B3D",
        "raw_coal": "#8A817C",
        "washed_coal": "#A39B95",
        "coke": "#6B645F",
        "fuel_oil": "#B08968",
        "diesel": "#C9A227",
        "gasoline": "#D9B44A",
        "lpg": "#F4A6A6",
        "lng": "#F7C59F",
        "heat": "#E879A6",
        "steam": "#C77DFF",
        "water": "#2EC4D6",
        "compressed_air": "#9AD1D4",
    }
)
GENERATION = "#9BD93C"
OUT = "#5C6B8A"
ENERGY = "#7C8CFF"
CARBON = "#B0BEC5"
COST = "#F2CC60"

GOOD = "#2FA66A"
WATCH = "#E8B923"
BAD = "#E5484D"
UNKNOWN = "#7A8290"

QUALITY: Mapping[str, str] = MappingProxyType(
    {"measured": GOOD, "estimated": WATCH, "held": "#A06CD5", "missing": UNKNOWN}
)
CAUSES: Mapping[str, str] = MappingProxyType(
    {"complete": GOOD, "offline": BAD, "unpolled": "#FF8B3D", "unread": UNKNOWN}
)
"""What missing readings are put down to."""
SUB_ITEMS: Mapping[str, str] = MappingProxyType(
    {
        "lighting_sockets": "#FFD166",
        "air_conditioning": "#4CC9F0",
        "motive_power": "#80B918",
        "special": "#F28482",
    }
)
TARIFFS: Mapping[str, str] = MappingProxyType(
    {
        "sharp": "#D7263D",
        "peak": "#F46036",
        "flat": "#F2CC60",
        "valley": "#3F88C5",
        "deep_valley": "#1B4B82",
    }
)
LEVELS: Mapping[str, str] = MappingProxyType({"constraint": BAD, "baseline": WATCH, "guide": GOOD})
SCOPES: Mapping[str, str] = MappingProxyType({"scope1": "#FF8B3D", "scope2": "#4C9AFF"})
LAST_YEAR = UNKNOWN
