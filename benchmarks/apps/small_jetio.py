"""Hello and the CRUD of one model in Jetio, for `benchmarks.start`."""

from datetime import UTC, datetime

from sqlalchemy import DateTime
from sqlalchemy.orm import Mapped, mapped_column

from jetio import CrudRouter, Jetio, JetioModel


class Post(JetioModel):
    """What was written."""

    title: Mapped[str]
    body: Mapped[str]
    views: Mapped[int] = mapped_column(default=0)
    published: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=lambda: datetime.now(UTC))
    author_id: Mapped[int]


app = Jetio(title="Start")
CrudRouter(Post).register_routes(app)


@app.get("/hello")
async def hello() -> dict[str, str]:
    """Says hello."""
    return {"message": "hello"}
