"""The process of a server: `python -m benchmarks.serve MODULE FD CORES` serves `MODULE:app` on a bound socket."""

import ctypes
import os
import signal
import socket
import sys

import uvicorn

from benchmarks.cores import take_server_core

_PR_SET_PDEATHSIG = 1
_IDLE_SECONDS = 3_600  # the client's connections stay open while other contestants have their turns


def _end_with_parent() -> None:
    """Asks the kernel to end this process if the one that started it dies without stopping it."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if parent == 1 or os.getppid() != parent:
        sys.exit("the benchmark that started this server is gone")


def main(module: str, descriptor: str, cores: str) -> None:
    """Serves the application with one worker until SIGTERM, on one core or on every core."""
    _end_with_parent()
    if cores == "one":
        take_server_core()
    config = uvicorn.Config(
        f"{module}:app",
        loop="uvloop",
        http="httptools",
        lifespan="on",
        access_log=False,
        log_level="warning",
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=3,
    )
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(descriptor))])


if __name__ == "__main__":
    main(*sys.argv[1:])
