"""Python's collector of reference cycles, in processes that this package owns: the command line's and the actors'."""

import gc

YOUNG = 5_000  # objects that may be made before the youngest are looked through; Python's own is 700


def collect_less_often() -> None:
    """Look for cycles after more new objects, and never among the modules: at Python's threshold, looking takes a fifth
    of the CPU time of a request (78 of 430 us, by `gc.callbacks`). For a process that is the caller's own."""
    gc.freeze()
    gc.set_threshold(YOUNG)
