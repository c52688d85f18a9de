"""An admin panel over the blog."""
