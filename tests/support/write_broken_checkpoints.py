"""Writes damaged, strange and hostile checkpoints, one folder a case, that must all be refused.

usage: write_broken_checkpoints.py OUTPUT_FOLDER
"""

import json
import os
import shutil
import struct
import sys
import tarfile
import warnings
import zipfile

import torch

import write_checkpoints
from write_checkpoints import Writer, model, rezip, split
from pickle_assembler import call, dictionary, function, number, numbers, pickle, storage, tensor
from pickle_assembler import text, tuple_of


class BrokenWriter(Writer):
    def raw(self, case, content, name="consolidated.00.pth"):
        with open(os.path.join(self.folder(case), name), "wb") as file:
            file.write(content)

    def archive(self, case, members, compression=zipfile.ZIP_STORED):
        path = os.path.join(self.folder(case), "consolidated.00.pth")
        with zipfile.ZipFile(path, "w", compression) as archive:
            for name, content in members:
                archive.writestr(name, content)
        return path

    def pickled(self, case, body, protocol=2, storages=None):
        """An archive around a pickle; one storage of four floats unless said otherwise."""
        storages = {"0": bytes(16)} if storages is None else storages
        members = [("archive/data.pkl", pickle(body, protocol))]
        members += [("archive/data/" + key, content) for key, content in storages.items()]
        return self.archive(case, members)

    def valid(self, case, **options):
        path = os.path.join(self.folder(case), "consolidated.00.pth")
        torch.save(model(torch.float16), path, **options)
        return path

    def patched(self, case, member, patch_local=None, patch_central=None, path=None):
        """A valid file with bytes of one member's headers replaced: {offset: bytes}."""
        path = path or self.valid(case)
        with zipfile.ZipFile(path) as archive:
            info = next(info for info in archive.infolist() if info.filename.endswith(member))
        with open(path, "rb") as file:
            content = bytearray(file.read())
        central = content.find(b"PK\x01\x02")
        while content[central + 46:].find(info.filename.encode()) != 0:
            central = content.find(b"PK\x01\x02", central + 4)
        for base, patch in ((info.header_offset, patch_local), (central, patch_central)):
            for offset, replacement in (patch or {}).items():
                content[base + offset:base + offset + len(replacement)] = replacement
        with open(path, "wb") as file:
            file.write(content)


def write_other_files(writer):
    writer.raw("empty-file", b"")
    writer.raw("html-page", b"\n  <!DOCTYPE html>\n<html><body>Please log in</body></html>")
    writer.raw("html-fragment", b"<HTML><head><title>404</title></head></HTML>")
    writer.raw("xml-error", b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>")
    writer.raw("git-lfs-pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n")
    writer.raw("gguf", b"GGUF\x03\x00\x00\x00" + bytes(100))
    writer.raw("ggml", b"tjgg\x01\x00\x00\x00" + bytes(100))
    header = json.dumps({"__metadata__": {}}).encode()
    writer.raw("safetensors", struct.pack("<Q", len(header)) + header)
    writer.raw("gzip", b"\x1f\x8b\x08\x00" + bytes(100))
    writer.raw("json-as-weights", b'{"dim": 16}')
    writer.raw("zero-bytes", bytes(5000))
    writer.raw("plain-text", b"These are not the weights you are looking for.")
    writer.raw("foreign-pickle", pickle(dictionary([("a", number(1))])))
    writer.raw("numpy-array", b"\x93NUMPY\x01\x00v\x00" + bytes(200))
    folder = writer.folder("tar-archive")
    with tarfile.open(os.path.join(folder, "consolidated.00.pth"), "w") as archive:
        archive.add(os.path.join(folder, "params.json"), "storages")


def write_archives(writer):
    path = writer.valid("missing-member")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(path + ".new", "w") as new:
        for member in old.infolist():
            if not member.filename.endswith("/data/3"):
                new.writestr(member.filename, old.read(member))
    os.replace(path + ".new", path)
    writer.archive("missing-pickle", [("archive/data/0", bytes(16))])
    writer.archive("empty-archive", [])
    writer.archive("zipped-checkpoint", [("llama/consolidated.00.pth", bytes(16))])
    good = pickle(dictionary([("a", tensor())]))
    writer.archive("two-checkpoints", [("one/data.pkl", good), ("two/data.pkl", good)])
    writer.archive("torchscript", [("m/data.pkl", good), ("m/constants.pkl", pickle(b")"))])
    writer.archive("big-endian", [("a/byteorder", b"big"), ("a/data.pkl", good),
                                  ("a/data/0", bytes(16))])
    warnings.simplefilter("ignore")  # zipfile warns about the duplicate name
    writer.archive("duplicate-member", [("a/data.pkl", good), ("a/data/0", bytes(16)),
                                        ("a/data/0", bytes(16))])
    writer.archive("bzip2", [("a/data.pkl", good), ("a/data/0", bytes(16))], zipfile.ZIP_BZIP2)
    writer.archive("huge-pickle", [("a/data.pkl", bytes(80 << 20))], zipfile.ZIP_DEFLATED)
    writer.archive("deflate-bomb", [("a/data.pkl", good), ("a/data/0", bytes(80 << 20))],
                   zipfile.ZIP_DEFLATED)

    encrypted = {6: b"\x09\x08"}, {8: b"\x09\x08"}
    writer.patched("encrypted", "/data/0", *encrypted)
    writer.patched("other-local-header", "/data/0", {8: b"\x08\x00"})
    writer.patched("no-local-header", "/data/0", {0: b"XXXX"})
    huge = struct.pack("<II", 0x7FFFFFFF, 0x7FFFFFFF)
    writer.patched("member-beyond-the-end", "/data/0", None, {20: huge})
    writer.patched("two-sizes", "/data/0", None, {24: struct.pack("<I", 17)})
    writer.patched("impossible-ratio", "/data.pkl", None,
                   {24: struct.pack("<I", 48 << 20)}, rezipped(writer, "impossible-ratio"))
    path = rezipped(writer, "damaged-deflate")
    writer.patched("damaged-deflate", "/data/0", {60: bytes(range(200, 256))}, None, path)


def rezipped(writer, case):
    path = writer.valid(case)
    rezip(path, path + ".new", "archive/", zipfile.ZIP_DEFLATED)
    os.replace(path + ".new", path)
    return path


def write_hostile_pickles(writer):
    marker = os.path.join(writer.root, "marker")
    command = text("touch '" + marker + "'")
    weights = ("a", tensor())
    for module in ("os", "posix", "nt"):
        writer.pickled(module + "-system", call(function(module, "system"), command))
    inside = call(function("os", "system"), command)
    writer.pickled("os-system-among-weights", dictionary([weights, ("hook", inside)]))
    writer.pickled("os-system-by-name", text("os") + text("system") + b"\x93" +
                   tuple_of(command) + b"R", 4)
    writer.pickled("os-system-by-newobj", function("os", "system") + tuple_of(command) + b"\x81")
    writer.pickled("eval", call(function("builtins", "eval"), text("1")))
    writer.pickled("getattr", call(function("__builtin__", "getattr"), text("os"), text("system")))
    writer.pickled("whole-module", call(function("__main__", "Transformer"), text("x")))
    writer.pickled("load-from-bytes", call(function("torch.storage", "_load_from_bytes"),
                                           text("x")))
    writer.pickled("control-characters-in-name", call(function("o\x1b[31ms", "sys\x07tem")))
    legacy = legacy_head() + pickle(call(function("os", "system"), command))
    writer.raw("legacy-os-system", legacy)


def write_odd_pickles(writer):
    writer.pickled("protocol-0", b"", 0)
    writer.pickled("protocol-9", dictionary([("a", tensor())]), 9)
    writer.archive("no-protocol", [("a/data.pkl", b"N.")])
    writer.archive("empty-pickle", [("a/data.pkl", b"")])
    writer.archive("pickle-without-end", [("a/data.pkl", b"\x80\x02}")])
    writer.pickled("unknown-opcode", b"\xff")
    writer.pickled("extension-opcode", b"\x82\x01")
    writer.pickled("empty-stack", b"")
    writer.pickled("missing-mark", b"Nt")
    writer.pickled("open-mark", b"N(")
    writer.pickled("unknown-memo", b"h\x07")
    writer.pickled("append-to-number", number(1) + b"Na")
    writer.pickled("key-without-value", b"}(Nu")
    writer.pickled("call-of-text", call(text("os.system"), text("x")))
    writer.pickled("arguments-not-a-tuple", function("torch", "Size") + b"]R")
    writer.pickled("name-not-text", number(1) + number(2) + b"\x93")
    writer.pickled("endless-name", b"c" + b"a" * 5000 + b"\nb\n")
    writer.pickled("huge-text", b"\x8d" + struct.pack("<Q", 2**63) + b"abc")
    writer.pickled("huge-bytes", b"B" + struct.pack("<I", 2**32 - 1) + b"abc")
    writer.pickled("huge-long", b"\x8b" + struct.pack("<I", 2**31) + b"abc")
    writer.pickled("deep-marks", b"(" * 100000)
    writer.pickled("deep-lists", b"]" * 100000 + b"a" * 99999)
    writer.pickled("deep-tuples", b"N" + b"\x85" * 100000)
    writer.pickled("deep-dictionaries", (b"}" + text("a")) * 100000 + b"N" + b"s" * 100000)
    writer.pickled("million-objects", b"]" * 2_100_000)
    writer.pickled("number-as-root", number(7))
    writer.pickled("no-tensors", dictionary([("a", number(1))]))
    writer.pickled("memo-at-huge-index", b"Nr" + struct.pack("<I", 2**32 - 1))
    # Ten dictionaries, each holding the one before it under ten keys: 10^10 paths, 10 objects.
    laughs = dictionary([("a", number(1))]) + b"q\x00"
    for level in range(1, 11):
        pairs = b"".join(text(str(key)) + b"h" + bytes([level - 1]) for key in range(10))
        laughs = laughs + b"0}(" + pairs + b"uq" + bytes([level])
    writer.pickled("billion-laughs", laughs)
    writer.pickled("contains-itself", b"}q\x00(" + text("a") + b"h\x00u")


def write_odd_tensors(writer):
    def one(case, value, storages=None):
        writer.pickled(case, dictionary([("w", value)]), storages=storages)

    one("storage-too-short", tensor(), {"0": bytes(12)})
    one("storage-empty", tensor(), {"0": b""})
    one("storage-missing", tensor(), {})
    one("storage-announced-too-short", tensor(storage(count=3)))
    one("offset-beyond", tensor(offset=1))
    one("offset-far-beyond", tensor(offset=2**62))
    one("negative-offset", tensor(offset=-1))
    one("negative-shape", tensor(size=(-4,)))
    one("negative-stride", tensor(stride=(-1,)))
    one("stride-beyond", tensor(size=(2, 2), stride=(3, 1)))
    one("shape-overflows", tensor(size=(2**62, 2**62, 0), stride=(1, 1, 1)))
    one("stride-overflows", tensor(size=(4, 4), stride=(2**62, 2**62)))
    one("bytes-overflow", tensor(storage(count=2**62), size=(2**62,)))
    one("more-than-a-long", tensor(size=(2**80,)))
    one("repeated-endlessly", tensor(size=(2**40,), stride=(0,)))
    one("nine-dimensions", tensor(size=(1,) * 9, stride=(1,) * 9))
    one("shape-without-strides", tensor(size=(2, 2), stride=(1,)))
    rebuild = function("torch._utils", "_rebuild_tensor_v2")
    one("shape-of-text", call(rebuild, storage(), number(0), tuple_of(text("4")), numbers((1,))))
    one("shape-not-a-list", call(rebuild, storage(), number(0), number(4), numbers((1,))))
    one("too-few-arguments", call(rebuild, storage()))
    one("storage-is-text", call(rebuild, text("0"), number(0), numbers((4,)), numbers((1,))))
    one("storage-identifier-short", tensor(tuple_of(text("storage")) + b"Q"))
    one("storage-negative-count", tensor(storage(count=-4)))
    one("storage-of-unknown-word",
        tensor(tuple_of(text("module"), function("torch", "FloatStorage"), text("0"), text("cpu"),
                        number(4)) + b"Q"))
    one("storage-key-climbs", tensor(storage(key="../../params.json")))
    wrapped = tensor()
    for _ in range(12):
        wrapped = call(function("torch._utils", "_rebuild_parameter"), wrapped, b"\x88", b"N")
    one("wrapped-too-often", wrapped)
    one("parameter-of-nothing", call(function("torch._utils", "_rebuild_parameter")))
    writer.pickled("name-not-utf8", dictionary([(text(b"w\xff\xfe"), tensor())]))
    writer.pickled("two-names-collide", dictionary([("module.w", tensor()), ("w", tensor())]))


def write_shards(writer):
    tensors = model(torch.float16)

    def shards(case, count, change=None, by_rows=False):
        parts = split(tensors, count, by_rows)
        if change:
            change(parts)
        folder = writer.folder(case)
        for index, part in enumerate(parts):
            torch.save(part, os.path.join(folder, f"consolidated.{index:02d}.pth"))
        return folder

    os.remove(os.path.join(shards("shard-1-missing", 4), "consolidated.01.pth"))
    os.remove(os.path.join(shards("first-shard-missing", 2), "consolidated.00.pth"))
    folder = shards("last-shards-missing", 4)
    for index in (2, 3):
        os.remove(os.path.join(folder, f"consolidated.{index:02d}.pth"))
    folder = shards("one-shard-alone", 2)
    os.remove(os.path.join(folder, "consolidated.01.pth"))
    os.rename(os.path.join(folder, "consolidated.00.pth"), os.path.join(folder, "part.pth"))
    folder = shards("too-many-shards", 1)
    shutil.copy(os.path.join(folder, "consolidated.00.pth"),
                os.path.join(folder, "consolidated.01.pth"))

    def lose(parts):
        del parts[1]["layers.1.attention.wk.weight"]

    def reshape(parts):
        parts[1]["layers.1.attention.wk.weight"] = torch.zeros(3, 3).half()

    def retype(parts):
        parts[1]["layers.0.feed_forward.w1.weight"] = parts[1][
            "layers.0.feed_forward.w1.weight"].float()

    def widen(parts):
        for part in parts:
            part["tok_embeddings.weight"] = torch.zeros(40, 5).half()

    def flatten(parts):
        for part in parts:
            part["layers.0.attention.wv.weight"] = torch.zeros(128).half()

    def renorm(parts):
        parts[1]["norm.weight"] = torch.ones(8).half()

    shards("tensor-missing-from-a-shard", 2, lose)
    shards("shapes-differ-between-shards", 2, reshape)
    shards("types-differ-between-shards", 2, retype)
    shards("embedding-fits-neither-way", 2, widen)
    shards("vector-where-a-matrix-belongs", 2, flatten)
    shards("norms-differ-between-shards", 2, renorm)

    hugging_face = {"model.layers.0.self_attn.q_proj.weight": torch.zeros(4, 4)}
    torch.save(hugging_face, os.path.join(writer.folder("hugging-face"), "consolidated.00.pth"))


def legacy_head(version=1001, little=True):
    facts = dictionary([("protocol_version", number(1001)),
                        ("little_endian", b"\x88" if little else b"\x89")])
    magic = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
    return pickle(magic) + pickle(number(version)) + pickle(facts)


def write_legacy(writer):
    body = pickle(dictionary([("w", tensor())]))
    keys = pickle(b"](" + text("0") + b"e")
    good = struct.pack("<q", 4) + bytes(16)
    writer.raw("legacy-other-version", legacy_head(7) + body + keys + good)
    writer.raw("legacy-big-endian", legacy_head(little=False) + body + keys + good)
    writer.raw("legacy-without-keys", legacy_head() + body + pickle(b"N") + good)
    writer.raw("legacy-unused-key", legacy_head() + body + pickle(b"](" + text("9") + b"e") + good)
    writer.raw("legacy-key-missing", legacy_head() + body + pickle(b"]") + good)
    writer.raw("legacy-number-as-key", legacy_head() + body + pickle(b"](K\x00e") + good)
    writer.raw("legacy-negative-count", legacy_head() + body + keys + struct.pack("<q", -1))
    writer.raw("legacy-huge-count", legacy_head() + body + keys + struct.pack("<q", 2**62))
    writer.raw("legacy-no-storages", legacy_head() + body + keys)
    writer.raw("legacy-short-storage", legacy_head() + body + keys + struct.pack("<q", 3) +
               bytes(12))
    view = tuple_of(text("storage"), function("torch", "FloatStorage"), text("0"), text("cpu"),
                    number(4), tuple_of(text("1"), number(3), number(4))) + b"Q"
    writer.raw("legacy-view-beyond", legacy_head() + pickle(dictionary([("w", tensor(view))])) +
               keys + good)


def main():
    writer = BrokenWriter(sys.argv[1])
    write_other_files(writer)
    write_archives(writer)
    write_hostile_pickles(writer)
    write_odd_pickles(writer)
    write_odd_tensors(writer)
    write_shards(writer)
    write_legacy(writer)
    # Sound files for the test to cut and to change bytes of.
    writer.valid("valid-zip")
    writer.valid("valid-legacy", _use_new_zipfile_serialization=False)
    write_checkpoints.unzip(writer.valid("valid-folder"),
                            os.path.join(writer.folder("valid-folder"), "consolidated.00"))


if __name__ == "__main__":
    main()
