"""Ways to get an access token other than a password."""
