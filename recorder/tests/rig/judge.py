"""Judges lists of segments from standard input with the independent verifier: one line a list, a fault or null a segment.

A list is u8 (bit 0: the last may be open, bit 1: with the auditor's key, bit 2: a tombstone comes first), u32 count, then u64
length and bytes of each; its faults are `[word, offset]`.
"""

import io
import json
import struct
import sys

sys.path.insert(0, sys.argv[1])
import weir_verify


def bury(verifier, tombstone):
    try:
        verifier.following(tombstone)
    except weir_verify.Fault as fault:
        return [fault.word, fault.offset]
    return None


keys, auditor = weir_verify.trusted_keys(sys.argv[2]), weir_verify.auditor_key(sys.argv[3])
while front := sys.stdin.buffer.read(5):
    flags, count = struct.unpack("<BI", front)
    may_be_open, auditors = flags & 1, [auditor] if flags & 2 else []
    verifier, faults = weir_verify.Verifier(keys, auditors=auditors), []
    for place in range(count):
        (length,) = struct.unpack("<Q", sys.stdin.buffer.read(8))
        file = sys.stdin.buffer.read(length)
        if flags & 4 and place == 0:
            faults.append(bury(verifier, file))
            continue
        report = verifier.segment(io.BytesIO(file), bool(may_be_open) and place + 1 == count)
        faults.append(report.fault and [report.fault.word, report.fault.offset])
    print(json.dumps(faults), flush=True)
