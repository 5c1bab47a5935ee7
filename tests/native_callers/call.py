"""Calls a compiled model through ctypes and prints its output, one number a line.

Usage: call.py LIBRARY PREFIX BATCH FEATURES RESULTS < INPUT
INPUT: BATCH * FEATURES numbers in text form, one a line.
"""

import ctypes
import sys


def aligned(count):
    """Memory of `count` bytes that begins at a multiple of 64, and what keeps it alive."""
    room = ctypes.create_string_buffer(count + 64)
    return (ctypes.addressof(room) + 63) // 64 * 64, room


def main():
    library, prefix, batch, features, results = sys.argv[1:]
    batch, features, results = int(batch), int(features), int(results)
    model = ctypes.CDLL(library)
    sizes = (ctypes.c_int64 * 1)(batch)
    need = {}
    for what in ("arena", "scratch"):
        function = getattr(model, f"{prefix}_{what}_bytes")
        function.restype = ctypes.c_int64
        function.argtypes = [ctypes.POINTER(ctypes.c_int64)]
        need[what] = function(sizes)
        if need[what] < 0:
            sys.exit(f"{what}: batch {batch} is out of range")
    run = getattr(model, f"{prefix}_run")
    run.restype = ctypes.c_int
    run.argtypes = [
        ctypes.POINTER(ctypes.c_void_p),
        ctypes.POINTER(ctypes.c_void_p),
        ctypes.POINTER(ctypes.c_int64),
        ctypes.c_void_p,
        ctypes.c_void_p,
    ]
    numbers = [float(line) for line in sys.stdin]
    given = (ctypes.c_float * (batch * features))(*numbers)
    found = (ctypes.c_float * (batch * results))()
    inputs = (ctypes.c_void_p * 1)(ctypes.addressof(given))
    outputs = (ctypes.c_void_p * 1)(ctypes.addressof(found))
    arena, arena_room = aligned(need["arena"])
    scratch, scratch_room = aligned(need["scratch"])
    code = run(inputs, outputs, sizes, arena, scratch)
    if code != 0:
        sys.exit(f"the run failed with code {code}")
    del arena_room, scratch_room
    for number in found:
        print(repr(number))


main()
