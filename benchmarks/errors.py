"""The one error of the benchmarks."""


class BenchmarkError(Exception):
    """The run cannot go on or would mean nothing; the text is for the person who started it."""
