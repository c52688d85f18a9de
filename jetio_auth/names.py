"""Names that people log in with: one canonical form, and what no name may hold."""

from __future__ import annotations

import unicodedata

from pydantic_core import PydanticCustomError

__all__ = ["canonical", "canonical_or_typed"]

# Scripts whose letters look like each other's: a name in two of them imitates another name.
_LOOKALIKE = frozenset(
    {"LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC", "GEORGIAN", "LISU", "DESERET", "OSAGE"}
    | {"CANADIAN", "TIFINAGH"}
)
_REFUSED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# What is drawn as nothing although its category is a letter, a mark or a symbol (UAX 44, Default_Ignorable).
_INVISIBLE = frozenset(
    map(chr, [0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), 0x2800, 0x3164, 0xFFA0])
) | frozenset(map(chr, [*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)]))

LONGEST = 320  # RFC 5321, 4.5.3.1: 64 of local part, "@", 255 of domain; normalising takes quadratic time


def canonical(name: str, longest: int = LONGEST) -> str:
    """NFKC, case-folded, trimmed (RFC 8265, section 3.3, and Unicode TR 39, 5).

    Raises a pydantic error for a name with invisible or control characters, in scripts that look alike, or
    longer than `longest` characters.
    """
    if len(name) > LONGEST:
        raise PydanticCustomError("name_too_long", "The name is too long")
    trimmed = name.strip()
    folded = " ".join(_nfkc(_nfkc(trimmed).casefold()).split())
    if not folded:
        raise PydanticCustomError("name_empty", "The name is empty")
    if any(map(_is_unseen, trimmed + folded)):
        raise PydanticCustomError("name_characters", "The name holds invisible or control characters")
    if len(_scripts(folded) & _LOOKALIKE) > 1:
        raise PydanticCustomError("name_scripts", "The name mixes scripts whose letters look alike")
    if len(folded) > longest:  # one character may fold to eighteen
        raise PydanticCustomError("name_too_long", "The name is too long")
    return folded


def canonical_or_typed(name: str) -> str:
    """The canonical form; the name as it was typed when it has none."""
    try:
        return canonical(name)
    except PydanticCustomError:
        return name


def _nfkc(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def _is_unseen(character: str) -> bool:
    return unicodedata.category(character) in _REFUSED or character in _INVISIBLE


def _scripts(name: str) -> set[str]:
    return {unicodedata.name(character, "").partition(" ")[0] for character in name if character.isalpha()}
