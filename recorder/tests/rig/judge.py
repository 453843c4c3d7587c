"""Judges lists of segments from standard input with the independent verifier: one line a list, a fault or null a segment.

A list is u8 (bit 0: the last may be open, bit 1: with the auditor's key, bit 2: a tombstone comes first, bit 3: a file of checkpoints
comes before that), u32 count, then u64 length and bytes of each; its faults are `[word, offset]`. Of checkpoints, `["refused", 0]` is
all of the answer if they are no such thing, and what they miss comes last.
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
    files, remembered = [], None
    for _ in range(count):
        (length,) = struct.unpack("<Q", sys.stdin.buffer.read(8))
        files.append(sys.stdin.buffer.read(length))
    if flags & 8:
        try:
            remembered, _ = weir_verify.checkpoints.read(files.pop(0).decode(), keys)
        except (weir_verify.checkpoints.NoCheckpoint, UnicodeDecodeError):
            print(json.dumps([["refused", 0]]), flush=True)
            continue
    verifier, faults = weir_verify.Verifier(keys, remembered=remembered, auditors=auditors), []
    for place, file in enumerate(files):
        if flags & 4 and place == 0:
            faults.append(bury(verifier, file))
            continue
        report = verifier.segment(io.BytesIO(file), bool(may_be_open) and place + 1 == len(files))
        faults.append(report.fault and [report.fault.word, report.fault.offset])
    if flags & 8:
        faults.append(None if verifier.forgotten() is None else ["set-back", verifier.forgotten()])
    print(json.dumps(faults), flush=True)
