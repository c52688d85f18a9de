"""`python -m examples.approval` serves it; `JETIO_PORT` moves it."""

from .app import app

app.run()
