"""Which processor core each process runs on.

A server keeps to one core, the same for all contestants. One worker has no use for a second; but if it has
threads (as drivers of SQLite do) and another core happens to be idle, it spends up to three times the time,
handing Python's global lock from core to core: the rest of the machine would decide what is measured.
"""

import os


def take_server_core() -> None:
    """Keeps this process, and the threads it starts from now on, to the servers' core."""
    os.sched_setaffinity(0, {_server_core()})


def leave_server_core() -> None:
    """Keeps this process off the servers' core, if there is another."""
    if others := os.sched_getaffinity(0) - {_server_core()}:
        os.sched_setaffinity(0, others)


def _server_core() -> int:
    """The last of the cores that this process may use."""
    return max(os.sched_getaffinity(0))
