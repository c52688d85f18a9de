"""An atlas: the countries and cities of the world, with keys that are theirs and not the database's."""
