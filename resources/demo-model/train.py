#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the demo model: text, tokenizer, training, and files in Meta's layout.

    python3 train.py --out . --work /tmp/demo-model --minutes 100

Everything starts from nothing: the stories come from story_grammar.py, the
tokenizer is trained on them by SentencePiece, and the network (network.py) is
trained on the CPU in 32-bit floats. Needs PyTorch (1.13 or newer),
sentencepiece and numpy.

One process a core: each computes the gradients of its own stories, all take
their mean and the same step. The matrices are too small to be worth dividing
between the threads of one process.
"""

import argparse
import ctypes
import json
import os
import sys
import time

# Read when the library is loaded; torch.set_num_threads() does not reach it.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import sentencepiece
import torch
import torch.multiprocessing as mp
import torch.nn as nn
import torch.nn.functional as F

from data import (BOS, EOS, HELDOUT_SEED, IGNORE, TRAIN_SEED, batches, encode, make_stories, rare_tokens,
                  said_before, to_tensors, train_tokenizer)
from muon import Muon
from network import Llama, Params

HELDOUT_STORIES = 400      # for the validation loss
HELDOUT_IN_FILE = 40       # the first of them also go to heldout.txt


# ----------------------------------------------------------------- the output

def export(model, sp_prefix, out):
    state = {k: v.detach().to(torch.float16).contiguous().clone()
             for k, v in model.state_dict().items()}
    path = os.path.join(out, "consolidated.00.pth")
    torch.save(state, path + ".part")
    os.replace(path + ".part", path)
    p = model.p
    with open(os.path.join(out, "params.json"), "w") as f:
        json.dump({"dim": p.dim, "multiple_of": p.multiple_of, "n_heads": p.n_heads,
                   "n_kv_heads": p.n_kv_heads, "n_layers": p.n_layers,
                   "norm_eps": p.norm_eps, "vocab_size": p.vocab_size,
                   "max_seq_len": p.max_seq_len}, f, indent=1)
        f.write("\n")
    with open(sp_prefix + ".model", "rb") as src, \
            open(os.path.join(out, "tokenizer.model"), "wb") as dst:
        dst.write(src.read())
    return os.path.getsize(path)


@torch.no_grad()
def evaluate(model, docs, half=False):
    """Nats a token over the held-out stories, each after BOS, EOS counted."""
    if half:
        rounded = Llama(model.p)
        rounded.load_state_dict({k: v.half().float() for k, v in model.state_dict().items()})
        model = rounded
    total, count = 0.0, 0
    docs = sorted(docs, key=len)
    for i in range(0, len(docs), 16):
        x, y = to_tensors(docs[i:i + 16])
        logits = model(x)
        total += F.cross_entropy(logits.flatten(0, 1), y.flatten(), ignore_index=IGNORE,
                                 reduction="sum").item()
        count += int((y != IGNORE).sum())
    return total / count, count


# --------------------------------------------------------------- the training

class Shared:
    """What the processes see of each other."""

    def __init__(self, processes, parameters):
        self.barrier = mp.get_context("fork").Barrier(processes)
        self.gradients = torch.zeros(2, processes, parameters).share_memory_()
        self.tokens = torch.zeros(2, processes, dtype=torch.int64).share_memory_()
        self.done = torch.zeros(2, dtype=torch.float64).share_memory_()


class Trainer:
    """The network and its two optimizers; every process has the same weights after every step."""

    def __init__(self, args, rank, shared):
        self.args, self.rank, self.shared = args, rank, shared
        torch.manual_seed(TRAIN_SEED)
        self.model = Llama(args.params)
        inside = [w for n, w in self.model.named_parameters() if n.startswith("layers") and w.dim() == 2]
        outside = [w for n, w in self.model.named_parameters() if not (n.startswith("layers") and w.dim() == 2)]
        self.optimizers = [
            Muon(inside, lr=args.muon_lr),
            torch.optim.AdamW(outside, lr=args.lr, betas=(0.9, 0.98), eps=1e-9, weight_decay=0.0)]
        self.parameters = list(self.model.parameters())

    def gradients(self, rows, rare, copy_weight):
        """Their gradients; the loss of all tokens and of the ones said before."""
        x, y = to_tensors(rows)
        again = said_before(x, y, rare).flatten()
        each = F.cross_entropy(self.model(x).flatten(0, 1), y.flatten(), ignore_index=IGNORE,
                               reduction="none")
        is_token = y.flatten() != IGNORE
        weight = torch.where(again, copy_weight, 1.0) * is_token
        for w in self.parameters:
            w.grad = None
        ((each * weight).sum() / weight.sum()).backward()
        each = each.detach()
        return int(is_token.sum()), each[is_token].mean().item(), each[again].mean().item()

    def exchange(self, step, tokens, done):
        """The gradients become the mean over all processes. Returns the tokens that went into them
        and how much of the training is done, which is for the first process to say."""
        # Two sets in turn: nobody writes to one that another process still reads.
        shared, turn = self.shared, step % 2
        if self.rank == 0:
            shared.done[turn] = done
        shared.tokens[turn, self.rank] = tokens
        torch.cat([w.grad.flatten() for w in self.parameters], out=shared.gradients[turn, self.rank])
        shared.barrier.wait()
        mean = shared.gradients[turn].mean(0)
        for w, part in zip(self.parameters, mean.split([w.numel() for w in self.parameters])):
            w.grad = part.view_as(w)
        return int(shared.tokens[turn].sum()), shared.done[turn].item()

    def update(self, scale):
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for optimizer, rate in zip(self.optimizers, (self.args.muon_lr, self.args.lr)):
            for group in optimizer.param_groups:
                group["lr"] = rate * scale
            optimizer.step()

    def save(self, path, progress):
        torch.save({"model": self.model.state_dict(), **progress,
                    "optimizers": [o.state_dict() for o in self.optimizers]}, path + ".part")
        os.replace(path + ".part", path)

    def restore(self, path):
        saved = torch.load(path)
        self.model.load_state_dict(saved["model"])
        for optimizer, state in zip(self.optimizers, saved["optimizers"]):
            optimizer.load_state_dict(state)
        return {key: saved[key] for key in ("step", "pool", "tokens", "seconds")}


def rate(done, step, warmup):
    """Of the full learning rate: up at first, level, and down to nothing over the last 60 %."""
    return min(1.0, (step + 1) / warmup, (1 - done) / 0.6)


def train(rank, args, shared, prefix, heldout):
    keep_freed_memory()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    sp = sentencepiece.SentencePieceProcessor(model_file=prefix + ".model")
    trainer = Trainer(args, rank, shared)
    checkpoint = os.path.join(args.work, "checkpoint.pt")
    at = {"step": 0, "pool": 0, "tokens": 0, "seconds": 0.0}
    if args.resume:
        at = trainer.restore(checkpoint)
        at["pool"] += 1
    rare = rare_tokens(sp, args.params.vocab_size)
    val_docs = [encode(sp, s) for s in heldout]
    work = batches(sp, set(heldout), args.batch_tokens, args.params.max_seq_len, rank, args.processes, at["pool"])
    since = time.time()
    start = since - at["seconds"]
    since_tokens, smooth, done = at["tokens"], None, 0.0
    while done < 1:
        at["pool"], rows = next(work)
        copy_weight = args.copy_weight + (1 - args.copy_weight) * done
        tokens, *losses = trainer.gradients(rows, rare, copy_weight)
        at["seconds"] = time.time() - start
        tokens, done = trainer.exchange(at["step"], tokens, min(1, at["seconds"] / (60 * args.minutes)))
        scale = rate(done, at["step"], args.warmup)
        trainer.update(scale)
        at["tokens"] += tokens
        at["step"] += 1
        smooth = losses if smooth is None else [0.95 * s + 0.05 * x for s, x in zip(smooth, losses)]
        if rank > 0:
            continue
        if at["step"] % 25 == 0:
            now = time.time()
            print(f"step {at['step']} loss {smooth[0]:.4f} copied {smooth[1]:.3f} rate {scale:.3f} "
                  f"{(at['tokens'] - since_tokens) / (now - since):.0f} tokens/s, {now - start:.0f} s", flush=True)
            since, since_tokens = now, at["tokens"]
        if at["step"] % 200 == 0:
            val, _ = evaluate(trainer.model, val_docs[:100])
            export(trainer.model, prefix, args.out)
            trainer.save(checkpoint, at)
            print(f"step {at['step']} held-out {val:.4f}", flush=True)
    if rank == 0:
        finish(trainer.model, val_docs, args, prefix, at)


def finish(model, val_docs, args, prefix, at):
    size = export(model, prefix, args.out)
    val, val_tokens = evaluate(model, val_docs, half=True)
    facts = {"val_loss": round(val, 4), "val_stories": len(val_docs), "val_tokens": val_tokens,
             "train_seconds": round(at["seconds"]), "steps": at["step"], "tokens": at["tokens"],
             "batch_tokens": args.batch_tokens * args.processes, "muon_learning_rate": args.muon_lr,
             "adamw_learning_rate": args.lr, "warmup_steps": args.warmup,
             "parameters": sum(w.numel() for w in model.parameters()), "file_bytes": size,
             "vocab_size": args.vocab, "seed": TRAIN_SEED, "heldout_seed": HELDOUT_SEED,
             "processes": args.processes, "torch": torch.__version__}
    with open(os.path.join(args.out, "training.json"), "w") as f:
        json.dump(facts, f, indent=1)
        f.write("\n")
    print(json.dumps(facts, indent=1), flush=True)


def keep_freed_memory():
    """Large temporaries come and go at every step."""
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-3, 1 << 30)
        libc.mallopt(-1, (1 << 31) - 1)
    except OSError:
        pass


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--out", default=".", help="folder for the finished model")
    ap.add_argument("--work", default="build", help="folder for what is made on the way")
    ap.add_argument("--minutes", type=float, default=100, help="the clock sets the learning rate and the end")
    ap.add_argument("--processes", type=int, default=2)
    ap.add_argument("--batch-tokens", type=int, default=2560, help="of each process")
    ap.add_argument("--muon-lr", type=float, default=0.02, help="for the matrices inside the layers")
    ap.add_argument("--lr", type=float, default=2e-3, help="AdamW's, for the rest")
    ap.add_argument("--warmup", type=int, default=50)
    ap.add_argument("--dim", type=int, default=Params.dim)
    ap.add_argument("--layers", type=int, default=Params.n_layers)
    ap.add_argument("--vocab", type=int, default=Params.vocab_size)
    ap.add_argument("--copy-weight", type=float, default=3.0,
                    help="weight, at first, in the loss of a rare token said before in the document")
    ap.add_argument("--resume", action="store_true", help="go on from the checkpoint in --work")
    args = ap.parse_args()
    args.params = Params(dim=args.dim, n_heads=args.dim // 32, n_layers=args.layers, vocab_size=args.vocab)
    n_params = sum(w.numel() for w in Llama(args.params).parameters())
    print(f"{args.params} hidden={args.params.hidden} parameters={n_params} f16={2 * n_params / 1e6:.2f} MB",
          flush=True)

    os.makedirs(args.work, exist_ok=True)
    os.makedirs(args.out, exist_ok=True)
    heldout = make_stories(HELDOUT_SEED, HELDOUT_STORIES)
    prefix = os.path.join(args.work, "tokenizer")
    if not args.resume:
        train_tokenizer(prefix, args.vocab)
    sp = sentencepiece.SentencePieceProcessor(model_file=prefix + ".model")
    assert (sp.unk_id(), sp.bos_id(), sp.eos_id(), sp.pad_id()) == (0, BOS, EOS, -1)
    assert sp.vocab_size() == args.vocab
    for s in heldout:
        assert sp.decode(sp.encode(s)) == s
    with open(os.path.join(args.out, "heldout.txt"), "w", encoding="utf-8") as f:
        f.write("\n\n".join(heldout[:HELDOUT_IN_FILE]) + "\n")
    shared = Shared(args.processes, n_params)
    mp.start_processes(train, args=(args, shared, prefix, heldout), nprocs=args.processes,
                       start_method="fork")


if __name__ == "__main__":
    sys.exit(main())
