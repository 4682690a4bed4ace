#!/usr/bin/env python3
"""Opens checkpoints with torch and prints what is in them.

describe_checkpoint.py FILE: for each tensor a line with name, type, shape, strides, mean and standard
deviation. Fails when torch or Python's zip reader finds fault with the file, or when a member does
not begin at a multiple of 64 bytes.
"""
import struct
import sys
import zipfile

import torch

path = sys.argv[1]
for name, tensor in torch.load(path, map_location="cpu").items():
    values = tensor.double()
    print(name, tensor.dtype, list(tensor.shape), list(tensor.stride()), values.mean().item(),
          values.std(unbiased=False).item(), sep="\t")

archive = zipfile.ZipFile(path)
damaged = archive.testzip()
if damaged:
    sys.exit(f"{damaged} does not match its checksum")
with open(path, "rb") as file:
    for member in archive.infolist():
        file.seek(member.header_offset + 26)
        name_bytes, extra_bytes = struct.unpack("<HH", file.read(4))
        if (member.header_offset + 30 + name_bytes + extra_bytes) % 64:
            sys.exit(f"{member.filename} is not aligned to 64 bytes")
