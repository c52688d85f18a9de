"""`python -m jetio.cli` is `jetio`."""

from .main import main

main()
