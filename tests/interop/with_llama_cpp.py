"""Our GGUF files in llama.cpp: its logits beside ours, and what is between them.

    python tests/interop/with_llama_cpp.py --models 10 --out data/results/llama_cpp.json

needs llama-cpp-python. Random models and a trained one, each as TQ2_0, TQ1_0 and Q2_0, all floats of 32 bits,
the cache too. llama.cpp quantizes what goes into a matrix by blocks of features, not by tokens: 256 of them
(Q8_K) for TQ1_0 and TQ2_0, 32 (Q8_0) for Q2_0. ``Blocks`` does so to our engine; what is left of the
difference then is rounding, and the codes that fall to the other side of a tie. The number is the largest
difference of a logit over the largest logit.
"""
import argparse
import json
import shlex
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import llama_cpp
import numpy as np
import with_transformers

import minibitnet
from minibitnet.float16 import widen
from minibitnet.formats import packed
from minibitnet.inference.packed_engine import PackedModel
from minibitnet.language_model import FloatEngine, LanguageModel
from minibitnet.measure import results
from minibitnet.nn.config import ModelConfig
from minibitnet.nn.model import Transformer
from minibitnet.packing import unpack_ternary

KINDS = {"tq2": 256, "tq1": 256, "q2": 32}           # features that share a scale
TOKENS, PROMPTS, WRITTEN = 40, 20, 40
TRAINED = dict(tokenizer="bpe:512", d_model=256, n_layers=2, n_heads=4, n_kv_heads=2, d_ffn=512, tied=True,
               context=128, batch=8, steps=300, threads=2)


def random_model(seed):
    """A random model that llama.cpp has a graph for: tied, SiLU, rows of whole blocks."""
    rng = np.random.default_rng(seed)
    c = ModelConfig(vocab_size=with_transformers.VOCABULARY, d_model=256, d_ffn=256 * (1 + seed % 3),
                    n_heads=4, n_kv_heads=int(rng.choice([1, 2, 4])), n_layers=1 + seed % 3, context=64,
                    tied=True)
    transformer = Transformer(c, seed)
    for p in transformer.parameters().values():
        if p.data.ndim == 1:
            p.data[:] = rng.uniform(0.5, 1.5, p.data.shape)
    return LanguageModel(FloatEngine(transformer), with_transformers.tokenizer(),
                         {"corpus": {"documents": True}})


class Blocks:
    """In place of a PackedBitLinear: activations quantized as llama.cpp does it, then the exact product."""

    def __init__(self, matrices, block):
        self.block = block
        self.w = np.concatenate([unpack_ternary(m.packed, m.n) * np.float64(m.scale) for m in matrices])

    def __call__(self, x):                                 # (m, B, T) -> (n, B, T)
        parts = x.reshape(len(x) // self.block, self.block, *x.shape[1:]).astype(np.float32)
        largest = np.take_along_axis(parts, np.abs(parts).argmax(1, keepdims=True), 1)
        with np.errstate(divide="ignore"):
            if self.block == 256:                # Q8_K: the largest becomes -127, the scale is a float32
                inverse = np.where(largest == 0, np.float32(0), np.float32(-127) / largest)
                d = np.where(largest == 0, np.float32(0), 1 / inverse)
                codes = np.minimum(np.rint(parts * inverse), 127)
            else:                                # Q8_0: the largest becomes +-127, the scale is a float16
                d = np.abs(largest) / np.float32(127)
                inverse = np.where(d == 0, np.float32(0), 1 / d)
                scaled = parts * inverse
                codes = np.sign(scaled) * np.floor(np.abs(scaled) + np.float32(0.5))
                d = widen(d.astype(np.float16))
        return np.tensordot(self.w, (codes * d).reshape(x.shape).astype(np.float64), 1).astype(np.float32)


def by_blocks(model, block):
    """Our engine of a LanguageModel, its activations quantized by blocks."""
    c, (matrices, arrays) = model.config, packed.pack(model.latent(), model.config)
    engine = PackedModel(c, dict(matrices), arrays)
    for i, part in enumerate(engine.blocks):
        def of(*names, i=i):
            return Blocks([matrices[f"layers.{i}.{name}_proj.weight"] for name in names], block)
        part.qkv_proj = of("self_attn.q", "self_attn.k", "self_attn.v")
        part.o_proj, part.down_proj = of("self_attn.o"), of("mlp.down")
        part.gate_up_proj = of("mlp.gate", "mlp.up")
    return engine


class Theirs:
    """A GGUF file in llama.cpp."""

    def __init__(self, path, context):
        self.llama = llama_cpp.Llama(str(path), n_ctx=context, n_batch=context, n_threads=1, logits_all=True,
                                     type_k=llama_cpp.GGML_TYPE_F32, type_v=llama_cpp.GGML_TYPE_F32,
                                     flash_attn=False, verbose=False)

    def logits(self, ids):
        self.llama.reset()
        self.llama.eval([int(i) for i in ids])
        return np.array(self.llama.scores[:len(ids)])


def greedy(logits, ids, n):
    """The n likeliest tokens that follow, one by one. logits: ids -> (T, V)."""
    ids = list(ids)
    for _ in range(n):
        ids.append(int(logits(np.array(ids))[-1].argmax()))
    return ids[-n:]


def compared(model, ids, folder):
    """{kind: how far llama.cpp's logits are from ours, and from ours by blocks}."""
    found, ours = {}, model.logits(ids)
    for kind, block in KINDS.items():
        theirs = Theirs(model.save_gguf(folder / f"{kind}.gguf", kind, dtype="float32"), len(ids)).logits(ids)
        emulated = by_blocks(model, block)(ids[None])[:, 0].T
        found[kind] = {"from ours": with_transformers.apart(theirs, ours),
                       "from ours by blocks": with_transformers.apart(theirs, emulated),
                       "same likeliest": float((theirs.argmax(1) == ours.argmax(1)).mean())}
    return found


def written(model, folder):
    """{kind: how many of the trained model's greedy continuations llama.cpp writes to the last token}, and
    how many of our own engine by blocks do."""
    stories = minibitnet.text.corpora.load_corpus("stories").text.split("\n<|endoftext|>\n")
    prompts = [model.encode(story)[:24] for story in stories[-PROMPTS:]]
    ours = [greedy(model.logits, ids, WRITTEN) for ids in prompts]
    found = {}
    for kind, block in KINDS.items():
        path = model.save_gguf(folder / f"trained-{kind}.gguf", kind, dtype="float32")
        theirs = Theirs(path, model.config.context)
        engine = by_blocks(model, block)
        texts = [greedy(theirs.logits, ids, WRITTEN) for ids in prompts]
        emulated = [greedy(lambda ids: engine(ids[None])[:, 0].T, ids, WRITTEN) for ids in prompts]
        found[kind] = {"as ours": sum(a == b for a, b in zip(texts, ours)),
                       "as ours by blocks": sum(a == b for a, b in zip(texts, emulated)),
                       "tokens before the first other one": [common(a, b) for a, b in zip(texts, ours)]}
    return found


def common(a, b):
    return next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), len(a))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", type=int, default=3)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    began, found = time.monotonic(), {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(args.models):
            model = random_model(seed)
            ids = np.random.default_rng([7, seed]).integers(0, model.config.vocab_size, TOKENS)
            for kind, r in compared(model, ids, Path(folder)).items():
                found[kind].append(r)
        trained = minibitnet.fit("stories", progress=False, **TRAINED).model
        result = {"config": {"models": args.models, "tokens": TOKENS, "trained": TRAINED, "prompts": PROMPTS,
                             "written": WRITTEN, "llama-cpp-python": llama_cpp.__version__},
                  "random": {kind: {key: {"median": median(r[key] for r in each),
                                          "worst": max(r[key] for r in each)} for key in each[0]}
                             for kind, each in found.items()},
                  "trained": compared(trained, trained.encode(stories_end())[:TOKENS], Path(folder)),
                  "written": written(trained, Path(folder))}
    print(json.dumps(result, indent=1))
    command = shlex.join(["python", "tests/interop/with_llama_cpp.py", *sys.argv[1:]])
    if args.out:
        results.save(args.out, results.envelope("llama_cpp", result, time.monotonic() - began, command))


def stories_end():
    return minibitnet.text.corpora.load_corpus("stories").text[-2000:]


if __name__ == "__main__":
    main()
