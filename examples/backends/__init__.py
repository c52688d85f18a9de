"""Authentication with users of one's own: signed tokens, the application's sessions, a backend in a few lines."""
