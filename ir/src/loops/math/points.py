"""Prints tests/points.txt: functions at doubles, computed with 60 digits and rounded once.

Each line: function, bits of the operands, bits of the result. Needs mpmath.

    python3 points.py > tests/points.txt
"""
import random
import struct

from mpmath import (acos, acosh, asin, asinh, atan, atanh, cos, cosh, erf, exp, log, mp, mpf, power,
                    sin, sinh, tan, tanh)

mp.dps = 60
random.seed(7)


def bits(x):
    return struct.pack(">d", x).hex()


def show(name, f, *operands):
    if any(f is g for g in (sin, cos, tan)):
        mp.dps = 120
    value = float(f(*(mpf(x) for x in operands)))
    mp.dps = 60
    print(name, *(bits(x) for x in operands), bits(value))


def spread(lo, hi, count, log_lo=None):
    """Doubles in lo..hi, and small ones of either sign down to 10^log_lo."""
    for _ in range(count):
        yield random.uniform(lo, hi)
    if log_lo is not None:
        for _ in range(count):
            x = random.choice([-1, 1]) * 10.0 ** random.uniform(log_lo, 0)
            if lo <= x <= hi:
                yield x


TABLE = [
    ("exp", exp, list(spread(-744, 709, 30)) + list(spread(-1, 1, 10, -20))),
    ("log", log, [10.0 ** random.uniform(-320, 308) for _ in range(20)]
     + list(spread(0.5, 1.6, 20)) + [1 + 2.0**-k for k in range(1, 52, 5)]),
    ("tanh", tanh, list(spread(-20, 20, 20, -300)) + list(spread(-1, 1, 15))),
    ("sigmoid", lambda x: 1 / (1 + exp(-x)), list(spread(-740, 40, 25, -20))),
    ("erf", erf, list(spread(-6, 6, 30, -300)) + list(spread(-1.2, 1.2, 15))),
    ("sin", sin, list(spread(-10, 10, 15, -300)) + [10.0**k for k in range(1, 10)]
     + [6381956970095103.0 * 2.0**-k for k in (23, 29, 40)]),
    ("cos", cos, list(spread(-10, 10, 15, -20)) + [10.0**k for k in range(1, 10)]
     + [11.0, 1.5707963267948966]),
    ("tan", tan, list(spread(-10, 10, 15, -300)) + [10.0**k for k in range(1, 10)]
     + [1.5707963267948966]),
    ("asin", asin, list(spread(-1, 1, 20, -300))),
    ("acos", acos, list(spread(-1, 1, 20, -20)) + [1 - 2.0**-k for k in range(2, 53, 5)]),
    ("atan", atan, list(spread(-8, 8, 20, -300)) + [10.0**k for k in range(1, 300, 30)]),
    ("sinh", sinh, list(spread(-710, 710, 15, -300)) + list(spread(-2, 2, 15))),
    ("cosh", cosh, list(spread(-710, 710, 15)) + list(spread(-2, 2, 15, -20))),
    ("asinh", asinh, list(spread(-50, 50, 15, -300)) + [10.0**k for k in range(1, 308, 30)]),
    ("acosh", acosh, list(spread(1, 5, 20)) + [1 + 2.0**-k for k in range(1, 52, 5)]
     + [10.0**k for k in range(1, 308, 30)]),
    ("atanh", atanh, list(spread(-1, 1, 20, -300)) + [1 - 2.0**-k for k in range(2, 53, 5)]),
]
for name, f, operands in TABLE:
    for x in operands:
        show(name, f, x)
for _ in range(60):
    x = 10.0 ** random.uniform(-300, 300)
    y = random.uniform(-740, 700) / float(log(mpf(x)))
    show("pow", power, x, y)
for _ in range(30):
    x = 1 + random.uniform(-1, 1) * 10.0 ** random.uniform(-9, -1)
    y = random.uniform(-740, 700) / float(log(mpf(x)))
    show("pow", power, x, y)
