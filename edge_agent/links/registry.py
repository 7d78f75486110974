"""Which link serves which kind of bus. A new protocol is one more file and one more line."""

from collections.abc import Callable, Mapping

from edge_agent.links.base import MeterLink
from edge_agent.links.modbus import ModbusTcpLink

LinkFactory = Callable[[str, int, float], MeterLink]
"""Makes a link from host, port and timeout [s]."""


def link_kinds() -> Mapping[str, LinkFactory]:
    """Return the links by the ``kind`` of a bus in the configuration."""
    return {"modbus-tcp": ModbusTcpLink}
