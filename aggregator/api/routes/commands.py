"""Commands to edges: send one, look for its reply."""

from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import Field

from aggregator.api.errors import ApiError
from aggregator.api.reader import LedgerReader
from aggregator.api.shapes import Id, Shape, find_site
from aggregator.orders import Order, Orders
from contract.topics import Address
from contract.wire import DecodeError


class CommandBody(Shape):
    """One command."""

    name: Id
    args: dict[str, Any] = Field(default_factory=dict)
    expires_s: Annotated[float, Field(ge=1, le=86_400)] = 60.0
    """The edge drops it after this."""


class ReplyRow(Shape):
    """What the edge answered."""

    time_ms: int
    ok: bool
    result: dict[str, Any]
    error: str


class CommandAnswer(Shape):
    """A command that was sent; `reply` is null until the edge answers."""

    id: str
    region: str
    site: str
    edge: str
    name: str
    sent_ms: int
    expires_ms: int
    reply: ReplyRow | None


def _answer(order: Order) -> CommandAnswer:
    reply = order.reply
    return CommandAnswer(
        id=order.command.id,
        region=order.address.region,
        site=order.address.site,
        edge=order.address.edge,
        name=order.command.name,
        sent_ms=order.sent_ms,
        expires_ms=order.command.expires_ms,
        reply=None
        if reply is None
        else ReplyRow(
            time_ms=reply.time_ms, ok=reply.ok, result=dict(reply.result), error=reply.error
        ),
    )


def routes(reader: LedgerReader, orders: Orders) -> APIRouter:
    """The resource."""
    router = APIRouter(tags=["edges"])

    @router.post("/edges/{site}/{edge}/commands", status_code=202)
    def send(
        site: Annotated[Id, Path()], edge: Annotated[Id, Path()], body: CommandBody
    ) -> CommandAnswer:
        """Send a command to an edge that has said its state; docs/formats/wire.md names them."""
        address = _find(reader, site, edge)
        try:
            return _answer(orders.send(address, body.name, body.args, body.expires_s))
        except DecodeError as error:
            raise ApiError(422, error.where, error.reason) from None

    @router.get("/commands/{command}")
    def find(command: Annotated[Id, Path()]) -> CommandAnswer:
        """A command sent by this aggregator since it started, with its reply."""
        order = orders.find(command)
        if order is None or order.address not in reader.live.states():
            raise ApiError(404, "command", f"no command {command}")
        return _answer(order)

    return router


def _find(reader: LedgerReader, site: str, edge: str) -> Address:
    address = Address(find_site(reader, site).region, site, edge)
    if address not in reader.live.states():  # what it said in another region it does not hear now
        raise ApiError(404, "edge", f"no state of {site}/{edge} in {address.region} is known")
    return address
