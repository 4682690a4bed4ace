#!/usr/bin/env python3
"""Trains small sentencepiece models and encodes texts with them.

make_tokenizers.py FOLDER: writes FOLDER/<name>.model for each model below. If FOLDER/texts exists
(one text a line, in base64), also writes FOLDER/<name>.ids: for each text a line with the ids that
sentencepiece encodes it to (without BOS), a tab, and their decoding in base64.
"""
import base64
import io
import os
import sys

import sentencepiece

CORPUS = [
    "The old lighthouse keeper climbed the stairs every evening to light the lamp.",
    "A small boat came into the harbour, and the children ran down to greet it.",
    "It rained for three days; on the fourth the sun came out again.",
    "Zwölf große Schiffe fuhren über das ruhige Meer nach Süden.",
    "Les bateaux rentraient au port pendant que la nuit tombait.",
    "Старый маяк стоял на высоком берегу моря.",
    "灯台は海のそばに立っています。",
    "She said: \"Come home,\" and he did; 1, 2, 3, 42, 2024.",
] * 20

# As LLaMA's: BPE, byte fallback, text untouched but for the space in front.
LLAMA = dict(model_type="bpe", byte_fallback=True, vocab_size=500,
             normalization_rule_name="identity", split_digits=True,
             allow_whitespace_only_pieces=True, remove_extra_whitespaces=False,
             add_dummy_prefix=True, unk_id=0, bos_id=1, eos_id=2, pad_id=-1)

MODELS = {
    "llama": LLAMA,
    "no-prefix": {**LLAMA, "add_dummy_prefix": False},
    "unigram": dict(model_type="unigram", vocab_size=300, unk_id=0, bos_id=1, eos_id=2),
    "no-fallback": {**LLAMA, "byte_fallback": False, "vocab_size": 250},
    "other-ids": {**LLAMA, "pad_id": 0, "unk_id": 3, "bos_id": 2, "eos_id": 1,
                  "user_defined_symbols": ["<story>", "▁▁▁▁"]},
    "no-bos": {**LLAMA, "bos_id": -1, "eos_id": 1},
    "no-eos": {**LLAMA, "eos_id": -1},
    "neither": {**LLAMA, "bos_id": -1, "eos_id": -1},
}


def main(folder):
    texts = None
    if os.path.exists(os.path.join(folder, "texts")):
        with open(os.path.join(folder, "texts"), "rb") as file:
            texts = [base64.b64decode(line) for line in file.read().split(b"\n")[:-1]]
    for name, options in MODELS.items():
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(CORPUS), model_writer=model, hard_vocab_limit=False,
            character_coverage=1.0, num_threads=1, minloglevel=2, **options)
        with open(os.path.join(folder, name + ".model"), "wb") as file:
            file.write(model.getvalue())
        if texts is None:
            continue
        processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
        with open(os.path.join(folder, name + ".ids"), "wb") as file:
            for text in texts:
                ids = processor.encode(text)
                decoded = processor.decode(ids).encode("utf-8")
                file.write(" ".join(map(str, ids)).encode() + b"\t" + base64.b64encode(decoded) +
                           b"\n")


main(sys.argv[1])
