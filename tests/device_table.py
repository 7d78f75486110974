"""The table of device maps in docs/devices.md: `python -m tests.device_table` writes it anew."""

import re
import sys
from decimal import Decimal
from pathlib import Path

from contract.channels import catalogue
from edge_agent.maps.base import DeviceMap
from edge_agent.maps.modbus import ModbusMap
from edge_agent.registers import devices_folder, load_device_map

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "devices.md"
FRAMES = ROOT / "tests" / "frames"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
EVIDENCE = {
    "capture": "captured",
    "vendor-example": "maker's example",
    "published": "published example",
    "protocol-example": "maker's example",
    "by-hand": "by hand",
}
"""Name of a frame file -> what it is, the best first."""


def table() -> str:
    """The table, in Markdown."""
    rows = [
        (
            "| model | product | protocol | serves | side | main: step, wraps at, rating | order "
            "| frame |"
        ),
        "|---|---|---|---|---|---|---|---|",
    ]
    maps = [load_device_map(path.stem) for path in sorted(devices_folder().glob("*.toml"))]
    maps = [device for device in maps if device.protocol != "manual"]
    rows += map(_row, maps)
    rows += ["", "Sources, as in the files:", ""]
    rows += (f"- `{device.model}`: {device.source}." for device in maps)
    return "\n".join(rows)


def _row(device: DeviceMap) -> str:
    main = next(register for register in device.registers if register.cumulative)
    unit = catalogue()[main.channel].unit
    wraps = "not stated" if main.modulus is None else f"{main.modulus:f}"
    order = "–"
    if isinstance(device, ModbusMap):
        order = ", ".join(sorted({register.word_order for register in device.registers}))
    kinds = {path.stem for path in (FRAMES / device.model).glob("*.toml")}
    frame = next((text for name, text in EVIDENCE.items() if name in kinds), "none")
    cells = (
        f"`{device.model}`",
        f"{device.maker}: {device.product}",
        device.protocol,
        device.carrier.replace("_", " "),
        device.side,
        f"{main.channel}: {_plain(main.step)} {unit}, {wraps}, {_plain(device.rating) or '–'}",
        order,
        frame,
    )
    return f"| {' | '.join(cells)} |"


def _plain(step: Decimal | None) -> str:
    return "" if step is None else f"{step.normalize():f}"


def well_sourced() -> set[str]:
    """Models with a frame from a maker's document, a publication or a capture."""
    return {path.parent.name for path in FRAMES.glob("*/*.toml") if path.stem != "by-hand"}


def page_with(new: str) -> str:
    """The page with its table replaced."""
    text = PAGE.read_text(encoding="utf-8")
    return re.sub(f"{BEGIN}.*{END}", lambda _: f"{BEGIN}\n{new}\n{END}", text, flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(page_with(table()), encoding="utf-8")
    sys.exit(0)
