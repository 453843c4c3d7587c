"""Judges lists of segments from standard input with the independent verifier: one line a list, a fault or null a segment.

A list is u8 (1: the last may be open), u32 count, then u64 length and bytes of each; its faults are `[word, offset]`.
"""

import io
import json
import struct
import sys

sys.path.insert(0, sys.argv[1])
import weir_verify

keys = weir_verify.trusted_keys(sys.argv[2])
while front := sys.stdin.buffer.read(5):
    may_be_open, count = struct.unpack("<BI", front)
    verifier, faults = weir_verify.Verifier(keys), []
    for place in range(count):
        (length,) = struct.unpack("<Q", sys.stdin.buffer.read(8))
        segment = io.BytesIO(sys.stdin.buffer.read(length))
        report = verifier.segment(segment, bool(may_be_open) and place + 1 == count)
        faults.append(report.fault and [report.fault.word, report.fault.offset])
    print(json.dumps(faults), flush=True)
