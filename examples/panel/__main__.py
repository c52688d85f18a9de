"""`python -m examples.panel` serves the blog; `JETIO_PORT` moves it."""

from .app import app

app.run()
