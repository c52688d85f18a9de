"""Vaults: second factors and passkeys, with a page to try them."""
