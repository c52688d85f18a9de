"""Errors as values: what they say and what they carry."""

from __future__ import annotations

import pytest

from jetio import ConfigError, FieldError, Principal, Problem, ValidationError
from jetio.errors import Mistakes


def test_a_problem_says_what_it_is() -> None:
    """In its text, with a title and a detail when none was given."""
    problem = Problem(404, "not_found")
    assert (str(problem), problem.title, problem.detail) == (
        "404 not_found: Not Found",
        "Not Found",
        "Not Found",
    )
    assert (Problem(299, "odd").title, Problem(299, "odd", title="Odd").detail) == ("Error", "Odd")


@pytest.mark.parametrize(
    ("count", "sentence"),
    [(0, "The request is not valid"), (1, "1 field is invalid"), (2, "2 fields are invalid")],
)
def test_a_validation_error_counts_its_fields(count: int, sentence: str) -> None:
    """Unless it was given a sentence of its own."""
    errors = [FieldError("missing", "This is required", pointer=f"/{n}") for n in range(count)]
    assert ValidationError(errors).detail == sentence
    assert ValidationError(iter(errors), "Odd", code="odd").detail == "Odd"


def test_an_entry_has_what_it_knows() -> None:
    """One place, a code, a sentence; in bulk the number of the item."""
    assert FieldError("c", "m", header="h").members() == {"header": "h", "code": "c", "message": "m"}
    assert FieldError("c", "m", pointer="", index=0).members() == {
        "pointer": "",
        "index": 0,
        "code": "c",
        "message": "m",
    }


def test_mistakes_are_collected_and_everything_else_passes() -> None:
    """Each once, with the place in front of those that do not begin with it."""
    mistakes = Mistakes("here")
    mistakes.tell()
    with mistakes:
        raise ConfigError("one")
    with mistakes:
        raise ConfigError.of(["here: two", "one"])
    with pytest.raises(KeyError), mistakes:
        raise KeyError("no mistake")
    with pytest.raises(ConfigError) as caught:
        mistakes.tell()
    assert caught.value.mistakes == ("here: one", "here: two")
    assert str(caught.value) == "2 mistakes in this application:\n  1. here: one\n  2. here: two"
    assert str(ConfigError.of(["alone"])) == "alone"


def test_a_principal_knows_its_roles() -> None:
    """And shows no claims."""
    principal = Principal(id=1, sub="1", roles=frozenset({"editor"}), claims={"secret": "x"})
    assert (principal.has_role("editor"), principal.has_role("admin")) == (True, False)
    assert "secret" not in repr(principal)
