"""A zip of stored members that are mostly holes, so that a test can have one of many gigabytes.

Sizes and offsets are written in zip64 form, as torch does for large files. Checksums of the holes
are not computed; readers of weights do not look at them.
"""

import struct
import zlib

LIMIT32 = 0xFFFFFFFF
ALIGNMENT = 64


class SparseZip:
    def __init__(self, path):
        self.file = open(path, "wb")
        self.directory = []

    def add(self, name, size, end=b""):
        """A member of `size` bytes: zeros, then `end`."""
        raw = name.encode("utf-8")
        start = self.file.tell()
        sizes = struct.pack("<HHQQ", 1, 16, size, size)
        padding = -(start + 30 + len(raw) + len(sizes) + 4) % ALIGNMENT
        extra = sizes + struct.pack("<HH", 0x4246, padding) + bytes(padding)
        checksum = zlib.crc32(end) if size == len(end) else 0
        self.file.write(struct.pack("<IHHHHHIIIHH", 0x04034B50, 45, 0x800, 0, 0, 0x21, checksum,
                                    LIMIT32, LIMIT32, len(raw), len(extra)) + raw + extra)
        self.file.seek(size - len(end), 1)
        self.file.write(end)
        sizes = struct.pack("<HHQQQ", 1, 24, size, size, start)
        self.directory.append(
            struct.pack("<IHHHHHHIIIHHHHHII", 0x02014B50, 45, 45, 0x800, 0, 0, 0x21, checksum,
                        LIMIT32, LIMIT32, len(raw), len(sizes), 0, 0, 0, 0, LIMIT32) + raw + sizes)

    def close(self):
        start = self.file.tell()
        directory = b"".join(self.directory)
        count = len(self.directory)
        self.file.write(directory)
        self.file.write(struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, count, count,
                                    len(directory), start))
        self.file.write(struct.pack("<IIQI", 0x07064B50, 0, start + len(directory), 1))
        self.file.write(struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 0xFFFF, 0xFFFF, LIMIT32,
                                    LIMIT32, 0))
        self.file.close()
