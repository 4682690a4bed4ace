"""Writes small LLaMA checkpoints with torch.save, one folder a case, for tests of the reader.

Beside the files lies expected/: what torch itself says the merged tensors are, as index.tsv
(name, dtype, shape) and one raw little-endian f32 file a line of the index.

usage: write_checkpoints.py OUTPUT_FOLDER
"""

import argparse
import collections
import json
import os
import shutil
import sys
import zipfile

import numpy
import torch

import pickle_assembler as assembler
from sparse_zip import SparseZip

DIM, HEADS, KV_HEADS, FFN, VOCABULARY, LAYERS = 16, 4, 4, 48, 40, 2
COLUMN_SPLIT = ("attention.wo.weight", "feed_forward.w2.weight")
ROW_SPLIT = ("wq.weight", "wk.weight", "wv.weight", "w1.weight", "w3.weight", "output.weight")


def model(dtype=torch.float32, seed=1):
    """A complete state dict in Meta's layout and order."""
    torch.manual_seed(seed)
    head_dim = DIM // HEADS

    def matrix(rows, columns):
        return torch.randn(rows, columns, dtype=torch.float64).to(dtype)

    tensors = {"tok_embeddings.weight": matrix(VOCABULARY, DIM)}
    for layer in range(LAYERS):
        prefix = f"layers.{layer}."
        tensors[prefix + "attention.wq.weight"] = matrix(DIM, DIM)
        tensors[prefix + "attention.wk.weight"] = matrix(KV_HEADS * head_dim, DIM)
        tensors[prefix + "attention.wv.weight"] = matrix(KV_HEADS * head_dim, DIM)
        tensors[prefix + "attention.wo.weight"] = matrix(DIM, DIM)
        tensors[prefix + "feed_forward.w1.weight"] = matrix(FFN, DIM)
        tensors[prefix + "feed_forward.w2.weight"] = matrix(DIM, FFN)
        tensors[prefix + "feed_forward.w3.weight"] = matrix(FFN, DIM)
        tensors[prefix + "attention_norm.weight"] = matrix(1, DIM)[0].clone()
        tensors[prefix + "ffn_norm.weight"] = matrix(1, DIM)[0].clone()
    tensors["norm.weight"] = matrix(1, DIM)[0].clone()
    tensors["output.weight"] = matrix(VOCABULARY, DIM)
    return tensors


def split(tensors, count, embedding_by_rows=False):
    """The same tensors as `count` shards, cut as Meta's model parallelism does."""
    shards = [{} for _ in range(count)]
    for name, tensor in tensors.items():
        if name == "tok_embeddings.weight":
            axis = 0 if embedding_by_rows else 1
        elif name.endswith(COLUMN_SPLIT):
            axis = 1
        elif name.endswith(ROW_SPLIT):
            axis = 0
        else:
            axis = None
        for index, shard in enumerate(shards):
            part = tensor if axis is None else torch.chunk(tensor, count, axis)[index]
            shard[name] = part.contiguous().clone()
    return shards


class Writer:
    def __init__(self, root):
        self.root = root

    def folder(self, case):
        path = os.path.join(self.root, case)
        os.makedirs(path, exist_ok=True)
        params = {"dim": DIM, "n_layers": LAYERS, "n_heads": HEADS, "n_kv_heads": KV_HEADS,
                  "multiple_of": 8, "norm_eps": 1e-5, "vocab_size": -1}
        with open(os.path.join(path, "params.json"), "w") as file:
            json.dump(params, file)
        return path

    def expect(self, case, tensors):
        path = os.path.join(self.root, case, "expected")
        os.makedirs(path)
        with open(os.path.join(path, "index.tsv"), "w", encoding="utf-8") as index:
            for number, (name, tensor) in enumerate(tensors.items()):
                kind = str(tensor.dtype).replace("torch.", "")
                shape = ",".join(str(extent) for extent in tensor.shape)
                index.write(f"{name}\t{kind}\t{shape}\n")
                values = tensor.detach().to(torch.float32).contiguous().numpy()
                values.tofile(os.path.join(path, f"{number}.bin"))

    def case(self, case, content, expected, name="consolidated.00.pth", **options):
        path = os.path.join(self.folder(case), name)
        torch.save(content, path, **options)
        self.expect(case, expected)
        return path

    def sharded(self, case, tensors, count, embedding_by_rows=False, **options):
        path = self.folder(case)
        for index, shard in enumerate(split(tensors, count, embedding_by_rows)):
            shard["rope.freqs"] = torch.arange(2.0)
            shard["layers.0.attention.inner_attention.rope.freqs"] = torch.arange(2.0)
            torch.save(shard, os.path.join(path, f"consolidated.{index:02d}.pth"), **options)
        self.expect(case, tensors)


def write_types(writer):
    for name in ("float16", "bfloat16", "float32", "float64"):
        tensors = model(getattr(torch, name))
        writer.case(name, tensors, tensors)
        writer.case(f"legacy-{name}", tensors, tensors, _use_new_zipfile_serialization=False)
    for protocol in (2, 3, 4, 5):
        tensors = model(torch.float16)
        writer.case(f"protocol-{protocol}", tensors, tensors, pickle_protocol=protocol)
        writer.case(f"legacy-protocol-{protocol}", tensors, tensors, pickle_protocol=protocol,
                    _use_new_zipfile_serialization=False)


def write_views(writer):
    tensors = model(torch.float16)
    strided = dict(tensors)
    strided["layers.0.attention.wq.weight"] = tensors["layers.0.attention.wq.weight"].t()
    strided["layers.1.feed_forward.w2.weight"] = tensors["layers.1.feed_forward.w1.weight"].t()
    wide = torch.randn(DIM, 3 * DIM).half()
    strided["layers.0.attention.wk.weight"] = wide[:, DIM:2 * DIM]
    strided["layers.0.attention.wv.weight"] = wide[:, ::3]
    strided["norm.weight"] = wide[3, 5::2][:DIM]
    strided["output.weight"] = strided["tok_embeddings.weight"]
    writer.case("strided-and-shared", strided, strided)
    writer.case("legacy-strided-and-shared", strided, strided,
                _use_new_zipfile_serialization=False)

    flat = torch.cat([tensor.reshape(-1) for tensor in tensors.values()])
    views, start = {}, 0
    for name, tensor in tensors.items():
        views[name] = flat[start:start + tensor.numel()].view(tensor.shape)
        start += tensor.numel()
    writer.case("one-flat-storage", views, views)


def write_containers(writer):
    tensors = model()
    parameters = {name: torch.nn.Parameter(tensor) for name, tensor in tensors.items()}
    writer.case("parameters", parameters, tensors)

    attributed = {name: torch.nn.Parameter(tensor) for name, tensor in tensors.items()}
    for parameter in attributed.values():
        parameter.note = "an attribute"
    plain = tensors["norm.weight"].clone()
    plain.note = "a tensor with an attribute"
    writer.case("attributes", {**attributed, "norm.weight": plain}, tensors)

    ordered = collections.OrderedDict(tensors)
    ordered._metadata = {"": {"version": 1}}
    writer.case("ordered-dict", ordered, tensors)

    other = {name: tensor + 1 for name, tensor in tensors.items()}
    training = {
        "epoch": 3, "best": 0.25, "args": argparse.Namespace(lr=0.1, seed=None),
        "loss": numpy.float64(2.5), "curve": numpy.arange(3.0), "resumed": False, "huge": 1 << 100,
        "negative": -70000, "name": "a run", "raw": b"bytes", "array": bytearray(b"more"),
        "tags": {"a", "b"}, "frozen": frozenset([1]), "shape": torch.Size([2, 3]),
        "device": torch.device("cpu"), "dtype": torch.float16, "betas": (0.9, 0.999, 1, 2),
        "history": [[1, 2.5], [3, 4.5]], "rng_state": torch.zeros(5, dtype=torch.uint8),
        "many": list(range(3000)),
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(400)}, 1: {}}}, "ema": other,
    }
    for protocol in (2, 4):
        writer.case(f"training-checkpoint-{protocol}", {**training, "model": tensors}, tensors,
                    pickle_protocol=protocol)
    writer.case("nested-state-dict", {"state_dict": ordered, "step": 1}, tensors)
    wrapped = {"module._orig_mod." + name: tensor for name, tensor in tensors.items()}
    writer.case("wrapped-names", {"model": wrapped, "ema": other}, tensors)
    writer.case("extra-entries", {**tensors, "step": 12, "config": {"lr": 1e-3}}, tensors)
    counted = {**tensors, "steps_taken": torch.tensor(7, dtype=torch.int64)}
    writer.case("complex-and-integers", {**counted, "phase": torch.zeros(2, dtype=torch.complex64)},
                tensors)


def write_shards(writer):
    tensors = model(torch.bfloat16)
    writer.sharded("shards-1", tensors, 1)
    writer.sharded("shards-2", tensors, 2)
    writer.sharded("shards-4", tensors, 4)
    writer.sharded("shards-2-rows", tensors, 2, embedding_by_rows=True)
    writer.sharded("shards-4-rows", tensors, 4, embedding_by_rows=True)
    writer.sharded("legacy-shards-2", tensors, 2, _use_new_zipfile_serialization=False)

    # The third file is another model's: two of its norms are others.
    writer.sharded("shards-of-two-models", tensors, 4)
    path = os.path.join(writer.root, "shards-of-two-models", "consolidated.02.pth")
    shard = torch.load(path)
    for name in ("layers.1.attention_norm.weight", "norm.weight"):
        shard[name][-1] += 1
    torch.save(shard, path)

    write_copied_shards(writer, tensors)


def write_copied_shards(writer, tensors):
    """The second file saved over the others behind it, whole or but for one matrix."""
    ones = {name: torch.ones_like(tensor) for name, tensor in tensors.items()}
    for case, values, own in (("shards-with-copies", tensors, None), ("shards-of-ones", ones, None),
                              ("shards-alike-but-first", tensors, "layers.0.attention.wk.weight"),
                              ("shards-alike-but-last", tensors, "tok_embeddings.weight")):
        writer.sharded(case, values, 4)
        folder = os.path.join(writer.root, case)
        for index in (2, 3):
            path = os.path.join(folder, f"consolidated.{index:02d}.pth")
            shard = torch.load(os.path.join(folder, "consolidated.01.pth"))
            if own:
                shard[own] = torch.load(path)[own]
            torch.save(shard, path)
        shutil.rmtree(os.path.join(folder, "expected"))


def rezip(source, target, prefix, compression, force_zip64=False):
    """The same members under another prefix, by Python's zipfile: no alignment, any compression."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", compression) as new:
        for member in old.infolist():
            name = prefix + member.filename.split("/", 1)[1]
            with new.open(zipfile.ZipInfo(name) if compression == zipfile.ZIP_STORED else name,
                          "w", force_zip64=force_zip64) as out:
                out.write(old.read(member))


def write_archives(writer):
    tensors = model(torch.float16)
    cases = {
        "deflated": ("archive/", zipfile.ZIP_DEFLATED, False),
        "restored": ("archive/", zipfile.ZIP_STORED, False),
        "zip64": ("archive/", zipfile.ZIP_STORED, True),
        "no-prefix": ("", zipfile.ZIP_STORED, False),
        "non-ascii-prefix": ("Modèle été 模型/", zipfile.ZIP_STORED, False),
        "deep-prefix": ("a/b c/d/", zipfile.ZIP_DEFLATED, False),
    }
    for case, (prefix, compression, force_zip64) in cases.items():
        path = writer.case(case, tensors, tensors)
        rezip(path, path + ".new", prefix, compression, force_zip64)
        os.replace(path + ".new", path)
    # torch takes the prefix from the file's name.
    writer.case("ein schönes Modell", tensors, tensors, name="mein schönes Modell 1.pth")

    path = writer.case("unzipped", tensors, tensors)
    unzip(path, path[:-len(".pth")])
    path = writer.case("unzipped-with-prefix", tensors, tensors)
    with zipfile.ZipFile(path) as archive:
        archive.extractall(path[:-len(".pth")])
    os.remove(path)
    writer.sharded("unzipped-shards", tensors, 2)
    for index in range(2):
        path = os.path.join(writer.root, "unzipped-shards", f"consolidated.{index:02d}.pth")
        unzip(path, path[:-len(".pth")])


def unzip(path, folder):
    """As the members lie below the prefix, which is what rllama's instructions gave."""
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            target = os.path.join(folder, member.filename.split("/", 1)[1])
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with archive.open(member) as source, open(target, "wb") as out:
                shutil.copyfileobj(source, out)
    os.remove(path)


def assembled_forms(key, tensor):
    """The ways in which old and new versions of torch describe a tensor, apart from this one's."""
    call, function, numbers = assembler.call, assembler.function, assembler.numbers
    count, shape, strides = tensor.numel(), tensor.shape, tensor.stride()
    plain = assembler.tensor(assembler.storage(key, count), 0, shape, strides)
    size = call(function("torch", "Size"), numbers(shape))
    untyped = assembler.tuple_of(assembler.text("storage"),
                                 function("torch.storage", "UntypedStorage"), assembler.text(key),
                                 assembler.text("cpu"), assembler.number(4 * count)) + b"Q"
    utils = "torch._utils"
    hooks = assembler.call(function("collections", "OrderedDict"))
    rest = (b"\x89", hooks)
    return [
        call(function(utils, "_rebuild_tensor"), assembler.storage(key, count),
             assembler.number(0), size, numbers(strides)),
        call(function(utils, "_rebuild_tensor_v3"), untyped, assembler.number(0), numbers(shape),
             numbers(strides), *rest, function("torch", "float32"), b"}"),
        call(function(utils, "_rebuild_parameter_with_state"), plain, b"\x88", hooks, b"}"),
        call(function("torch._tensor", "_rebuild_from_type_v2"),
             function(utils, "_rebuild_tensor_v2"), function("torch", "Tensor"),
             assembler.tuple_of(assembler.storage(key, count), assembler.number(0),
                                numbers(shape), numbers(strides), *rest), b"}"),
    ]


def write_assembled(writer):
    """Files of other versions of torch than the one at hand, put together by hand."""
    tensors = model()
    forms = []
    members = {"byteorder": b"little", ".format_version": b"1", "version": b"3\n"}
    for index, (name, tensor) in enumerate(tensors.items()):
        forms.append((name, assembled_forms(str(index), tensor)[index % 4]))
        members[f"data/{index}"] = tensor.numpy().tobytes()
    # Python 2 gave an OrderedDict its entries as a list of lists.
    pairs = b"".join(b"](" + assembler.text(name) + value + b"e" for name, value in forms)
    ordered = assembler.call(assembler.function("collections", "OrderedDict"), b"](" + pairs + b"e")
    for case, root in (("newer-torch", assembler.dictionary(forms)), ("python-2", ordered)):
        path = os.path.join(writer.folder(case), "consolidated.00.pth")
        with zipfile.ZipFile(path, "w") as archive:
            for member, content in {"data.pkl": assembler.pickle(root), **members}.items():
                archive.writestr("archive/" + member, content)
        writer.expect(case, tensors)


def write_large(writer, rows, columns):
    """Two f16 matrices, nearly all of them a hole in the file; the last four values are 1 to 4."""
    folder = writer.folder("large")
    count = rows * columns
    entries = []
    for key, name in enumerate(("tok_embeddings.weight", "output.weight")):
        source = assembler.storage(str(key), count, "HalfStorage")
        entries.append((name, assembler.tensor(source, 0, (rows, columns), (columns, 1))))
    pickle = assembler.pickle(assembler.dictionary(entries))
    end = torch.tensor([1.0, 2.0, 3.0, 4.0]).half().numpy().tobytes()
    archive = SparseZip(os.path.join(folder, "consolidated.00.pth"))
    archive.add("archive/data.pkl", len(pickle), pickle)
    archive.add("archive/data/0", 2 * count, end)
    archive.add("archive/data/1", 2 * count, end)
    archive.close()


def main():
    writer = Writer(sys.argv[1])
    write_types(writer)
    write_views(writer)
    write_containers(writer)
    write_shards(writer)
    write_archives(writer)
    write_assembled(writer)
    write_large(writer, rows=1 << 20, columns=3 << 10)  # 6 GiB each, beyond 32 bits in every way


if __name__ == "__main__":
    main()
