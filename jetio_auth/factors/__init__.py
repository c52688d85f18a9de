"""Second factors and passkeys: what proves more than a password."""
