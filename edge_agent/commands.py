"""What an edge does when it is told to, and what it refuses.

Only the aggregator may publish on an edge's `cmd` topic (the broker's access list). On top of
that: an expired command, one whose time cannot be judged, a name or an argument that is not known,
a value out of bounds is refused as a whole; the same id is carried out once, and its reply is given
again. Where readings are stored, how much of them, who this edge is and which secret files it uses
cannot be changed from afar.

==============  ================================================================================
poll-now        {bus?}                  poll at once, commit; {readings, first_seq, next_seq}
resend          {from_ms, to_ms}        send what is held of this time again; {batches, readings}
read-freezes    {meter, from_ms, to_ms} read what the meter froze, poll by poll; {filling}
set-interval    {period_s}              poll period from now on, kept in the configuration
push-config     {toml, trial_s?}        replace the configuration; tried, kept or taken back
restart         {}                      end in order and begin anew
==============  ================================================================================
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from contract.command import Command, Reply
from contract.wire import DecodeError, as_integer, as_number, as_text, only
from edge_agent.clock import Clock
from edge_agent.errors import EdgeError
from edge_agent.events import CommandDone, CommandRefused, Emit

REMEMBERED = 256
"""Ids whose replies are kept."""

Handler = Callable[[Command], Awaitable[Mapping[str, Any] | None]]
"""Carries out one command; None = the reply comes later. EdgeError, ValueError refuse it."""


class Commands:
    """Judges commands, carries them out one at a time per id, remembers the replies."""

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        clock: Clock,
        emit: Emit,
        *,
        knows_time: Callable[[], bool] = lambda: True,
        after: Mapping[str, Callable[[], None]] | None = None,
        due: Sequence[Reply] = (),
    ) -> None:
        """`after` is done when the reply to a command has left; `due` are replies still owed."""
        self._handlers = handlers
        self._clock = clock
        self._emit = emit
        self._knows_time = knows_time
        self._after = after or {}
        self._due = list(due)
        self._replies: OrderedDict[str, Reply | None] = OrderedDict()

    async def carry_out(self, command: Command) -> Reply | None:
        """Return the reply; None when it comes later."""
        if command.id in self._replies:
            return self._replies[command.id]
        self._replies[command.id] = None  # under way: a double is not carried out beside it
        while len(self._replies) > REMEMBERED:
            self._replies.popitem(last=False)
        reply = await self._judge(command)
        self._replies[command.id] = reply
        if reply is not None:
            event = CommandDone(command.name, command.id)
            self._emit(event if reply.ok else CommandRefused(command.name, reply.error))
        return reply

    def replied(self, command: Command) -> None:
        """The reply has left."""
        reply = self._replies.get(command.id)
        if reply is not None and reply.ok and command.name in self._after:
            self._after[command.name]()

    def due_replies(self) -> Sequence[Reply]:
        """Take what is owed since before."""
        due, self._due = self._due, []
        return due

    def owe(self, reply: Reply) -> None:
        """Let a reply leave with the next state."""
        self._due.append(reply)

    async def _judge(self, command: Command) -> Reply | None:
        handler = self._handlers.get(command.name)
        if handler is None:
            return self._refusal(command, "unknown command")
        if not self._knows_time():
            return self._refusal(command, "this edge does not know the time yet")
        if command.expires_ms <= self._clock.time_ms():
            return self._refusal(command, "expired")
        try:
            result = await handler(command)
        except (EdgeError, ValueError) as error:
            return self._refusal(command, str(error))
        if result is None:
            return None
        return Reply(command.id, self._clock.time_ms(), ok=True, result=result)

    def _refusal(self, command: Command, reason: str) -> Reply:
        line = " ".join(reason.split())[:1000]
        return Reply(command.id, self._clock.time_ms(), ok=False, error=line)


class Arguments:
    """Takes arguments out of a command; whatever is left over or does not fit refuses it."""

    def __init__(self, args: Mapping[str, Any], *names: str) -> None:
        only(args, names, "args")
        self._args = args

    def span(self) -> tuple[int, int]:
        """`from_ms` and `to_ms`, both included [ms UTC]."""
        first = as_integer(self._args.get("from_ms"), "args.from_ms")
        last = as_integer(self._args.get("to_ms"), "args.to_ms")
        if last < first:
            raise DecodeError("args.to_ms", "is before from_ms")
        return first, last

    def text(self, name: str, longest: int = 200) -> str:
        """A text."""
        return as_text(self._args.get(name), f"args.{name}", longest)

    def optional_text(self, name: str) -> str | None:
        """A text, None when it is not given."""
        return self.text(name) if name in self._args else None

    def long_text(self, name: str) -> str:
        """A text of several lines."""
        value = self._args.get(name)
        if not isinstance(value, str):
            raise DecodeError(f"args.{name}", "is not a string")
        return value

    def number(self, name: str, low: float, high: float, default: float | None = None) -> float:
        """A number within bounds."""
        if name not in self._args and default is not None:
            return default
        value = as_number(self._args.get(name), f"args.{name}")
        if not low <= value <= high:
            raise DecodeError(f"args.{name}", f"{value:g} is not within {low:g} to {high:g}")
        return value
