"""Serve the example: `python -m examples.controllers`."""

from .main import app

app.run()
