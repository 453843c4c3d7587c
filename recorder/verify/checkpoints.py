"""Checkpoints as crates/segment/FORMAT.md has them, signed ones too: what of a recording was there before."""

from layouts import STATEMENT_LEN, Statement

FORMAT, SIGNED_FORMAT = "weir-checkpoint-1", "weir-signed-checkpoint-1"
SEAL_PAYLOAD_LEN = STATEMENT_LEN + 64
DIGITS, HEX_DIGITS = set("0123456789"), set("0123456789abcdef")
SPACES = " \t\n\r\f"


class NoCheckpoint(Exception):
    """Text that is no checkpoint, or none that can be trusted."""


def spaced(text):
    return text.translate({ord(space): " " for space in SPACES}).split(" ")


def data(text, length):
    """Lower-case digits of so many bytes: nothing has two spellings."""
    if len(text) != 2 * length or set(text) - HEX_DIGITS:
        raise NoCheckpoint(f"a checkpoint's part is not {length} bytes in lower-case hexadecimal")
    return bytes.fromhex(text)


def one(line, trusted):
    """(number, root, whether it is signed) of a line."""
    words = [word for word in spaced(line) if word]
    signed = words[:1] == [SIGNED_FORMAT]
    if len(words) != 3 + signed or words[0] not in (FORMAT, SIGNED_FORMAT):
        raise NoCheckpoint("a checkpoint is one line: its format, a segment's number and its root, and the seal of a signed one")
    if set(words[1]) - DIGITS or len(words[1]) > 20 or words[1] != str(int(words[1])) or int(words[1]) >= 1 << 64:
        raise NoCheckpoint("a checkpoint's number is no number of a segment")
    number, root = int(words[1]), data(words[2], 32)
    if signed:
        seal = data(words[3], SEAL_PAYLOAD_LEN)
        try:
            statement = Statement.open(seal[:STATEMENT_LEN], seal[STATEMENT_LEN:])
        except ValueError as error:
            raise NoCheckpoint(f"the seal of a checkpoint: {error}") from None
        if (statement.number, statement.root) != (number, root):
            raise NoCheckpoint("a checkpoint's number and root are not those of its seal")
        if statement.public_key not in trusted:
            raise NoCheckpoint(f"a checkpoint of segment {number} is signed by a key that is not trusted")
    return number, root, signed


def read(text, trusted):
    """({number: root}, whether one of them is signed) of a file."""
    known, any_signed = {}, False
    for line in filter(None, (line.strip(SPACES) for line in text.split("\n"))):
        number, root, signed = one(line, trusted)
        any_signed = any_signed or signed
        if known.setdefault(number, root) != root:
            raise NoCheckpoint(f"checkpoints contradict each other about segment {number}: it was written anew")
    if not known:
        raise NoCheckpoint("it holds no checkpoint")
    return known, any_signed
