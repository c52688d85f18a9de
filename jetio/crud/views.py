"""What is read of a resource and of its relations, and where its values stand in a row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from ..errors import ConfigError
from ..relations import Relation
from ..resource import Field, Resource, resource_of

__all__ = ["Embed", "Layout", "View", "layout_of", "view_of"]

DEPTH = 3
"""How many steps of relations are embedded in each other."""


@dataclass(frozen=True, eq=False)
class View:
    """What is read of a resource: its fields, and the relations that are embedded."""

    resource: Resource
    fields: tuple[Field, ...]
    embeds: tuple[Embed, ...] = ()

    @cached_property
    def joined(self) -> tuple[Embed, ...]:
        """The to-one relations: part of the same statement."""
        return tuple(item for item in self.embeds if not item.relation.many)

    @cached_property
    def separate(self) -> tuple[Embed, ...]:
        """The to-many relations: one statement each, for all parents."""
        return tuple(item for item in self.embeds if item.relation.many)

    @property
    def for_admins(self) -> bool:
        """Whether admins see more of it than others."""
        seen = [self.resource, *(embed.view.resource for embed in self.walk())]
        return any(item.admin_read for resource in seen for item in resource.fields.values())

    @cached_property
    def paths(self) -> tuple[str, ...]:
        """The dotted names of everything that is joined."""
        return tuple(embed.path for embed, _ in self.walk_joined())

    def walk_joined(self, names: tuple[str, ...] = ()) -> Iterator[tuple[Embed, tuple[str, ...]]]:
        """Everything that is joined, at any depth, with the names that lead to it."""
        for embed in self.joined:
            inside = (*names, embed.relation.name)
            yield embed, inside
            yield from embed.view.walk_joined(inside)

    def walk(self) -> Iterator[Embed]:
        """Everything that is embedded, at any depth."""
        for embed in self.embeds:
            yield embed
            yield from embed.view.walk()


@dataclass(frozen=True, eq=False)
class Embed:
    """A relation that is part of the parent's document; `path` is its dotted name from the root."""

    path: str
    relation: Relation
    view: View


def view_of(resource: Resource, names: Sequence[str], *, admin: bool) -> View:
    """What callers of this kind read, relations of these dotted names included; raises ConfigError."""
    return View(resource, resource.readable(admin=admin), _embeds(resource, _tree(names), admin, ""))


Tree = dict[str, "Tree"]


def _tree(names: Iterable[str]) -> Tree:
    tree: Tree = {}
    for name in names:
        branch = tree
        for part in name.split("."):
            branch = branch.setdefault(part, {})
    return tree


def _embeds(resource: Resource, tree: Tree, admin: bool, path: str) -> tuple[Embed, ...]:
    found = []
    for name, below in tree.items():
        inner = f"{path}.{name}" if path else name
        relation = _embeddable(resource, name, inner)
        target = resource_of(relation.target)
        if target.mistakes:  # a model that is only embedded has no router that would tell them
            raise ConfigError.of(target.mistakes)
        if not relation.many and not _names_one(relation, target):
            raise ConfigError(
                f"{resource.title}.{name} is one row, but nothing makes {target.title} unique for it; "
                "write mapped_column(unique=True) on its foreign key, or Mapped[list[...]]"
            )
        view = View(target, target.readable(admin=admin), _embeds(target, below, admin, inner))
        found.append(Embed(inner, relation, view))
    return tuple(found)


def _embeddable(resource: Resource, name: str, path: str) -> Relation:
    relation = resource.relations.get(name)
    if relation is None:
        known = ", ".join(resource.relations) or "none"
        raise ConfigError(
            f"load_relationships: {resource.title} has no relationship {name!r}; it has: {known}"
        )
    if not relation.simple:
        raise ConfigError(
            f"{resource.title}.{name} is joined by more than equal columns; it cannot be embedded"
        )
    if path.count(".") >= DEPTH:
        raise ConfigError(f"load_relationships: {path!r} is deeper than {DEPTH} steps")
    return relation


def _names_one(relation: Relation, target: Resource) -> bool:
    """Whether the columns on the other side can stand in one row only: the join then adds no rows."""
    held = {other.name for _, other in relation.pairs}
    unique = [{column.name for column in target.table.primary_key.columns}]
    unique += [{target.fields[name].column.name for name in names} for names in target.uniques.values()]
    return relation.secondary is None and any(columns <= held for columns in unique)


# ---- rows --------------------------------------------------------------------------------------------------


@dataclass
class Layout:
    """Where the values of a document stand in a row.

    `ones` holds for each joined relation the place that is NULL when there is none; `parents` for each
    to-many relation the places of the key that its rows carry.
    """

    fields: list[tuple[str, int]]
    ones: list[tuple[str, int, Layout]]
    parents: dict[str, list[int]]

    def at(self, names: Iterable[str]) -> Layout:
        """The layout of a joined relation."""
        layout = self
        for name in names:
            layout = next(inner for own, _, inner in layout.ones if own == name)
        return layout


def layout_of(view: View) -> Layout:
    """The layout of the rows that a select of this view gives."""
    return _layout(view, [0])


def _layout(view: View, position: list[int]) -> Layout:
    def take(count: int) -> list[int]:
        start, position[0] = position[0], position[0] + count
        return list(range(start, position[0]))

    fields = [(item.name, take(1)[0]) for item in view.fields]
    ones = [(embed.relation.name, take(1)[0], _layout(embed.view, position)) for embed in view.joined]
    parents = {embed.relation.name: take(len(embed.relation.pairs)) for embed in view.separate}
    return Layout(fields, ones, parents)
