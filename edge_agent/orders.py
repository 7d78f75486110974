"""The commands' handlers: what each does with the parts of a running agent."""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from contract.command import Command
from edge_agent.commands import Arguments, Handler
from edge_agent.config import EdgeConfig, parse_config
from edge_agent.outbox.base import Outbox
from edge_agent.trial import TRIAL_S, Trials, changed_from_afar, write_whole

_POLL_TABLE = re.compile(r"(?ms)^(\[poll\][^\n]*\n)(.*?)(?=^\[|\Z)")
_PERIOD_LINE = re.compile(r"(?m)^[ \t]*period_s[ \t]*=[^#\n]*")


class Bus(Protocol):
    """What orders do with a poller."""

    id: str

    async def poll_once(self, time_ms: int | None = None) -> int:
        """Poll every meter once; returns the readings."""
        ...

    def fill_gap(self, meter_id: str, after_ms: int, before_ms: int) -> bool | None:
        """Read a meter's frozen registers with the next polls; None when it is not on this bus."""
        ...

    def set_period(self, period_ms: int) -> None:
        """Poll on another grid."""
        ...


@dataclass(slots=True)
class Orders:
    """Bound to one running agent. `check` raises ConfigError for what no agent could run with."""

    config: EdgeConfig
    file: Path | None
    buses: Sequence[Bus]
    outbox: Outbox
    commit: Callable[[], object]
    trials: Trials
    check: Callable[[EdgeConfig], object]
    begin_anew: Callable[[], None]

    def handlers(self) -> Mapping[str, Handler]:
        """The handlers by the name of the command."""
        return {
            "poll-now": self.poll_now,
            "resend": self.resend,
            "read-freezes": self.read_freezes,
            "set-interval": self.set_interval,
            "push-config": self.push_config,
            "restart": self.restart,
        }

    async def poll_now(self, command: Command) -> Mapping[str, Any]:
        """Poll one bus or all, and commit."""
        chosen = Arguments(command.args, "bus").optional_text("bus")
        buses = [bus for bus in self.buses if chosen in (None, bus.id)]
        if not buses:
            raise ValueError(f"no bus {chosen!r}")
        first = self.outbox.next_seq
        readings = sum([await bus.poll_once() for bus in buses])
        self.commit()
        return {"readings": readings, "first_seq": first, "next_seq": self.outbox.next_seq}

    async def resend(self, command: Command) -> Mapping[str, Any]:
        """Send again what is held of a time."""
        batches, readings = self.outbox.reopen(*Arguments(command.args, "from_ms", "to_ms").span())
        self.commit()
        return {"batches": batches, "readings": readings}

    async def read_freezes(self, command: Command) -> Mapping[str, Any]:
        """Fill a gap from the meter's own memory."""
        given = Arguments(command.args, "meter", "from_ms", "to_ms")
        meter, span = given.text("meter"), given.span()
        for bus in self.buses:
            filling = bus.fill_gap(meter, *span)
            if filling is not None:
                if not filling:
                    raise ValueError(f"{meter}: keeps no freezes that its map reads")
                return {"filling": True}
        raise ValueError(f"no meter {meter!r}")

    async def set_interval(self, command: Command) -> Mapping[str, Any]:
        """Poll in another rhythm, also after the next start."""
        period_s = Arguments(command.args, "period_s").number("period_s", 0.1, 3600)
        file = self._own_file()
        now = parse_config(file.read_bytes(), file)
        wanted = dataclasses.replace(now, poll=dataclasses.replace(now.poll, period_s=period_s))
        text = _with_period(file.read_text("utf-8"), period_s)
        if parse_config(text.encode(), file) != wanted:
            raise ValueError("the configuration is written in another way: use push-config")
        write_whole(file, text.encode())
        for bus in self.buses:
            bus.set_period(wanted.poll.period_ms)
        return {"period_s": period_s}

    async def push_config(self, command: Command) -> None:
        """Put a configuration on trial; the reply follows when it is kept or taken back."""
        given = Arguments(command.args, "toml", "trial_s")
        raw = given.long_text("toml").encode()
        trial_s = given.number("trial_s", 5, 900, TRIAL_S)
        file = self._own_file()
        pushed = changed_from_afar(raw, file, self.config)
        self.check(pushed)
        self.trials.start(raw, command.id, trial_s)
        self.begin_anew()

    async def restart(self, command: Command) -> Mapping[str, Any]:
        """End in order and begin anew, once the reply has left."""
        Arguments(command.args)
        return {}

    def _own_file(self) -> Path:
        if self.file is None:
            raise ValueError("this agent runs without a configuration file")
        return self.file


def _with_period(text: str, period_s: float) -> str:
    """Return the configuration with another poll period; comments stay."""
    line = f"period_s = {period_s:g}"
    table = _POLL_TABLE.search(text)
    if table is None:
        return f"{text.rstrip()}\n\n[poll]\n{line}\n"
    body = table.group(2)
    if _PERIOD_LINE.search(body):
        body = _PERIOD_LINE.sub(f"{line} ", body, count=1).replace(f"{line} \n", f"{line}\n")
    else:
        body = f"{line}\n{body}"
    return text[: table.start()] + table.group(1) + body + text[table.end() :]
