"""Where a probe looks and what it writes into: one master on a wire, one configuration."""

import ipaddress
import os
import socket
from collections.abc import Iterable
from pathlib import Path

from edge_agent.config import BusConfig, EdgeConfig, parse_config
from edge_agent.errors import ConfigError, LinkError, Problem
from edge_agent.registers import load_device_maps

_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
_ESTABLISHED = "01"
_SAMPLE = """
[[bus]]
id = "{name}"
host = "127.0.0.1"
[[bus.meter]]
id = "{name}"
model = "eastron-sdm630"
"""
_NAME = "no-such-bus-yet"


class EdgeFile:
    """An edge's configuration that may have no bus yet."""

    def __init__(self, file: Path) -> None:
        """ConfigError when anything but the lack of buses is wrong with it."""
        self.file = file
        try:
            self._text = file.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "is not UTF-8"
            raise ConfigError(str(file), [Problem("", f"cannot read the file: {reason}")]) from None
        # With a bus of its own: a fresh installation has none, which is why one looks for it.
        self._config = self._parse(_SAMPLE.format(name=_NAME))

    @property
    def devices_dir(self) -> Path | None:
        """Folder of the site's own device maps."""
        return self._config.edge.devices_dir

    @property
    def ids(self) -> set[str]:
        """Ids of buses and meters that are in use."""
        ids = {bus.id for bus in self._config.buses}
        ids.update(meter.id for bus in self._config.buses for meter in bus.meters)
        return ids - {_NAME}

    def refuse_known(self, place: BusConfig) -> None:
        """ConfigError when the file reads that bus already."""
        for at, bus in enumerate(self._config.buses):
            hosts = {(bus.host, bus.port)} | {
                (meter.host or bus.host, meter.port or bus.port) for meter in bus.meters
            }
            same_port = place.device and bus.device and _same(place.device, bus.device)
            if same_port or (place.host and (place.host, place.port) in hosts):
                reason = "reads this already: take it out, or look without --config"
                raise ConfigError(str(self.file), [Problem(f"bus[{at}]", reason)])

    def add(self, text: str) -> None:
        """Append buses; ConfigError, and nothing written, when the whole would not be accepted."""
        text = f"\n{text}"
        if "[[bus]]" in text:
            config = self._parse(text)
            models = [meter.model for bus in config.buses for meter in bus.meters]
            load_device_maps(models, config.edge.devices_dir)
        with self.file.open("a", encoding="utf-8") as file:  # keeps owner and mode
            file.write(text)
            file.flush()
            os.fsync(file.fileno())

    def _parse(self, more: str) -> EdgeConfig:
        return parse_config(f"{self._text}\n{more}".encode(), self.file)


def _same(one: str, other: str) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def refuse_second_master(host: str, port: int) -> None:
    """LinkError when a process of this machine is connected there: two masters disturb each other.

    A serial port needs no such look: whoever opens it has it alone.
    """
    lines: list[str] = []
    for table in _TABLES:
        try:
            lines += Path(table).read_text("ascii").splitlines()
        except OSError:
            continue
    try:
        addresses = {str(row[4][0]) for row in socket.getaddrinfo(host, port)}
    except OSError:
        return  # that it has no address is told when it is opened
    if any((address, port) in connected(lines) for address in addresses):
        reason = "a process of this machine is connected: stop the agent first"
        raise LinkError(f"{host}:{port}", reason)


def connected(lines: Iterable[str]) -> set[tuple[str, int]]:
    """Address and port of the other side of each connection in the kernel's tables."""
    found = set()
    for line in lines:
        words = line.split()
        if len(words) > 3 and words[3] == _ESTABLISHED and ":" in words[2]:
            digits, _, port = words[2].partition(":")
            raw = bytes.fromhex(digits)  # words of 32 bits, as this processor keeps them
            ordered = b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
            address = ipaddress.ip_address(ordered)
            mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
            found.add((str(mapped or address), int(port, 16)))
    return found
