"""`python -m examples.devices` serves the jobs; `JETIO_PORT` moves it."""

from .app import app

app.run()
