"""A blog: accounts, posts and comments."""
