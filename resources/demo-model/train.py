#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the demo model: text, tokenizer, training, and files in Meta's layout.

    python3 train.py --out . --work /tmp/demo-model-build

Everything starts from nothing: the stories come from story_grammar.py, the
tokenizer is trained on them by SentencePiece, and the network is a small
LLaMA-architecture transformer trained on the CPU in 32-bit floats. Needs
PyTorch (1.13 or newer), sentencepiece and numpy.
"""

import argparse
import ctypes
import json
import math
import os
import random
import shutil
import sys
import time
from dataclasses import dataclass

# OpenMP's threads must not spin while OpenBLAS's threads work; this alone
# doubles the speed on two cores. It is read when the library is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

import story_grammar

TRAIN_SEED = 20240607
HELDOUT_SEED = 909
HELDOUT_STORIES = 400      # for the validation loss
HELDOUT_IN_FILE = 40       # the first of them also go to heldout.txt
BOS, EOS = 1, 2
IGNORE = -100


@dataclass
class Params:
    dim: int = 192
    multiple_of: int = 32
    n_heads: int = 6
    n_kv_heads: int = 2
    n_layers: int = 6
    norm_eps: float = 1e-5
    vocab_size: int = 1536
    max_seq_len: int = 512

    @property
    def head_dim(self):
        return self.dim // self.n_heads

    @property
    def hidden(self):
        """Meta's rule for the width of the feed-forward network."""
        hidden = int(2 * (4 * self.dim) / 3)
        return self.multiple_of * ((hidden + self.multiple_of - 1) // self.multiple_of)


# ---------------------------------------------------------------- the network

class RMSNorm(nn.Module):
    def __init__(self, dim, eps):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


def rotations(head_dim, length, theta=10000.0):
    freqs = 1.0 / (theta ** (torch.arange(0, head_dim, 2).float() / head_dim))
    angles = torch.outer(torch.arange(length).float(), freqs)
    return torch.polar(torch.ones_like(angles), angles)


def rotate(x, rot):
    """x: batch, length, heads, head_dim; consecutive pairs are complex numbers."""
    pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * rot[None, :, None, :]).flatten(3)


class Attention(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.p = p
        self.wq = nn.Linear(p.dim, p.n_heads * p.head_dim, bias=False)
        self.wk = nn.Linear(p.dim, p.n_kv_heads * p.head_dim, bias=False)
        self.wv = nn.Linear(p.dim, p.n_kv_heads * p.head_dim, bias=False)
        self.wo = nn.Linear(p.n_heads * p.head_dim, p.dim, bias=False)

    def forward(self, x, rot, mask):
        p, (b, t, _) = self.p, x.shape
        q = rotate(self.wq(x).view(b, t, p.n_heads, p.head_dim), rot)
        k = rotate(self.wk(x).view(b, t, p.n_kv_heads, p.head_dim), rot)
        v = self.wv(x).view(b, t, p.n_kv_heads, p.head_dim)
        # Query heads share a key/value head in consecutive groups.
        rep = p.n_heads // p.n_kv_heads
        q = (q * p.head_dim ** -0.5).transpose(1, 2).reshape(b * p.n_kv_heads, rep * t, p.head_dim)
        k = k.permute(0, 2, 3, 1).reshape(b * p.n_kv_heads, p.head_dim, t)
        v = v.transpose(1, 2).reshape(b * p.n_kv_heads, t, p.head_dim)
        scores = torch.bmm(q, k).view(b * p.n_kv_heads, rep, t, t) + mask
        att = F.softmax(scores, dim=-1).view(b * p.n_kv_heads, rep * t, t)
        out = torch.bmm(att, v).view(b, p.n_heads, t, p.head_dim)
        return self.wo(out.transpose(1, 2).reshape(b, t, -1))


class FeedForward(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.w1 = nn.Linear(p.dim, p.hidden, bias=False)
        self.w2 = nn.Linear(p.hidden, p.dim, bias=False)
        self.w3 = nn.Linear(p.dim, p.hidden, bias=False)

    def forward(self, x):
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class Block(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.attention = Attention(p)
        self.feed_forward = FeedForward(p)
        self.attention_norm = RMSNorm(p.dim, p.norm_eps)
        self.ffn_norm = RMSNorm(p.dim, p.norm_eps)

    def forward(self, x, rot, mask):
        x = x + self.attention(self.attention_norm(x), rot, mask)
        return x + self.feed_forward(self.ffn_norm(x))


class Llama(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.p = p
        self.tok_embeddings = nn.Embedding(p.vocab_size, p.dim)
        self.layers = nn.ModuleList(Block(p) for _ in range(p.n_layers))
        self.norm = RMSNorm(p.dim, p.norm_eps)
        self.output = nn.Linear(p.dim, p.vocab_size, bias=False)
        self.rot = rotations(p.head_dim, p.max_seq_len)
        self.mask = torch.full((p.max_seq_len, p.max_seq_len), float("-inf")).triu(1)
        # Small weights and, beside them, large embeddings: with larger weights the
        # layers drown out who is who before any head has learned to look back.
        # The head starts as a copy of the embeddings and is then trained on its own.
        for name, w in self.named_parameters():
            if w.dim() == 2:
                std = 0.03
                if name.endswith(("wo.weight", "w2.weight")):
                    std /= math.sqrt(2 * p.n_layers)
                nn.init.normal_(w, std=std)
        with torch.no_grad():
            self.tok_embeddings.weight.normal_(std=0.1)
            self.output.weight.copy_(0.3 * self.tok_embeddings.weight)

    def forward(self, tokens):
        t = tokens.shape[1]
        x, rot, mask = self.tok_embeddings(tokens), self.rot[:t], self.mask[:t, :t]
        for layer in self.layers:
            x = layer(x, rot, mask)
        return self.output(self.norm(x))


# ------------------------------------------------------------------- the text

def make_stories(seed, count):
    """Every fourth story takes its people, places and things from the long lists."""
    return [story_grammar.story(random.Random(f"{seed}:{i}"), i % 4 == 3) for i in range(count)]


def train_tokenizer(stories, prefix, vocab_size):
    import sentencepiece as spm
    # Paragraphs, not stories, so that "\n" stays out of the vocabulary and is
    # written with its byte token <0x0A>, as in LLaMA's own tokenizer.
    paragraphs = (line for story in stories for line in story.split("\n"))
    spm.SentencePieceTrainer.train(
        sentence_iterator=paragraphs, model_prefix=prefix, vocab_size=vocab_size,
        model_type="bpe", byte_fallback=True, character_coverage=0.9999,
        unk_id=0, bos_id=1, eos_id=2, pad_id=-1, add_dummy_prefix=True,
        remove_extra_whitespaces=False, split_digits=True,
        allow_whitespace_only_pieces=True, normalization_rule_name="identity",
        num_threads=2, max_sentence_length=8192, minloglevel=1)


def encode(sp, story, rng=None):
    """BOS + story + EOS. Now and then the text is cut after a space before it is
    encoded, so that the model also knows how to go on from a prompt that ends in
    one."""
    if rng is not None and rng.random() < 0.04:
        cuts = [i for i, c in enumerate(story[:160]) if c == " "]
        cut = rng.choice(cuts) + 1
        # The leading newline takes the dummy prefix; both are dropped again.
        return [BOS] + sp.encode(story[:cut]) + sp.encode("\n" + story[cut:])[2:] + [EOS]
    return [BOS] + sp.encode(story) + [EOS]


def batches(docs, tokens_per_batch, max_len, rng):
    """Documents of similar length side by side, each row starting at position 0."""
    items = []
    i = 0
    while i < len(docs):
        # One row in twelve holds two documents, so that later positions are seen too.
        if i + 1 < len(docs) and rng.random() < 1 / 12:
            items.append((docs[i] + docs[i + 1])[:max_len + 1])
            i += 2
        else:
            items.append(docs[i][:max_len + 1])
            i += 1
    result = []
    for start in range(0, len(items), 1024):
        pool = sorted(items[start:start + 1024], key=len)
        chunk, made = [], []
        for item in pool:
            if chunk and (len(chunk) + 1) * len(item) > tokens_per_batch:
                made.append(chunk)
                chunk = []
            chunk.append(item)
        if chunk:
            made.append(chunk)
        rng.shuffle(made)
        result += made
    return result


def to_tensors(rows):
    width = max(len(r) for r in rows) - 1
    x = torch.full((len(rows), width), EOS, dtype=torch.long)
    y = torch.full((len(rows), width), IGNORE, dtype=torch.long)
    for i, r in enumerate(rows):
        r = torch.tensor(r)
        x[i, :len(r) - 1] = r[:-1]
        y[i, :len(r) - 1] = r[1:]
        y[i, :len(r) - 1][r[:-1] == EOS] = IGNORE  # nothing follows the end
    return x, y


def said_before(x, y, rare):
    """Where the next token is a rare one that the document already holds."""
    result = torch.zeros_like(y, dtype=torch.bool)
    for row, (xs, ys) in enumerate(zip(x.tolist(), y.tolist())):
        seen = set()
        for column, (token, following) in enumerate(zip(xs, ys)):
            if token == BOS:
                seen.clear()
            seen.add(token)
            if following != IGNORE and rare[following] and following in seen:
                result[row, column] = True
    return result


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


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--out", default=".", help="folder for the finished model")
    ap.add_argument("--work", default="build", help="folder for what is made on the way")
    ap.add_argument("--steps", type=int, default=2200)
    ap.add_argument("--minutes", type=float, default=0,
                    help="let the clock set the learning rate and the end, not --steps")
    ap.add_argument("--batch-tokens", type=int, default=1536)
    ap.add_argument("--stories", type=int, default=24000)
    ap.add_argument("--lr", type=float, default=1.5e-3)
    ap.add_argument("--warmup", type=int, default=100)
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--dim", type=int, default=Params.dim)
    ap.add_argument("--layers", type=int, default=Params.n_layers)
    ap.add_argument("--multiple-of", type=int, default=Params.multiple_of)
    ap.add_argument("--vocab", type=int, default=Params.vocab_size)
    ap.add_argument("--resume", action="store_true",
                    help="go on from the checkpoint in --work: warm up to --lr again, then decay")
    ap.add_argument("--start-from", metavar="FOLDER",
                    help="go on from a finished model, with its tokenizer and a new optimizer")
    ap.add_argument("--skip-stories", type=int, default=0, help="leave out the first ones")
    ap.add_argument("--copy-weight", type=float, default=3.0,
                    help="weight, at first, in the loss of a rare token said before in the document")
    ap.add_argument("--copy-weight-end", type=float, default=1.0, help="the same at the end")
    ap.add_argument("--bench", action="store_true", help="only measure the speed")
    args = ap.parse_args()

    # Keep freed memory: large temporaries come and go at every step.
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-3, 1 << 30)
        libc.mallopt(-1, (1 << 31) - 1)
    except OSError:
        pass
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(TRAIN_SEED)
    rng = random.Random(TRAIN_SEED)
    p = Params(dim=args.dim, n_heads=args.dim // 32, n_layers=args.layers,
               multiple_of=args.multiple_of, vocab_size=args.vocab)
    model = Llama(p)
    n_params = sum(w.numel() for w in model.parameters())
    print(f"{p} hidden={p.hidden} parameters={n_params} f16={2 * n_params / 1e6:.2f} MB", flush=True)

    decay = [w for n, w in model.named_parameters() if w.dim() == 2 and "tok_embeddings" not in n]
    rest = [w for n, w in model.named_parameters() if w.dim() != 2 or "tok_embeddings" in n]
    opt = torch.optim.AdamW([{"params": decay, "weight_decay": 0.1},
                             {"params": rest, "weight_decay": 0.0}],
                            lr=args.lr, betas=(0.9, 0.98), eps=1e-9)

    def step(x, y, weight, again):
        logits = model(x)
        each = F.cross_entropy(logits.flatten(0, 1), y.flatten(), ignore_index=IGNORE,
                               reduction="none")
        weight = weight.flatten() * (y.flatten() != IGNORE)
        loss = (each * weight).sum() / weight.sum()
        opt.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        with torch.no_grad():
            return (each.sum() / (y != IGNORE).sum()).item(), each[again.flatten()].mean().item()

    if args.bench:
        x = torch.randint(3, p.vocab_size, (args.batch_tokens // 190, 190))
        for _ in range(3):
            step(x, x, torch.ones_like(x), x > 100)
        start = time.time()
        for _ in range(10):
            step(x, x, torch.ones_like(x), x > 100)
        print(f"{10 * x.numel() / (time.time() - start):.0f} tokens/s")
        return

    os.makedirs(args.work, exist_ok=True)
    os.makedirs(args.out, exist_ok=True)
    heldout = make_stories(HELDOUT_SEED, HELDOUT_STORIES)
    known = set(heldout)
    stories = [s for s in make_stories(TRAIN_SEED, args.stories) if s not in known]
    distinct = len(set(stories))
    print(f"{len(stories)} stories, {distinct} distinct", flush=True)
    prefix = os.path.join(args.work, "tokenizer")
    if args.start_from:
        shutil.copyfile(os.path.join(args.start_from, "tokenizer.model"), prefix + ".model")
    elif not args.resume:
        train_tokenizer(stories[:20000], prefix, args.vocab)
    import sentencepiece as spm
    sp = spm.SentencePieceProcessor(model_file=prefix + ".model")
    assert (sp.unk_id(), sp.bos_id(), sp.eos_id(), sp.pad_id()) == (0, BOS, EOS, -1)
    assert sp.vocab_size() == args.vocab
    for s in heldout:
        assert sp.decode(sp.encode(s)) == s
    with open(os.path.join(args.out, "heldout.txt"), "w", encoding="utf-8") as f:
        f.write("\n\n".join(heldout[:HELDOUT_IN_FILE]) + "\n")

    docs = [encode(sp, s, rng) for s in stories]
    val_docs = [encode(sp, s) for s in heldout]
    lengths = np.array([len(d) for d in docs])
    print(f"tokens a document: mean {lengths.mean():.0f}, 1% {np.percentile(lengths, 1):.0f}, "
          f"99% {np.percentile(lengths, 99):.0f}, max {lengths.max()}", flush=True)
    # The rare tokens: names, places, things. What is said of them can often only
    # be known by looking back.
    doc_freq = np.zeros(args.vocab)
    for d in docs[:4000]:
        doc_freq[list(set(d))] += 1
    rare = torch.tensor(doc_freq < 0.04 * min(4000, len(docs)))
    names = [sp.piece_to_id("\u2581" + n) for n in story_grammar.WIDE_GIRLS + story_grammar.WIDE_BOYS]
    names = sorted({i for i in names if i != sp.unk_id()})
    rare[names] = True
    docs = docs[args.skip_stories:]
    work = batches(docs, args.batch_tokens, p.max_seq_len, rng)
    print(f"{len(work)} batches made", flush=True)

    seen, first, before, smooth = 0, 0, 0.0, None
    if args.resume:
        saved = torch.load(os.path.join(args.work, "checkpoint.pt"))
        model.load_state_dict(saved["model"])
        opt.load_state_dict(saved["optimizer"])
        first, before = saved["step"], saved.get("seconds", 0.0)
        seen = saved.get("tokens", 0)
        print(f"from step {first}, after {seen} tokens and {before:.0f} s", flush=True)
    if args.start_from:
        weights = torch.load(os.path.join(args.start_from, "consolidated.00.pth"))
        model.load_state_dict({name: w.float() for name, w in weights.items()})
        with open(os.path.join(args.start_from, "training.json")) as f:
            facts = json.load(f)
        first, before, seen = facts["steps"], facts["train_seconds"], facts["tokens"]
    copied = None
    steps = first
    start = since = time.time()
    since_tokens = seen
    while True:
        n = steps
        done = (time.time() - start) / (60 * args.minutes) if args.minutes else \
            (n - first) / max(1, args.steps - first)
        if done >= 1:
            break
        scale = (n + 1 - first) / args.warmup if n - first < args.warmup else \
            0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done))
        for group in opt.param_groups:
            group["lr"] = args.lr * scale
        x, y = to_tensors(work[(n - first) % len(work)])
        again = said_before(x, y, rare)
        copy_weight = args.copy_weight + (args.copy_weight_end - args.copy_weight) * done
        weight = torch.where(again, copy_weight, 1.0)
        loss, loss_again = step(x, y, weight, again)
        steps += 1
        copied = loss_again if copied is None else 0.95 * copied + 0.05 * loss_again
        seen += int((y != IGNORE).sum())
        smooth = loss if smooth is None else 0.95 * smooth + 0.05 * loss
        if (n + 1) % 25 == 0:
            now = time.time()
            print(f"step {n + 1} loss {smooth:.4f} copied {copied:.3f} lr {args.lr * scale:.5f} "
                  f"{(seen - since_tokens) / (now - since):.0f} tokens/s, {now - start:.0f} s", flush=True)
            since, since_tokens = now, seen
        if (n + 1) % 100 == 0:
            val, _ = evaluate(model, val_docs[:48])
            export(model, prefix, args.out)
            torch.save({"model": model.state_dict(), "optimizer": opt.state_dict(), "step": n + 1,
                        "tokens": seen, "seconds": before + time.time() - start},
                       os.path.join(args.work, "checkpoint.pt"))
            print(f"step {n + 1} held-out {val:.4f}", flush=True)
    seconds = before + time.time() - start
    size = export(model, prefix, args.out)
    val, val_tokens = evaluate(model, val_docs, half=True)
    facts = {"val_loss": round(val, 4), "val_stories": len(val_docs), "val_tokens": val_tokens,
             "train_seconds": round(seconds), "steps": steps, "tokens": seen,
             "batch_tokens": args.batch_tokens, "peak_learning_rate": args.lr,
             "warmup_steps": args.warmup, "stories_generated": args.stories,
             "parameters": n_params, "file_bytes": size,
             "vocab_size": args.vocab, "seed": TRAIN_SEED, "heldout_seed": HELDOUT_SEED,
             "threads": args.threads, "torch": torch.__version__}
    with open(os.path.join(args.out, "training.json"), "w") as f:
        json.dump(facts, f, indent=1)
        f.write("\n")
    print(json.dumps(facts, indent=1), flush=True)


if __name__ == "__main__":
    sys.exit(main())
