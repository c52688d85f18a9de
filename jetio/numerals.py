"""Numbers of columns as JSON writes them: taken exactly, or refused."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema
from pydantic_core import core_schema as core

__all__ = ["Amount", "Choice", "Whole"]

EXACT_WHOLE = 2**53
EXACT_DIGITS = 15  # any decimal of so many digits survives the way through a double, as JSON readers take it
MOST_PLACES = 12  # with more than these too few digits would be left before the point

_NO_DECIMAL = f"This must be a number, or text of one; more than {EXACT_DIGITS} digits must be text"
_DECIMAL = r"^-?(0|[1-9]\d*)(\.\d+)?$"
_BOUNDS: Mapping[str, str] = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
}
# Which text is above zero, a pattern can tell; from 3 to 7 it cannot.
_TEXT_ABOVE: Mapping[str, str] = {
    "": "",
    "minimum": r"(?!-[0.]*[1-9])",
    "exclusiveMinimum": r"(?!-)(?![0.]*$)",
}

Ways = list[CoreSchema | tuple[CoreSchema, str]]


def _bounds(schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, int | float]:
    """The bounds that stand beside a marker; pydantic leaves them under its own names there."""
    told = {_BOUNDS[name]: value for name, value in handler(schema).items() if name in _BOUNDS}
    return {name: value if isinstance(value, int) else float(value) for name, value in told.items()}


@dataclass(frozen=True, slots=True)
class Amount:
    """A decimal of `precision` digits, `scale` of them decimals: text, or a number that a double holds."""

    precision: int
    scale: int

    @property
    def _whole(self) -> int:
        return self.precision - self.scale

    @property
    def _places(self) -> int:
        """Decimals of a JSON number; where a double has no digits left for them, it is a whole number."""
        return self.scale if self.scale <= MOST_PLACES else 0

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        bound = 10 ** (EXACT_DIGITS - self._places)
        ways: Ways = [
            core.int_schema(strict=True, gt=-bound, lt=bound),
            core.no_info_after_validator_function(
                self._exact, core.float_schema(strict=True, allow_inf_nan=False)
            ),
            core.str_schema(pattern=_DECIMAL, strict=True),
        ]
        union = core.union_schema(ways, mode="left_to_right")
        parse = core.custom_error_schema(union, "decimal", custom_error_message=_NO_DECIMAL)
        limits = core.decimal_schema(
            strict=False, max_digits=self.precision, decimal_places=self.scale, allow_inf_nan=False
        )
        number = core.no_info_after_validator_function(self._without_whole, parse)
        return core.json_or_python_schema(core.chain_schema([number, limits]), limits)

    def _exact(self, number: float) -> Decimal:
        """The decimal that a double stands for; raises ValueError when it may have been another one."""
        value = Decimal(repr(number))
        room = EXACT_DIGITS - self._places
        sized = len(value.as_tuple().digits) <= EXACT_DIGITS and value.adjusted() < room
        if not sized or (self._places < self.scale and value != round(value, self._places)):
            raise ValueError("a double does not hold this number exactly")
        return value

    def _without_whole(self, value: int | Decimal | str) -> int | Decimal | str:
        """Zero has a digit before the point; in a column that has none it is all decimals."""
        return value if self._whole or Decimal(value) else Decimal(0).scaleb(-self.scale)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        if handler.mode == "serialization":
            return {**self._text(""), "examples": [str(self._example)]}
        bounds = _bounds(schema, handler)
        number = {**self._number(), **bounds}
        above = "".join(bounds) if not any(bounds.values()) else "elsewhere"
        if above not in _TEXT_ABOVE:
            return number
        return {"anyOf": [number, self._text(_TEXT_ABOVE[above])], "examples": [float(self._example)]}

    @property
    def _example(self) -> Decimal:
        """Tools would make up the lowest number there is."""
        return Decimal(1 if self._whole else 0).quantize(Decimal(1).scaleb(-self.scale))

    def _text(self, above: str) -> JsonSchemaValue:
        whole = rf"(0|[1-9]\d{{0,{self._whole - 1}}})" if self._whole else "0"
        decimals = rf"(\.\d{{1,{self.scale}}}0*)?" if self.scale else r"(\.0+)?"
        return {"type": "string", "pattern": f"^{above}-?{whole}{decimals}$"}

    def _number(self) -> JsonSchemaValue:
        places = self._places
        largest = Decimal(10) ** min(self._whole, EXACT_DIGITS - places) - Decimal(1).scaleb(-places)
        if not places:
            return {"type": "integer", "minimum": -int(largest), "maximum": int(largest)}
        step = float(Decimal(1).scaleb(-places))
        return {"type": "number", "minimum": -float(largest), "maximum": float(largest), "multipleOf": step}


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number from `least` to `most`; 3.0 is one too, as far as doubles are exact."""

    least: int
    most: int

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        double = core.float_schema(strict=True, ge=-EXACT_WHOLE, le=EXACT_WHOLE)
        ways: Ways = [
            core.int_schema(strict=True),
            core.no_info_after_validator_function(_as_whole, double),
        ]
        parse = core.custom_error_schema(core.union_schema(ways, mode="left_to_right"), "int_type")
        limits = core.int_schema(strict=True, ge=self.least, le=self.most)
        return core.json_or_python_schema(core.chain_schema([parse, limits]), limits)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        if handler.mode == "serialization":
            return {"type": "integer"}
        bounds = _bounds(schema, handler)
        # Tools would make up the lowest number there is.
        example = {} if bounds else {"examples": [1]}
        return {"type": "integer", "minimum": self.least, "maximum": self.most, **bounds, **example}


def _as_whole(number: float) -> int:
    if not number.is_integer():
        raise ValueError("not a whole number")
    return int(number)


@dataclass(frozen=True, slots=True)
class Choice:
    """A member of an enumeration of whole numbers; `true` is not 1."""

    kind: type[enum.Enum]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        member = core.enum_schema(self.kind, list(self.kind), sub_type="int", strict=False)
        whole = core.chain_schema([core.int_schema(strict=True), member])
        return core.json_or_python_schema(whole, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"type": "integer", "enum": [member.value for member in self.kind]}
