#!/usr/bin/env python3
"""Verifies Weir's recordings and proofs with public keys alone, and with an auditor's key what was encrypted to it too.
Shares no code with what wrote them.

Written from crates/segment/FORMAT.md, whose words it uses. The proof of one event and the command line are
here, lists of segments in recording.py.

    weir_verify.py segments DIR --key FILE [--auditor-key FILE] [--first N] [--sealed] [--checkpoint FILE] [--json]
    weir_verify.py proof FILE --key FILE [--json]

Ends with 0 if all is well, 1 if something is wrong, 2 if it was called wrongly.
"""

import argparse
import json
import os
import sys
from datetime import datetime, timezone

from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

import checkpoints
import tree
from layouts import (
    HEAD_LEN, KEY_PREFIX, LEAF_KEY, MAX_EVENT_LEN, MOST, SALT_LEN, TOMBSTONE_LEN, TREE_KEY,
    Fault, Head, Statement, ring_text, session_text,
)  # fmt: skip
from recording import Verifier

MAX_PROOF_FILE_LEN = 2 * MAX_EVENT_LEN + (1 << 20)
PROOF_FORMAT = "weir-proof-1"


class Refused(Exception):
    """A proof that does not hold, or input that is no such thing."""


# ---- A proof


def hexadecimal(text, length=None):
    """Lower-case digits alone: nothing has two spellings."""
    if not isinstance(text, str) or set(text) - set("0123456789abcdef") or len(text) % 2:
        raise Refused("a field is not lower-case hexadecimal")
    data = bytes.fromhex(text)
    if length is not None and len(data) != length:
        raise Refused(f"a field is not {length} bytes long")
    return data


def once(pairs):
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise Refused("a field stands there twice")
    return fields


def check_proof(text, trusted):
    """(statement, head, body) of a proof file that holds."""
    try:
        fields = json.loads(text.decode(), object_pairs_hook=once)
    except (ValueError, RecursionError):
        raise Refused("not JSON") from None
    names = "format public_key statement signature index salt previous head body path".split()
    if not isinstance(fields, dict) or sorted(fields) != sorted(names) or fields["format"] != PROOF_FORMAT:
        raise Refused("not a proof of a version that is known")
    index, path = fields["index"], fields["path"]
    if type(index) is not int or not 0 <= index <= MOST or not isinstance(path, list):
        raise Refused("its index is no number, or its path is no list")
    head, body = hexadecimal(fields["head"], HEAD_LEN), hexadecimal(fields["body"])
    salt, previous = hexadecimal(fields["salt"], SALT_LEN), hexadecimal(fields["previous"], 32)
    path = [hexadecimal(sibling, 32) for sibling in path]
    try:
        statement = Statement.open(hexadecimal(fields["statement"]), hexadecimal(fields["signature"]))
    except ValueError as error:
        raise Refused(f"its seal: {error}") from None
    if fields["public_key"] != KEY_PREFIX + statement.public_key.hex():
        raise Refused("its public key is not the one in its statement")
    if statement.public_key not in trusted:
        raise Refused("its seal's key is not a trusted one")
    leaf = blake3(salt + previous + head + body, key=LEAF_KEY).digest()
    if tree.root_from_path(TREE_KEY, leaf, index, statement.events, path) != statement.root:
        raise Refused("its path does not lead to the signed root")
    return statement, Head.read(head), body


# ---- The command line


def trusted_keys(path):
    keys = []
    with open(path, encoding="utf-8") as file:
        for line in filter(None, map(str.strip, file)):
            if not line.startswith("#"):
                digits = line.removeprefix(KEY_PREFIX).lower() if line.startswith(KEY_PREFIX) else ""
                keys.append(hexadecimal(digits, 32))
    if not keys:
        raise Refused(f"{path} holds no key")
    return keys


def auditor_key(path):
    with open(path, "rb") as file:
        try:
            key = load_pem_private_key(file.read(), password=None)
        except (ValueError, TypeError):
            key = None
    if not isinstance(key, X25519PrivateKey):
        raise Refused(f"{path} is no auditor's private key: X25519, PKCS#8 in PEM")
    return key


def read_checkpoints(path, trusted):
    """What a file remembers, and whether the newest is written there afterwards: not among signed ones."""
    if path is None or not os.path.exists(path):
        return {}, path is not None
    with open(path, encoding="utf-8") as file:
        text = file.read()
    try:
        known, signed = checkpoints.read(text, trusted)
    except checkpoints.NoCheckpoint as error:
        raise Refused(f"{path}: {error}") from None
    return known, not signed


def write_checkpoint(path, checkpoint):
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write(f"{checkpoints.FORMAT} {checkpoint[0]} {checkpoint[1].hex()}\n")
    os.replace(path + ".new", path)


def segments(arguments):
    with os.scandir(arguments.directory) as entries:
        every = sorted(entry.name for entry in entries if entry.is_file(follow_symlinks=False))
    names = [name for name in every if name.endswith(".seg")]
    auditors = [auditor_key(path) for path in arguments.auditor_key]
    trusted = trusted_keys(arguments.key)
    remembered, is_own = read_checkpoints(arguments.checkpoint, trusted)
    verifier = Verifier(trusted, arguments.first, remembered, auditors)
    lines, events, bad, closed = [], 0, 0, 0
    for name in [name for name in every if name.endswith(".tomb")][-1:]:
        line, bad, removed = tombstone(os.path.join(arguments.directory, name), verifier)
        names = [name for name in names if not name[:-4].isdecimal() or int(name[:-4]) > removed]
        lines.append(line)
        if not arguments.json:
            print(f"{'BAD ' if bad else 'gone'}  {name}  {line['finding']}")
    if not names:
        raise Refused(f"{arguments.directory} holds no segments, which proves nothing")
    for name in names:
        with open(os.path.join(arguments.directory, name), "rb") as file:
            report = verifier.segment(file, name == names[-1] and not arguments.sealed)
        fault, events, bad = report.fault, events + report.events, bad + bool(report.fault)
        closed += report.encrypted and not report.opened
        if arguments.json:
            line = {"file": name, "number": report.number, "events": report.events, "opened": report.opened}
            lines.append(line | {"fault": fault and fault.word, "offset": fault and fault.offset})
        else:
            state = f"BAD   {name}  {fault}" if fault else f"ok    {name}  {report.events} events"
            print(state if fault or report.statement else state.replace("ok  ", "open"))
    number = verifier.forgotten()
    if not bad and number is not None:
        bad = 1
        lines.append({"file": None, "number": number, "events": 0, "fault": "set-back", "offset": None})
        if not arguments.json:
            print(f"BAD   set-back: segment {number} is remembered and not here")
    if not bad and is_own and verifier.newest:
        write_checkpoint(arguments.checkpoint, verifier.newest)
    if arguments.json:
        print(json.dumps(lines, indent=2))
    else:
        print(f"{bad} of {len(names)} segments are not as they were written" if bad
              else f"{len(names)} segments, {events} events: complete, in order, unaltered")  # fmt: skip
        if closed:
            print(f"{closed} of them encrypted and not opened: their bytes were verified, not what their events say")
    return bad == 0


def tombstone(path, verifier):
    """What is to be said of a tombstone, whether it is at fault, and the number of the last segment that it removed."""
    with open(path, "rb") as file:
        data = file.read(TOMBSTONE_LEN + 1)
    line = {"file": os.path.basename(path), "number": 0, "events": 0, "fault": None, "offset": None}
    try:
        stone = verifier.following(data)
    except Fault as fault:
        return line | {"fault": fault.word, "offset": fault.offset, "finding": str(fault)}, 1, 0
    removed, latest = (datetime.fromtimestamp(at / 1e6, timezone.utc).isoformat() for at in (stone.removed, stone.latest))
    finding = f"segments 1 to {stone.number}, {stone.events} events until {latest}: removed by {stone.reason}, last on {removed}"
    return line | {"number": stone.number, "events": stone.events, "finding": finding}, 0, stone.number


def proof(arguments):
    with open(arguments.file, "rb") as file:
        text = file.read(MAX_PROOF_FILE_LEN + 1)
    if len(text) > MAX_PROOF_FILE_LEN:
        raise Refused("it is longer than any proof")
    statement, head, body = check_proof(text, trusted_keys(arguments.key))
    told = {
        "segment": statement.number,
        "events": statement.events,
        "public_key": KEY_PREFIX + statement.public_key.hex(),
        "ring": ring_text(head.ring),
        "sequence": head.sequence,
        "session": session_text(head.session),
        "at_unix_us": head.wall,
        "kind": head.word,
        "command": head.ordinal,
        "body_bytes": len(body),
    }
    if arguments.json:
        print(json.dumps(told, indent=2))
    else:
        print("ok    the event was recorded, and sealed by a trusted key")
        for name, value in told.items():
            print(f"{name:<12}{value}")
    return True


def main():
    parser = argparse.ArgumentParser(description="Verifies Weir's recordings and proofs with public keys alone.")
    verbs = parser.add_subparsers(required=True)
    verb = verbs.add_parser("segments", help="a directory of segments")
    verb.add_argument("directory")
    verb.add_argument("--auditor-key", action="append", default=[], help="private key that opens encrypted segments")
    verb.add_argument("--first", type=int, default=1, help="number of the first segment (default 1)")
    verb.add_argument("--sealed", action="store_true", help="the recorder has ended: the last must be sealed too")
    verb.add_argument("--checkpoint", help="file that remembers how far this was verified")
    verb.set_defaults(run=segments)
    proof_verb = verbs.add_parser("proof", help="the proof of one event")
    proof_verb.add_argument("file")
    proof_verb.set_defaults(run=proof)
    for one in (verb, proof_verb):
        one.add_argument("--key", required=True, help="file of trusted public keys")
        one.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    try:
        return 0 if arguments.run(arguments) else 1
    except (Refused, OSError, UnicodeDecodeError) as error:
        print(f"weir_verify: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
