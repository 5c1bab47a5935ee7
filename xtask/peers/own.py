"""Our own native files, called as any program calls them: a shared library with a C header."""

import ctypes
import mmap
import re
from pathlib import Path

import numpy as np

KINDS = {
    "f16": np.float16,
    "f32": np.float32,
    "f64": np.float64,
    "bool": np.bool_,
    **{f"{s}{n}": np.dtype(f"{k}{n}") for s, k in (("i", "int"), ("u", "uint")) for n in (8, 16, 32, 64)},
}
PORT = re.compile(r' \*   \[\d+\] "(.*)": (\w+)\[(.*)\]')


def ports(header):
    """The inputs and outputs that a header lists: names, element types and shapes."""
    text = header.read_text()
    before, after = text.split(" * outputs, ", 1)
    lists = []
    for part in (before, after):
        found = (PORT.match(line) for line in part.splitlines())
        lists.append(
            [
                (m[1], KINDS[m[2]], tuple(int(d) for d in m[3].split(",") if d.strip()))
                for m in found
                if m
            ]
        )
    return lists


def comment_text(name):
    """A name as headers spell it."""
    return "".join(c if "!" <= c <= "~" and c not in "*\\" else "_" for c in name)


def memory(count):
    """Zeroed memory that begins at a page, or nothing."""
    return mmap.mmap(-1, count) if count else None


def address(block):
    """Where a block of memory begins."""
    return ctypes.addressof(ctypes.c_char.from_buffer(block)) if block else None


def tensmith(library, inputs, _threads, _folder):
    """A function that runs the library once, and one that gives its outputs."""
    library = Path(library)
    prefix = library.stem.removeprefix("lib")
    given, made = ports(library.with_name(f"{prefix}.h"))
    model = ctypes.CDLL(str(library))
    rooms = []
    for what in ("arena", "scratch"):
        need = getattr(model, f"{prefix}_{what}_bytes")
        need.restype = ctypes.c_int64
        rooms.append(memory(need(None)))
    named = {comment_text(name): value for name, value in inputs.items()}
    feed = [np.ascontiguousarray(named[name], kind) for name, kind, _ in given]
    found = [np.empty(shape, kind) for _, kind, shape in made]
    table = lambda arrays: (ctypes.c_void_p * len(arrays))(*(a.ctypes.data for a in arrays))
    tables = table(feed), table(found)
    addresses = [ctypes.c_void_p(address(room)) for room in rooms]
    function = getattr(model, f"{prefix}_run")

    def run():
        code = function(*tables, None, *addresses)
        if code:
            raise ValueError(f"the run failed with code {code}")

    # What the tables point to must live as long as they do.
    run.kept = feed, found, rooms
    return run, lambda: found
