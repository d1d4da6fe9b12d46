"""The exact sign-test interval of a median."""

from math import comb

# With five values, even the lowest and the highest enclose the median in fewer than 95 of 100
# cases.
VALUES_MIN = 6

# The interval misses the median in at most one of this many cases.
CASES_PER_MISS = 20


def rank(count):
    """Returns which sorted value, counted from 1 at each end, bounds the interval; 0 for none.

    A value lies below the median with probability 1/2, so the number of such values is binomial.
    The result is the highest rank at which both tails together contain at most 1 case in 20.
    """
    tail, found = 0, 0
    for below in range(count):
        tail += comb(count, below)
        if 2 * tail * CASES_PER_MISS > 2**count:
            break
        found = below + 1
    return found


def interval(values):
    """Returns the lower and the upper end of the 95 % interval of the median, or None."""
    bound = rank(len(values))
    if not bound:
        return None
    ordered = sorted(values)
    return ordered[bound - 1], ordered[-bound]
