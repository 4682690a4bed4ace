"""Pickles put together opcode by opcode: what torch.save would write, and what it never would."""

import struct


def text(value):
    raw = value if isinstance(value, bytes) else value.encode("utf-8")
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value):
    if -2**31 <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    size = (value.bit_length() + 8) // 8
    return b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)


def function(module, name):
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n"


def tuple_of(*items):
    return b"(" + b"".join(items) + b"t"


def numbers(values):
    return tuple_of(*[number(value) for value in values])


def call(callable_, *arguments):
    return callable_ + tuple_of(*arguments) + b"R"


def dictionary(entries):
    pairs = b"".join((key if isinstance(key, bytes) else text(key)) + value
                     for key, value in entries)
    return b"}(" + pairs + b"u"


def storage(key="0", count=4, kind="FloatStorage"):
    return tuple_of(text("storage"), function("torch", kind), text(key), text("cpu"),
                    number(count)) + b"Q"


def tensor(source=None, offset=0, size=(4,), stride=(1,)):
    return call(function("torch._utils", "_rebuild_tensor_v2"), source or storage(),
                number(offset), numbers(size), numbers(stride), b"\x89", b"N")


def pickle(body, protocol=2):
    return b"\x80" + bytes([protocol]) + body + b"."
