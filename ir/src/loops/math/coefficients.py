"""Prints coefficients.rs: the polynomials and constants of the math table.

Each polynomial is a Chebyshev interpolant (close to the best one in the largest error), computed
with 60 digits, or a weighted fit where the comment beside it says so; that comment gives the largest
error. Needs mpmath.

    python3 coefficients.py > coefficients.rs && rustfmt coefficients.rs
"""
import struct

from mpmath import (asin, atan, chebyfit, cos, erf, erfc, exp, expm1, log, mp, mpf, pi, polyval, sin,
                    sqrt, taylor)

mp.dps = 60


def split(x, bits, parts):
    """x as a sum of doubles, all but the last truncated to `bits` bits."""
    out = []
    for k in range(parts):
        if k < parts - 1 and bits < 53:
            m, e = mp.frexp(x)
            v = mp.ldexp(mp.floor(m * 2**bits), int(e) - bits)
        else:
            v = mpf(float(x))
        out.append(v)
        x -= v
    return out


def series(f, at_zero, lo=0, tiny=mpf(10)**-18):
    """f, with its limit at 0."""
    return lambda x: at_zero if abs(x) < tiny else f(x)


def emit(name, doc, f, interval, degree):
    poly, err = chebyfit(f, interval, degree + 1, error=True)
    poly = list(reversed(poly))
    print(f"/// {doc}: degree {degree} on [{mp.nstr(mpf(interval[0]), 4)}, "
          f"{mp.nstr(mpf(interval[1]), 4)}], error {mp.nstr(err, 2)}.")
    print(f"pub(super) const {name}: &[f64] = &[")
    for c in poly:
        print(f"    {float(c)!r},")
    print("];\n")


def emit_weighted(name, doc, f, weight, interval, degree):
    """The polynomial whose largest error times `weight` is least: least squares, with more weight
    to the points of large errors in every round (Lawson, 1961)."""
    middle, half = (interval[0] + interval[1]) / 2, (interval[1] - interval[0]) / 2
    count = 40 * (degree + 1)
    xs = [middle - half * mp.cos(pi * (k + mpf(1) / 2) / count) for k in range(count)]
    ys, ws = [f(x) for x in xs], [weight(x)**2 for x in xs]
    share, best = [mpf(1) / count] * count, None
    for _ in range(80):
        moments = [sum(s * w * x**i for s, w, x in zip(share, ws, xs)) for i in range(2 * degree + 1)]
        right = [sum(s * w * y * x**i for s, w, x, y in zip(share, ws, xs, ys))
                 for i in range(degree + 1)]
        matrix = mp.matrix(degree + 1)
        for i in range(degree + 1):
            for j in range(degree + 1):
                matrix[i, j] = moments[i + j]
        poly = list(mp.lu_solve(matrix, mp.matrix(right)))
        errors = [abs(polyval(poly[::-1], x) - y) * sqrt(w) for x, y, w in zip(xs, ys, ws)]
        if best is None or max(errors) < best[0]:
            best = max(errors), poly
        share = [s * e for s, e in zip(share, errors)]
        total = sum(share)
        share = [s / total for s in share]
    print(f"/// {doc}: degree {degree} on [{mp.nstr(interval[0], 4)}, {mp.nstr(interval[1], 4)}], "
          f"weighted error {mp.nstr(best[0], 2)}.")
    print(f"pub(super) const {name}: &[f64] = &[")
    for c in best[1]:
        print(f"    {float(c)!r},")
    print("];\n")


def const(name, doc, value):
    print(f"/// {doc}.\npub(super) const {name}: f64 = {float(value)!r};\n")


exp_tail = series(lambda r: (expm1(r) - r) / r**2 if abs(r) > 1e-8
                  else polyval(list(reversed(taylor(exp, 0, 12)[2:])), r), mpf(1) / 2)
# log((1+s)/(1-s)) = 2s + s*z*L(z), z = s^2
log_tail = lambda z: mpf(2) / 3 if z < mpf(10)**-20 else (2 * mp.atanh(sqrt(z)) / sqrt(z) - 2) / z
log_tail5 = lambda z: mpf(2) / 5 if z < mpf(10)**-20 else (log_tail(z) - mpf(2) / 3) / z
sin_tail = lambda z: -mpf(1) / 6 if z < mpf(10)**-20 else (sin(sqrt(z)) / sqrt(z) - 1) / z
cos_tail = lambda z: mpf(1) / 24 if z < mpf(10)**-12 else (cos(sqrt(z)) - 1 + z / 2) / z**2
asin_tail = lambda z: mpf(1) / 6 if z < mpf(10)**-20 else (asin(sqrt(z)) / sqrt(z) - 1) / z
atan_tail = lambda z: -mpf(1) / 3 if z < mpf(10)**-20 else (atan(sqrt(z)) / sqrt(z) - 1) / z
erf_small = lambda z: (2 / sqrt(pi) if z < mpf(10)**-20 else erf(sqrt(z)) / sqrt(z)) - 1
ln2h = log(2) / 2 + mpf("0.0005")
s2 = ((sqrt(2) - 1) / (sqrt(2) + 1) + mpf("1e-6"))**2
q = (pi / 4 + mpf("1e-6"))**2

print("//! Coefficients of the math table, lowest degree first. Written by `coefficients.py`.\n")
for tag, d in (("F32", 0), ("F64", 1)):
    emit(f"EXP_{tag}", "`(e^r - 1 - r) / r^2`", exp_tail, [-ln2h, ln2h], [4, 9][d])
    emit(f"LOG_{tag}", "`(2*atanh(s)/s - 2) / z`, `z = s^2`", log_tail, [0, s2], [2, 6][d])
    emit(f"SIN_{tag}", "`(sin(r)/r - 1) / z`, `z = r^2`", sin_tail, [0, q], [2, 5][d])
    emit(f"COS_{tag}", "`(cos(r) - 1 + z/2) / z^2`, `z = r^2`", cos_tail, [0, q], [2, 5][d])
    emit(f"ASIN_{tag}", "`(asin(t)/t - 1) / z`, `z = t^2`", asin_tail, [0, mpf(1) / 4], [4, 12][d])
    emit(f"ATAN_{tag}", "`(atan(t)/t - 1) / z`, `z = t^2`", atan_tail, [0, 1], [8, 20][d])
    emit(f"ERF_{tag}", "`erf(t)/t - 1`, `z = t^2`", erf_small, [0, 1], [5, 11][d])
emit_weighted("EXP_NEGATIVE_F32", "`(e^r - 1) / r`, weighted by `r / e^r`",
              series(lambda r: expm1(r) / r, mpf(1)), lambda r: abs(r) / exp(r), [-ln2h, ln2h], 4)
emit("LOG_POW_F32", "`((2*atanh(s)/s - 2) / z - 2/3) / z`, `z = s^2`", log_tail5, [0, s2], 2)
emit("LOG_POW_F64", "`((2*atanh(s)/s - 2) / z - 2/3) / z`, `z = s^2`", log_tail5, [0, s2], 8)
root = lambda u: erfc(u + mpf(5) / 2)**(mpf(1) / 8)
emit_weighted("ERFC_F32", "`erfc(a)^(1/8)`, `u = a - 2.5`, weighted by the slope of the eighth power", root, lambda u: 8 * root(u)**7,
              [mpf(-3) / 2, mpf(3) / 2], 7)
emit("ERFC_F64", "`erfc(a) * e^(a^2) / w`, `w = 4/(a + 3)`, for `a` in [1, 6]",
     lambda w: (lambda a: erfc(a) * exp(a * a) / w)(4 / w - 3), [mpf(4) / 9, 1], 14)
hi, lo = split(log(2), 16, 2)
const("LN2_HI_F32", "`ln 2`, 16 bits", hi)
const("LN2_LO_F32", "The rest of `ln 2`", lo)
hi, lo = split(log(2), 42, 2)
const("LN2_HI_F64", "`ln 2`, 42 bits", hi)
const("LN2_LO_F64", "The rest of `ln 2`", lo)
a, b, c = split(pi / 2, 53, 3)
print("/// `pi/2`, 53 bits.\npub(super) const PIO2_1: f64 = std::f64::consts::FRAC_PI_2;\n")
const("PIO2_2", "`pi/2`, the next 53 bits", b)
const("PIO2_3", "`pi/2`, the next 53 bits", c)
a, b = split(mpf(2) / 3, 53, 2)
const("TWO_THIRDS_LO_F64", "`2/3` less the nearest `f64`", b)
single = lambda x: mpf(struct.unpack("f", struct.pack("f", float(x)))[0])
const("TWO_THIRDS_LO_F32", "`2/3` less the nearest `f32`", mpf(2) / 3 - single(mpf(2) / 3))
hi = single(pi / 2)
lo = single(pi / 2 - hi)
const("PIO2_HI_F32", "`pi/2` as `f32`", hi)
const("PIO2_LO_F32", "The rest of `pi/2`", pi / 2 - hi)
const("PIO2_LEAST_F32", "The rest of that as `f32`", pi / 2 - hi - lo)
mp.dps = 120
print("/// `2^(8k - 23) * 2/pi` modulo 4, for each `k`: two bits of the integer, then those below.")
print("pub(super) const QUARTERS: [[u32; 3]; 16] = [")
for k in range(16):
    bits = int(mp.floor(mp.ldexp(2 / pi, 8 * k - 23 + 94))) % 2**96
    print("    [" + ", ".join(f"{bits >> s & 0xffffffff:#010x}" for s in (64, 32, 0)) + "],")
print("];")
