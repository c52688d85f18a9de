"""Applications to read, run and copy from; `tests/examples` drives each over HTTP."""
