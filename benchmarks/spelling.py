"""What a contestant's own router spells in another way: pages in an address, rows in an answer.

README.md tells of each. All else must be alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.workloads import Request


@dataclass(frozen=True, slots=True)
class Spelling:
    """How a contestant is asked for a page, and how its rows are found in the answer."""

    starts: Mapping[str, str]
    envelope: str | None = None

    def ask(self, request: Request) -> Request:
        """The request in this contestant's words."""
        path = request.path
        for usual, own in self.starts.items():
            path = path.replace(usual, own)
        return replace(request, path=path)

    def read(self, answer: Any) -> Any:
        """The answer without its envelope, if it has one."""
        enveloped = self.envelope is not None and isinstance(answer, dict) and self.envelope in answer
        return answer[self.envelope] if enveloped else answer


_USUAL = Spelling({})
_OTHERS: Mapping[str, Spelling] = {
    "fastapi_fastcrud": Spelling({"/posts?page_size=": "/posts?sort=id&itemsPerPage="}, "data"),
}


def spelling_of(contestant: str) -> Spelling:
    """How this contestant is asked and read."""
    return _OTHERS.get(contestant, _USUAL)
