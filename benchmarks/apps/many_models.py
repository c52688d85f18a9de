"""An application with 200 models, for `benchmarks.start`: run as a program, it prints what making it took."""

import json
import sys
import time
from typing import Any

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from jetio import CrudRouter, Jetio, JetioModel

MODELS = 200


def make_model(number: int) -> type[JetioModel]:
    """A class with eight columns beside its key; each but the first points to the one before."""
    columns: dict[str, Any] = {
        "name": str,
        "title": str | None,
        "summary": str | None,
        "amount": int,
        "price": float,
        "active": bool,
        "rank": int | None,
        "parent_id": int | None,
    }
    attributes: dict[str, Any] = {
        "__module__": __name__,
        "__doc__": f"The model with the number {number}.",
        "__annotations__": {name: Mapped[kind] for name, kind in columns.items()},
    }
    attributes["parent_id"] = mapped_column(ForeignKey(f"model_{max(number - 1, 0)}s.id"))
    return type(f"Model_{number}", (JetioModel,), attributes)


def main() -> None:
    """Prints the seconds of processor time of each step as JSON."""
    moments = [time.process_time()]
    models = [make_model(number) for number in range(MODELS)]
    moments.append(time.process_time())
    app = Jetio(title="Many")
    for model in models:
        CrudRouter(model).register_routes(app)
    moments.append(time.process_time())
    app.build()
    moments.append(time.process_time())
    document = json.dumps(app.openapi())
    moments.append(time.process_time())
    steps = ("declaring the classes", "registering the routers", "building", "making the document")
    taken = {step: moments[at + 1] - moments[at] for at, step in enumerate(steps)}
    json.dump({"steps": taken, "operations": len(app.endpoints), "bytes": len(document)}, sys.stdout)


if __name__ == "__main__":
    main()
