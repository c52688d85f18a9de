"""One module per endpoint: HTTP in, an account's rule, HTTP out."""
