"""What was found, as words for a person and as buses of an edge's configuration. Pure."""

import json
from collections.abc import Iterable, Iterator, Sequence

from contract.channels import catalogue
from edge_agent.config import BusConfig
from edge_agent.probe.physics import Fit
from edge_agent.probe.plan import Setting
from edge_agent.probe.survey import Verdict

SHOWN_REASONS = 8
SHOWN_RIVALS = 3

_PREFIX = {
    "electricity": "em", "natural_gas": "gm", "water": "wm", "heat": "hm", "steam": "sm",
    "raw_coal": "cm",
}  # fmt: skip


def report(verdicts: Iterable[Verdict]) -> Iterator[str]:
    """Lines that say what fits each meter, and why."""
    for verdict in verdicts:
        yield f"{verdict.setting}, {verdict.found.protocol}, {verdict.found}:"
        best = verdict.best
        if best is not None:
            yield f"  compare with the display: {_counts(best)}"
        else:
            yield "  no device map fits; a map of your own: docs/devices.md"
        shown = [fit for fit in verdict.fits[: 1 + SHOWN_RIVALS] if fit is best or _tried(fit)]
        for place, fit in enumerate(shown, start=1):
            yield f"  {place}. {fit.device.model} ({_product(fit)}): {fit.score:+d}"
            # Of a rival, what speaks against it is what tells.
            reasons = fit.reasons if place == 1 else sorted(fit.reasons, key=lambda r: r.weight)
            for reason in reasons[: SHOWN_REASONS if place == 1 else 2]:
                yield f"     {reason.weight:+3d} {reason.text}"


def _product(fit: Fit) -> str:
    maker, product = fit.device.maker, fit.device.product
    return product if maker.startswith("any") else f"{maker} {product}"


def _counts(fit: Fit) -> str:
    return ", ".join(
        f"{name} {value:.10g} {catalogue()[name].unit}" for name, value in fit.counts.items()
    )


def _tried(fit: Fit) -> bool:
    """Whether a map is worth showing: half of its values could be read."""
    return 2 * fit.held >= len(fit.device.registers)


def buses(bus: BusConfig, verdicts: Sequence[Verdict], taken: Iterable[str] = ()) -> Iterator[str]:
    """The TOML of the buses that read what was found.

    Args:
        bus: where it is.
        verdicts: what was found on it.
        taken: ids of meters and buses that are in use already.
    """
    ids = set(taken)
    for setting in dict.fromkeys(verdict.setting for verdict in verdicts):
        here = [verdict for verdict in verdicts if verdict.setting == setting]
        unknown = [verdict for verdict in here if verdict.best is None]
        if len(here) > len(unknown):
            yield from _bus(bus, setting, _unused("bus", ids))
        for verdict in here:
            if verdict.best is not None:
                yield from _meter(verdict, verdict.best, ids)
        for verdict in unknown:
            yield f"# {setting}, {verdict.found.protocol}, {verdict.found}: no device map fits."
            rivals = [fit.device.model for fit in verdict.fits[:SHOWN_RIVALS] if fit.score > 0]
            if rivals:
                yield f"# Nothing speaks against {', '.join(rivals)}: compare with the display."


def _bus(bus: BusConfig, setting: Setting, name: str) -> Iterator[str]:
    yield from ("[[bus]]", f'id = "{name}"', f'kind = "{setting.kind}"')
    if setting.kind == "serial":
        yield f"device = {json.dumps(bus.device, ensure_ascii=False)}"
        yield f"baud = {setting.baud}"
        yield f'parity = "{setting.parity}"'
    else:
        yield f"host = {json.dumps(bus.host, ensure_ascii=False)}"
        yield f"port = {bus.port}"
    yield ""


def _meter(verdict: Verdict, best: Fit, ids: set[str]) -> Iterator[str]:
    device, found = best.device, verdict.found
    tail = found.address[-6:] if len(found.address) in (12, 14) else found.address[:8]
    name = _unused(f"{_PREFIX.get(device.carrier, 'm')}-{tail or found.unit}", ids)
    why = "; ".join(r.text for r in best.reasons[:3] if r.weight > 0)
    yield f"# {_product(best)}: {why}."
    yield f"# It showed {_counts(best)}."
    if verdict.equals:
        yield f"# {', '.join(verdict.equals)} fits as well: the plate decides."
    yield from ("[[bus.meter]]", f'id = "{name}"', f'model = "{device.model}"')
    if found.protocol == "modbus":
        yield f"unit = {found.unit}"
    else:
        yield f'address = "{found.address}"'
    yield ""


def _unused(name: str, ids: set[str]) -> str:
    number = 1
    chosen = f"{name}{number}" if name == "bus" else name.lower()
    while chosen in ids:
        number += 1
        chosen = f"{name}{number}" if name == "bus" else f"{name}-{number}".lower()
    ids.add(chosen)
    return chosen
