"""Commands to edges and their replies: the aggregator's side of `cmd` and `reply`.

A command is published once; whether it was heard, only its reply says. Kept in memory: an order is
for now, and what it changed the edge's state shows.
"""

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from aggregator.ingest.subscriber import Publish
from contract.command import Command, Reply, decode_reply, encode_command
from contract.topics import Address, MessageKind, topic

REMEMBERED = 1_000
"""Orders kept; beyond, the oldest leave."""


@dataclass(frozen=True, slots=True)
class Order:
    """One command, to whom, and its reply once it came."""

    address: Address
    command: Command
    sent_ms: int
    reply: Reply | None = None


class Orders:
    """Sends commands and keeps their replies. From any thread."""

    def __init__(self, publish: Publish, time_ms: Callable[[], int]) -> None:
        self._publish = publish
        self._time_ms = time_ms
        self._orders: OrderedDict[str, Order] = OrderedDict()
        self._guard = threading.Lock()

    def send(self, address: Address, name: str, args: Mapping[str, Any], expires_s: float) -> Order:
        """Publish a command; DecodeError (a ValueError) when the contract does not take it."""
        now_ms = self._time_ms()
        command = Command(
            f"c-{secrets.token_hex(8)}", name, now_ms + round(expires_s * 1000), dict(args)
        )
        payload = encode_command(command)
        order = Order(address, command, now_ms)
        with self._guard:
            self._orders[command.id] = order
            while len(self._orders) > REMEMBERED:
                self._orders.popitem(last=False)
        self._publish(topic(address, MessageKind.CMD), payload)
        return order

    def take_reply(self, address: Address, payload: bytes) -> None:
        """Keep a reply; one that answers no order of ours, or another edge's, is left aside."""
        reply = decode_reply(payload)
        with self._guard:
            order = self._orders.get(reply.id)
            if order is not None and order.address == address:
                self._orders[reply.id] = replace(order, reply=reply)

    def find(self, command: str) -> Order | None:
        """An order by the command's id."""
        with self._guard:
            return self._orders.get(command)
