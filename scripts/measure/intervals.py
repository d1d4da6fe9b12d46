"""The exact sign-test interval of a median."""

from math import comb

# With five values not even the lowest and the highest enclose the median in 95 of 100 cases.
VALUES_MIN = 6

# The interval misses the median in at most one of so many cases.
CASES_PER_MISS = 20


def rank(count):
    """Which of the sorted values, counted from 1 at either end, bounds the interval; 0 for none.

    A value lies below the median with probability 1/2, so the number of those that do is binomial:
    the highest rank is taken at which both tails together hold at most 1 case in 20.
    """
    tail, found = 0, 0
    for below in range(count):
        tail += comb(count, below)
        if 2 * tail * CASES_PER_MISS > 2**count:
            break
        found = below + 1
    return found


def interval(values):
    """The 95 % interval of the values' median: the lowest and the highest of it, or None."""
    bound = rank(len(values))
    if not bound:
        return None
    ordered = sorted(values)
    return ordered[bound - 1], ordered[-bound]
