"""What happens when a service that a test needs is not on this machine.

The test is skipped and the terminal summary says so, unless `JETIO_TEST_REQUIRE` (names joined by
commas: postgresql, mariadb, redis, chromium) names the service: then the test fails.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import NoReturn

import pytest

PREFIX = "NOT TESTED: "


def required_services() -> frozenset[str]:
    """The services that this run refuses to do without."""
    names = os.environ.get("JETIO_TEST_REQUIRE", "").split(",")
    return frozenset(name.strip() for name in names if name.strip())


def absent(service: str, reason: str) -> NoReturn:
    """Skip the running test, or fail it when the service is required."""
    if service in required_services():
        pytest.fail(f"{service} is required by JETIO_TEST_REQUIRE: {reason}", pytrace=False)
    pytest.skip(f"{PREFIX}{service}: {reason}")


def skipped_services(reports: Iterable[pytest.TestReport]) -> dict[str, int]:
    """How many tests each missing service cost, by the message that skipped them."""
    costs: dict[str, int] = {}
    for report in reports:
        message = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        if PREFIX in message:
            line = message[message.index(PREFIX) :]
            costs[line] = costs.get(line, 0) + 1
    return costs
