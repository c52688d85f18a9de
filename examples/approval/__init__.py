"""Orders of several companies, for people whom an administrator has let in."""
