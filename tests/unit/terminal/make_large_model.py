"""Writes a model of some 130 MB in Meta's layout: make_large_model.py FOLDER TOKENIZER"""
import json
import shutil
import sys

import sentencepiece
import torch

folder, tokenizer = sys.argv[1:]
dim, layers, heads, kv_heads, ffn = 768, 10, 12, 4, 2048
vocabulary = sentencepiece.SentencePieceProcessor(model_file=tokenizer).vocab_size()
torch.manual_seed(1)


def matrix(rows, columns):
    return (torch.randn(rows, columns) * 0.02).half()


state = {
    "tok_embeddings.weight": matrix(vocabulary, dim),
    "norm.weight": torch.ones(dim).half(),
    "output.weight": matrix(vocabulary, dim),
}
for layer in range(layers):
    prefix = f"layers.{layer}."
    kv_dim = dim // heads * kv_heads
    state |= {
        prefix + "attention.wq.weight": matrix(dim, dim),
        prefix + "attention.wk.weight": matrix(kv_dim, dim),
        prefix + "attention.wv.weight": matrix(kv_dim, dim),
        prefix + "attention.wo.weight": matrix(dim, dim),
        prefix + "feed_forward.w1.weight": matrix(ffn, dim),
        prefix + "feed_forward.w2.weight": matrix(dim, ffn),
        prefix + "feed_forward.w3.weight": matrix(ffn, dim),
        prefix + "attention_norm.weight": torch.ones(dim).half(),
        prefix + "ffn_norm.weight": torch.ones(dim).half(),
    }
torch.save(state, folder + "/consolidated.00.pth")
with open(folder + "/params.json", "w") as file:
    json.dump({"dim": dim, "n_layers": layers, "n_heads": heads, "n_kv_heads": kv_heads,
               "norm_eps": 1e-5, "vocab_size": vocabulary, "max_seq_len": 2048}, file)
shutil.copy(tokenizer, folder + "/tokenizer.model")
