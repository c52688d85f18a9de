"""The application, as its configuration file describes it."""

from __future__ import annotations

from pathlib import Path

from jetio import Jetio


def create_app() -> Jetio:
    """The plugin that reads `auth_client` is found by itself."""
    return Jetio.from_config(
        Path(__file__).with_name("application.yaml"),
        modules=[f"{__package__}.services", f"{__package__}.controllers"],
    )


app = create_app()
