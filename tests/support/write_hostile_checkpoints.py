"""Writes checkpoints whose pickles are small but ask for a lot of work, one folder a case, and one
sound checkpoint with a list of the places in it that decide how it is read.

usage: write_hostile_checkpoints.py OUTPUT_FOLDER
"""

import os
import pickletools
import struct
import sys
import zipfile

import torch

from write_checkpoints import Writer, model
from pickle_assembler import call, dictionary, function, number, pickle, storage, tensor, text
from pickle_assembler import tuple_of

def remembered(value, slot):
    return value + b"q" + bytes([slot])


def recalled(slot):
    return b"h" + bytes([slot])


def listed(items):
    return b"](" + items + b"e"


class HostileWriter(Writer):
    def pickled(self, case, body):
        path = os.path.join(self.folder(case), "consolidated.00.pth")
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", pickle(body), zipfile.ZIP_DEFLATED)
            archive.writestr("archive/data/0", bytes(16))


def write_repetitions(writer):
    """Each stands for gigabytes, or for minutes, when it is taken at its word."""
    # One name of a megabyte, five thousand times.
    name = remembered(text("x" * (1 << 20)), 0)
    writer.pickled("long-name-of-many-entries",
                   b"}(" + text("w") + tensor() + name + b"N" + (recalled(0) + b"N") * 5000 + b"u")
    name = remembered(text("module." * 150_000), 0)
    value = remembered(tensor(), 1)
    writer.pickled("long-name-of-many-tensors",
                   b"}(" + name + value + (recalled(0) + recalled(1)) * 5000 + b"u")
    key = remembered(text("0" * (1 << 20)), 0)
    long_key = tuple_of(text("storage"), function("torch", "FloatStorage"), key, text("cpu"),
                        number(4)) + b"Q"
    writer.pickled("long-storage-key", dictionary([("w", tensor(long_key))]))
    # An OrderedDict of Python 2, whose list of pairs holds one long list instead, many times.
    ordered = function("collections", "OrderedDict")
    long_list = remembered(listed(b"N" + text("a") * 2000), 0)
    pairs = tuple_of(listed(long_list + recalled(0) * 40_000)) + b"R"
    writer.pickled("long-lists-as-pairs", ordered + pairs + b"(" + text("w") + tensor() + b"u")
    # Many of them, with the same list of pairs.
    pair = remembered(listed(text("a") + remembered(tensor(), 2)), 0)
    arguments = remembered(tuple_of(listed(pair + recalled(0) * 20_000)), 1)
    one = remembered(ordered, 3) + arguments + b"R"
    entries = b"".join(text(str(index)) + recalled(3) + recalled(1) + b"R" for index in range(5000))
    writer.pickled("one-list-of-pairs-for-many", b"}(" + text("first") + one + entries + b"u")
    # Every tensor has something to be noted about it.
    odd = remembered(tensor(storage(kind="ComplexFloatStorage")), 0)
    names = b"".join(text(f"odd.{index}") + recalled(0) for index in range(100_000))
    writer.pickled("a-note-for-each-of-many-tensors",
                   b"}(" + text("w") + tensor() + text("odd") + odd + names + b"u")
    dictionaries = b"".join(text(str(index)) + dictionary([("w", recalled(0))])
                            for index in range(20_000))
    writer.pickled("many-dictionaries-of-tensors",
                   b"}(" + text("w") + remembered(tensor(), 0) + dictionaries + b"u")
    writer.pickled("many-items", b"N" + (b"(N" + b"2" * 3_000_000 + b"t") * 3)
    writer.pickled("empty-and-endless", dictionary([("w", tensor(size=(2**62, 0), stride=(0, 1)))]))


def write_structure(path, places):
    """Where the pickle, the headers and the directory of a zip are, and the numbers in the pickle."""
    with zipfile.ZipFile(path) as archive, open(path, "rb") as file:
        content = file.read()
        for info in archive.infolist():
            name_length, extra_length = struct.unpack_from("<HH", content, info.header_offset + 26)
            data = info.header_offset + 30 + name_length + extra_length
            places.write(f"bits {info.header_offset} {info.header_offset + 30 + name_length}\n")
            if not info.filename.endswith("/data.pkl"):
                continue
            places.write(f"bits {data} {data + info.file_size}\n")
            for opcode, argument, position in pickletools.genops(content[data:data + info.file_size]):
                if opcode.name in ("BININT", "BININT1", "BININT2"):
                    size = {"BININT": 4, "BININT1": 1, "BININT2": 2}[opcode.name]
                    places.write(f"number {data + position + 1} {data + position + 1 + size}\n")
        places.write(f"bits {content.find(b'PK' + bytes([1, 2]))} {len(content)}\n")


def main():
    writer = HostileWriter(sys.argv[1])
    write_repetitions(writer)
    path = os.path.join(writer.folder("sound"), "consolidated.00.pth")
    torch.save(model(torch.float16), path)
    with open(os.path.join(writer.root, "places.txt"), "w") as places:
        write_structure(path, places)


if __name__ == "__main__":
    main()
