"""Starlette's router as a whole application with one route, for `benchmarks.routing`."""

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, Router


async def hello(request: Request) -> JSONResponse:
    """Says hello."""
    return JSONResponse({"message": "hello"})


app = Router([Route("/hello", hello)])
