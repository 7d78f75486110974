"""One shape for every refusal: {"error": {"parameter": ..., "reason": ...}}."""

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from aggregator.store.base import StoreError


class ApiError(Exception):
    """A request that cannot be answered; `parameter` names what is wrong with it, or is ""."""

    def __init__(self, status: int, parameter: str, reason: str) -> None:
        super().__init__(f"{parameter}: {reason}")
        self.status = status
        self.parameter = parameter
        self.reason = reason


def error_response(status: int, parameter: str, reason: str) -> JSONResponse:
    """Return the one error shape."""
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return JSONResponse({"error": {"parameter": parameter, "reason": reason}}, status, headers)


def install(app: FastAPI) -> None:
    """Map every kind of refusal to the one shape."""

    @app.exception_handler(ApiError)
    def api_error(_: Request, error: ApiError) -> JSONResponse:
        return error_response(error.status, error.parameter, error.reason)

    @app.exception_handler(RequestValidationError)
    def validation_error(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = [str(part) for part in first["loc"] if part not in ("query", "path", "body")]
        reason = str(first["msg"]).removeprefix("Value error, ")
        return error_response(422, ".".join(where), reason)

    @app.exception_handler(HTTPException)
    def http_error(_: Request, error: HTTPException) -> JSONResponse:
        return error_response(error.status_code, "", str(error.detail))

    @app.exception_handler(StoreError)
    def store_error(_: Request, error: StoreError) -> JSONResponse:
        return error_response(503, "", f"the store does not answer: {error}")
