#!/usr/bin/python3
"""The oracle: a LLaMA in PyTorch, written from the paper (arXiv:2302.13971) and Meta's parameter
names, evaluated in f32 whatever the type of the stored weights.

Run as a program it writes a set of small random models in Meta's layout below FOLDER, each with
`expected.json`: a prompt, its token ids, the logits after it, and 64 greedily chosen tokens.
"""
import io
import json
import sys
from pathlib import Path

import sentencepiece
import torch

torch.set_grad_enabled(False)
torch.set_num_threads(1)

PROMPT = "The lighthouse keeper counted the ships; fourteen, he said, and rain. Zoë's café"


def rms_norm(x, gain, eps):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * gain


def rotate(x, angles):
    """x [time, heads, head_dim]: the pairs (2i, 2i+1) as complex numbers, turned by angles."""
    pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2).contiguous())
    turned = pairs * torch.polar(torch.ones_like(angles), angles)[:, None, :]
    return torch.view_as_real(turned).reshape(x.shape)


def forward(w, params, tokens):
    """Logits [time, vocabulary] of a whole sequence, no cache; w holds f32 tensors."""
    heads = params["n_heads"]
    kv_heads = params.get("n_kv_heads") or heads
    dim = params["dim"]
    head_dim = dim // heads
    time = len(tokens)
    frequencies = 1.0 / params.get("rope_theta", 10000.0) ** (
        torch.arange(0, head_dim, 2).float() / head_dim)
    angles = torch.outer(torch.arange(time).float(), frequencies)
    mask = torch.full((time, time), float("-inf")).triu(1)
    x = w["tok_embeddings.weight"][torch.tensor(tokens)]
    for layer in range(params["n_layers"]):
        p = f"layers.{layer}."
        h = rms_norm(x, w[p + "attention_norm.weight"], params["norm_eps"])
        q = (h @ w[p + "attention.wq.weight"].T).view(time, heads, head_dim)
        k = (h @ w[p + "attention.wk.weight"].T).view(time, kv_heads, head_dim)
        v = (h @ w[p + "attention.wv.weight"].T).view(time, kv_heads, head_dim)
        q, k = rotate(q, angles), rotate(k, angles)
        k = k.repeat_interleave(heads // kv_heads, dim=1)
        v = v.repeat_interleave(heads // kv_heads, dim=1)
        scores = torch.einsum("qhd,khd->hqk", q, k) / head_dim ** 0.5 + mask
        attended = torch.einsum("hqk,khd->qhd", scores.softmax(-1), v).reshape(time, dim)
        x = x + attended @ w[p + "attention.wo.weight"].T
        h = rms_norm(x, w[p + "ffn_norm.weight"], params["norm_eps"])
        gate = torch.nn.functional.silu(h @ w[p + "feed_forward.w1.weight"].T)
        x = x + (gate * (h @ w[p + "feed_forward.w3.weight"].T)) @ w[p + "feed_forward.w2.weight"].T
    return rms_norm(x, w["norm.weight"], params["norm_eps"]) @ w["output.weight"].T


def random_weights(params, vocabulary, ffn, dtype, seed):
    """Scaled so that the logits are of order 10 and every block matters."""
    generator = torch.Generator().manual_seed(seed)

    def matrix(rows, columns, gain=1.0):
        return (torch.randn(rows, columns, generator=generator) * gain / columns ** 0.5).to(dtype)

    def gains():
        return (1.0 + 0.2 * torch.randn(params["dim"], generator=generator)).to(dtype)

    dim = params["dim"]
    kv = dim // params["n_heads"] * (params.get("n_kv_heads") or params["n_heads"])
    weights = {"tok_embeddings.weight": torch.randn(vocabulary, dim, generator=generator).to(dtype)}
    for layer in range(params["n_layers"]):
        p = f"layers.{layer}."
        weights[p + "attention.wq.weight"] = matrix(dim, dim, 1.5)
        weights[p + "attention.wk.weight"] = matrix(kv, dim, 1.5)
        weights[p + "attention.wv.weight"] = matrix(kv, dim)
        weights[p + "attention.wo.weight"] = matrix(dim, dim)
        weights[p + "feed_forward.w1.weight"] = matrix(ffn, dim)
        weights[p + "feed_forward.w3.weight"] = matrix(ffn, dim)
        weights[p + "feed_forward.w2.weight"] = matrix(dim, ffn)
        weights[p + "attention_norm.weight"] = gains()
        weights[p + "ffn_norm.weight"] = gains()
    weights["norm.weight"] = gains()
    weights["output.weight"] = matrix(vocabulary, dim, 4.0)
    return weights


BY_ROWS = ("wq.weight", "wk.weight", "wv.weight", "w1.weight", "w3.weight", "output.weight")
BY_COLUMNS = ("wo.weight", "w2.weight")


def split(weights, count, embedding_by_rows):
    """As Meta's model parallelism: shard i has slice i of every split tensor, norms are copies."""
    shards = [{} for _ in range(count)]
    for name, tensor in weights.items():
        axis = None
        if name.endswith(BY_ROWS):
            axis = 0
        elif name.endswith(BY_COLUMNS):
            axis = 1
        elif name == "tok_embeddings.weight":
            axis = 0 if embedding_by_rows else 1
        for index, shard in enumerate(shards):
            part = tensor if axis is None else tensor.chunk(count, axis)[index]
            shard[name] = part.clone()
    return shards


def strided(weights):
    """The same values behind a transposed view, a view into one flat storage, and a tied head."""
    result = dict(weights)
    name = "layers.0.attention.wq.weight"
    result[name] = weights[name].T.contiguous().T
    first, second = "layers.0.feed_forward.w1.weight", "layers.0.feed_forward.w3.weight"
    flat = torch.cat([weights[first].flatten(), weights[second].flatten()])
    size = weights[first].numel()
    result[first] = flat[:size].view_as(weights[first])
    result[second] = flat[size:].view_as(weights[second])
    result["tok_embeddings.weight"] = result["output.weight"]
    return result


def train_tokenizer(vocabulary):
    model = io.BytesIO()
    words = "the keeper of the lighthouse counted ships in rain and wind while the harbour slept"
    sentences = [" ".join(words.split()[i % 7:]) + "." for i in range(200)]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences), model_writer=model, model_type="bpe",
        vocab_size=vocabulary, byte_fallback=True, character_coverage=1.0, hard_vocab_limit=False,
        unk_id=0, bos_id=1, eos_id=2, pad_id=-1, normalization_rule_name="identity",
        remove_extra_whitespaces=False, minloglevel=2)
    return model.getvalue()


def write_model(folder, tokenizer, shape, dtype, shards=1, rows=False, make_strided=False, seed=1):
    processor = sentencepiece.SentencePieceProcessor(model_proto=tokenizer)
    vocabulary = processor.vocab_size()
    folder.mkdir(parents=True)
    params = {"dim": shape["dim"], "n_layers": shape["layers"], "n_heads": shape["heads"],
              "norm_eps": 1e-5, "vocab_size": -1, "multiple_of": shape["multiple_of"]}
    if shape.get("kv_heads"):
        params["n_kv_heads"] = shape["kv_heads"]
    if shape.get("rope_theta"):
        params["rope_theta"] = shape["rope_theta"]
    multiple = shape["multiple_of"]
    ffn = (2 * (4 * shape["dim"]) // 3 + multiple - 1) // multiple * multiple
    weights = random_weights(params, vocabulary, ffn, dtype, seed)
    if make_strided:
        weights = strided(weights)
    for index, shard in enumerate(split(weights, shards, rows) if shards > 1 else [weights]):
        torch.save(shard, folder / f"consolidated.{index:02d}.pth")
    (folder / "params.json").write_text(json.dumps(params))
    (folder / "tokenizer.model").write_bytes(tokenizer)
    tokens = [processor.bos_id()] + processor.encode(PROMPT)
    wide = {name: tensor.float() for name, tensor in weights.items()}
    logits = forward(wide, params, tokens)[-1]
    logits.numpy().astype("<f4").tofile(folder / "expected_logits.bin")
    prompt_length = len(tokens)
    while len(tokens) < prompt_length + 64:
        tokens.append(int(forward(wide, params, tokens)[-1].argmax()))
    (folder / "expected.json").write_text(json.dumps({
        "prompt": PROMPT, "prompt_tokens": tokens[:prompt_length],
        "greedy_tokens": tokens[prompt_length:], "largest_logit": float(logits.abs().max())}))


MHA = {"dim": 64, "layers": 3, "heads": 4, "multiple_of": 32}
GQA = {"dim": 96, "layers": 3, "heads": 6, "kv_heads": 2, "multiple_of": 16, "rope_theta": 500000.0}
MQA = {"dim": 128, "layers": 2, "heads": 4, "kv_heads": 1, "multiple_of": 64}
WIDE = {"dim": 256, "layers": 4, "heads": 8, "kv_heads": 4, "multiple_of": 64}


def main(folder):
    tokenizer = train_tokenizer(320)
    f32, f16, bf16 = torch.float32, torch.float16, torch.bfloat16
    cases = {
        "mha-f32": (MHA, f32, {}), "mha-f16": (MHA, f16, {}), "mha-bf16": (MHA, bf16, {}),
        "gqa-f32": (GQA, f32, {}), "gqa-f16": (GQA, f16, {}), "gqa-bf16": (GQA, bf16, {}),
        "mqa-f32": (MQA, f32, {}), "mqa-f64": (MQA, torch.float64, {}),
        "wide-f32": (WIDE, f32, {}), "wide-f16": (WIDE, f16, {}), "wide-bf16": (WIDE, bf16, {}),
        "two-shards-f16": (GQA, f16, {"shards": 2}),
        "two-shards-rows-f32": (WIDE, f32, {"shards": 2, "rows": True}),
        "four-shards-bf16": (WIDE, bf16, {"shards": 4}),
        "four-shards-rows-f16": (WIDE, f16, {"shards": 4, "rows": True}),
        "strided-f32": (GQA, f32, {"make_strided": True}),
        "strided-f16": (MHA, f16, {"make_strided": True}),
    }
    for seed, (name, (shape, dtype, options)) in enumerate(cases.items()):
        write_model(folder / name, tokenizer, shape, dtype, seed=seed + 100, **options)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
