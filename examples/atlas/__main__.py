"""`python -m examples.atlas` serves the atlas; `JETIO_PORT` moves it."""

from .app import app

app.run()
