"""`python -m examples.factors` serves the page; `JETIO_PORT` moves it."""

from .app import app

print(f"Open http://localhost:{app.settings.port}/ (passkeys belong to a name, not to 127.0.0.1)", flush=True)
app.run()
