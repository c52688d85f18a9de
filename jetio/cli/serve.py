"""Serves an application by its name, in one process or in several."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

__all__ = ["serve"]


def serve(name: str, workers: int, *, reload: bool, options: Mapping[str, Any]) -> None:
    """Serve until SIGINT or SIGTERM; raises SystemExit where the application, or a worker of it, does not start."""
    import uvicorn

    if workers == 1:
        uvicorn.run(name, workers=1, reload=reload, app_dir=os.getcwd(), **options)
        return
    from uvicorn.config import STARTUP_FAILURE
    from uvicorn.supervisors import Multiprocess

    sys.path.insert(0, os.getcwd())
    config = uvicorn.Config(name, workers=workers, **options)
    supervisor = Multiprocess(config, sockets=[config.bind_socket()])
    supervisor.run()
    # uvicorn.run() would end with 0 here: whoever supervises would take it for an end that was asked for.
    if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
        raise SystemExit(STARTUP_FAILURE)
