"""The contestants: the same small application, each written in one file and run as `<module>:app`.

Each reads DATABASE_URL (a SQLAlchemy URL with an async driver) and SECRET_KEY from the environment, and
OTHER_ROUTES, the number of routes that stand before its own.
"""

import os

_PER_MODEL = 2  # `/models_7` and `/models_7/{id}`


def other_models(routes: int | None = None) -> list[str]:
    """First path segments of the routes that stand before the application's own: so many, or OTHER_ROUTES."""
    count = int(os.environ.get("OTHER_ROUTES", "0")) if routes is None else routes
    return [f"models_{number}" for number in range(count // _PER_MODEL)]
