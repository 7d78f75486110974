"""The one place that says who may ask what, and that notes who wrote.

`RULES` names the right that each path asks for. `Guard` stands before the whole application: a path
without a rule is not there (404), whatever the routers hold. What a visitor sees of the sites is
left to `aggregator.api.scoped`, which reads it from `visitor`.
"""

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from types import MappingProxyType

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aggregator.access import NOBODY, OPEN, WRITES, Access, Right
from aggregator.api.errors import ApiError, error_response
from aggregator.store.base import StoreError
from aggregator.tokens import Grant, Tokens

RULES: Mapping[tuple[str, str], Right] = MappingProxyType(
    {
        ("GET", "/"): Right.PUBLIC,
        ("GET", "/docs"): Right.PUBLIC,
        ("GET", "/console/{name}"): Right.PUBLIC,
        ("GET", "/openapi.json"): Right.PUBLIC,
        ("GET", "/metrics"): Right.OPERATE,
        ("GET", "/api/v1/health"): Right.PUBLIC,
        ("GET", "/api/v1/sites"): Right.READ,
        ("GET", "/api/v1/meters"): Right.READ,
        ("GET", "/api/v1/tree"): Right.READ,
        ("GET", "/api/v1/intervals"): Right.READ,
        ("GET", "/api/v1/consumption"): Right.READ,
        ("GET", "/api/v1/balance"): Right.READ,
        ("GET", "/api/v1/cost"): Right.READ,
        ("GET", "/api/v1/factors"): Right.READ,
        ("GET", "/api/v1/demand"): Right.READ,
        ("GET", "/api/v1/edges"): Right.READ,
        ("GET", "/api/v1/live"): Right.READ,
        ("GET", "/api/v1/regions"): Right.READ,
        ("GET", "/api/v1/load"): Right.READ,
        ("GET", "/api/v1/plans"): Right.READ,
        ("GET", "/api/v1/proof"): Right.READ,
        ("GET", "/api/v1/proposals"): Right.READ,
        ("GET", "/api/v1/unit-consumption"): Right.READ,
        ("GET", "/api/v1/verdicts"): Right.READ,
        ("GET", "/api/v1/rules"): Right.READ,
        ("GET", "/api/v1/closings"): Right.READ,
        ("GET", "/api/v1/closings/{region}/{month}"): Right.READ,
        ("GET", "/api/v1/restatements"): Right.READ,
        ("GET", "/api/v1/events"): Right.READ,
        ("GET", "/api/v1/commands/{command}"): Right.OPERATE,
        ("POST", "/api/v1/edges/{site}/{edge}/commands"): Right.COMMAND,
        ("POST", "/api/v1/events"): Right.DECIDE,
        ("POST", "/api/v1/events/{id}/undo"): Right.DECIDE,
    }
)
"""(method, path as it is routed) -> right. What is in `WRITES` is noted."""

MAX_BODY_BYTES = 65_536
"""Largest body of a request that writes."""

visitor: ContextVar[Access] = ContextVar("visitor", default=NOBODY)
"""Who asks, in the thread or task that answers. Nobody, unless the guard says otherwise."""


@dataclass(frozen=True, slots=True)
class Doorkeeper:
    """What the guard needs to know of the outside.

    tokens: None where there is no register, in tests: nobody writes.
    open_reading: only this host can reach the API, so that all may read until a token is made.
    """

    tokens: Tokens | None = None
    open_reading: bool = True
    now_ms: Callable[[], int] = lambda: 0

    def admit(self, authorization: str, right: Right) -> tuple[Access, Grant | None]:
        """Return what a visitor with such a header may see, and its token; ApiError 401 or 403."""
        none_made = self.tokens is None or not self.tokens.ever_made()
        if none_made or self.tokens is None:
            access, grant = OPEN if self.open_reading else NOBODY, None
            if right in WRITES:
                raise ApiError(403, "", "the API is read-only: no token was made, `nenghao tokens`")
        else:
            grant = self._grant(self.tokens, authorization, right)
            access = NOBODY if grant is None else grant.access
        if right in access.rights:
            return access, grant
        if grant is None:
            raise ApiError(401, "authorization", "a token is needed: 'Bearer' and the token")
        raise ApiError(403, "", f"a token of role {grant.role} does not give this: {right}")

    def _grant(self, tokens: Tokens, authorization: str, right: Right) -> Grant | None:
        """Return the token of a header; None without a header, and for what is public anyway."""
        if not authorization:
            return None
        grant = tokens.find(_secret(authorization, basic=right not in WRITES))
        if grant is not None and grant.holds(self.now_ms()):
            return grant
        if right is Right.PUBLIC:
            return None
        raise ApiError(401, "authorization", "no such token, or it holds no longer")


def _secret(authorization: str, *, basic: bool) -> str:
    """Return the token in a header, "" for none.

    Browsers ask for a name and a password and send them as Basic, any name with the token as
    password. They also send them unasked when a foreign page makes them, so nobody writes with it.
    """
    scheme, _, given = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return given.strip()
    if scheme.lower() == "basic" and basic:
        try:
            return base64.b64decode(given, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return ""


class Guard:
    """ASGI middleware: finds the rule, knows the visitor, refuses or lets pass, notes writing."""

    def __init__(
        self,
        app: ASGIApp,
        keeper: Doorkeeper,
        rules: Mapping[tuple[str, str], Right] = RULES,
    ) -> None:
        self._app = app
        self._keeper = keeper
        self._paths = [
            (compile_path(path)[0], {m: r for (m, p), r in rules.items() if p == path})
            for path in dict.fromkeys(path for _, path in rules)
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it in the API's one shape."""
        if scope["type"] != "http":
            if scope["type"] != "lifespan":
                raise RuntimeError(f"{scope['type']} is not served")
            await self._app(scope, receive, send)
            return
        try:
            right = self._right(scope)
            given = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
            access, grant = await run_in_threadpool(self._keeper.admit, given, right)
            before = visitor.set(access)
            try:
                if right in WRITES and grant is not None and self._keeper.tokens is not None:
                    await self._noted(self._keeper.tokens, grant, scope, receive, send)
                else:
                    await self._app(scope, receive, send)
            finally:
                visitor.reset(before)
        except ApiError as error:
            await _refusal(error, scope)(scope, receive, send)
        except StoreError as error:
            reason = f"tokens cannot be looked up: {error}"
            await error_response(503, "", reason)(scope, receive, send)

    def _right(self, scope: Scope) -> Right:
        path = scope["path"]
        root = scope.get("root_path", "").rstrip("/")
        if root and path.startswith(f"{root}/"):
            path = path[len(root) :]
        for pattern, rights in self._paths:
            if pattern.match(path):
                method = "GET" if scope["method"] == "HEAD" else scope["method"]
                if method not in rights:
                    raise _MethodError(rights)
                return rights[method]
        raise ApiError(404, "", "Not Found")

    async def _noted(
        self, tokens: Tokens, grant: Grant, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Note what is to be written before it is, and how it ended; not noted, not written."""
        body, now_ms = await _body(receive), self._keeper.now_ms()
        path = scope["path"]
        id_ = await run_in_threadpool(tokens.begin, grant, scope["method"], path, body, now_ms)
        given, status = False, 500

        async def again() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, again, watched)
        finally:
            await run_in_threadpool(tokens.end, id_, status)


class _MethodError(ApiError):
    def __init__(self, allowed: Sequence[str] | Mapping[str, Right]) -> None:
        super().__init__(405, "", "Method Not Allowed")
        self.allowed = ", ".join(sorted(allowed))


async def _body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise ApiError(413, "", f"at most {MAX_BODY_BYTES} bytes are taken")
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return bytes(body)


def _refusal(error: ApiError, scope: Scope) -> Response:
    response = error_response(error.status, error.parameter, error.reason)
    if isinstance(error, _MethodError):
        response.headers["Allow"] = error.allowed
    if error.status == 401 and scope["method"] in ("GET", "HEAD"):
        # A page that fetches has a form for the token; at Basic the browser would open a window.
        fetched = dict(scope["headers"]).get(b"sec-fetch-dest") == b"empty"
        basic = "" if fetched else ', Basic realm="nenghao", charset="UTF-8"'
        response.headers["WWW-Authenticate"] = f"Bearer{basic}"
    return response
