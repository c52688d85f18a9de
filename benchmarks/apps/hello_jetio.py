"""Jetio without models, for `benchmarks.routing`."""

from benchmarks.apps import other_models
from jetio import Jetio

app = Jetio(title="Hello")


async def list_others() -> list[int]:
    """Rows of a model that nobody asks for."""
    return []


async def retrieve_other(id: int) -> dict[str, int]:
    """One row of it."""
    return {"id": id}


for name in other_models():
    app.get(f"/{name}")(list_others)
    app.get(f"/{name}/{{id}}")(retrieve_other)


@app.get("/hello")
async def hello() -> dict[str, str]:
    """Says hello."""
    return {"message": "hello"}
