# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo model's text: stories, tokens, and batches of them."""

import random

import numpy as np
import sentencepiece
import torch

import story_grammar

TRAIN_SEED = 20240607
HELDOUT_SEED = 909
POOL = 1024                # stories that are sorted by length together
BOS, EOS = 1, 2
IGNORE = -100


def make_stories(seed, count, first=0):
    """Every fourth story takes its people, places and things from the long lists."""
    return [story_grammar.story(random.Random(f"{seed}:{i}"), i % 4 == 3)
            for i in range(first, first + count)]


def train_tokenizer(prefix, vocab_size):
    """Three stories in four have names from the long lists: each of those is to become one token,
    since a name that is said again is then looked up at once, not piece by piece."""
    stories = [story_grammar.story(random.Random(f"tokenizer:{i}"), i % 4 != 0) for i in range(20000)]
    # Paragraphs, not stories, so that "\n" stays out of the vocabulary and is
    # written with its byte token <0x0A>, as in LLaMA's own tokenizer.
    paragraphs = (line for story in stories for line in story.split("\n"))
    sentencepiece.SentencePieceTrainer.train(
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


def batches(sp, known, batch_tokens, max_len, process, processes, pool):
    """Endless: documents of similar length side by side, each row starting at position 0.
    Pool after pool of new stories, every process its own."""
    while True:
        first = (pool * processes + process) * POOL
        rng = random.Random(f"{TRAIN_SEED}:pool:{first}")
        docs = [encode(sp, s, rng) for s in make_stories(TRAIN_SEED, POOL, first) if s not in known]
        rows = []
        while docs:
            row = docs.pop()
            # One row in twelve holds two documents, so that later positions are seen too.
            if docs and rng.random() < 1 / 12:
                row = row + docs.pop()
            rows.append(row[:max_len + 1])
        rows.sort(key=len)
        made, chunk = [], []
        for row in rows:
            if chunk and (len(chunk) + 1) * len(row) > batch_tokens:
                made.append(chunk)
                chunk = []
            chunk.append(row)
        made.append(chunk)
        rng.shuffle(made)
        yield from ((pool, chunk) for chunk in made)
        pool += 1


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


def rare_tokens(sp, vocab_size):
    """The names, places and things. What is said of them can often only be known by looking back."""
    docs = [encode(sp, s) for s in make_stories(TRAIN_SEED, 4000)]
    found_in = np.zeros(vocab_size)
    for doc in docs:
        found_in[list(set(doc))] += 1
    rare = torch.tensor(found_in < 0.04 * len(docs))
    names = [sp.piece_to_id("\u2581" + name) for name in
             story_grammar.WIDE_GIRLS + story_grammar.WIDE_BOYS + story_grammar.WIDE_SURNAMES +
             story_grammar.WIDE_VILLAGES]
    rare[sorted({i for i in names if i != sp.unk_id()})] = True
    return rare
