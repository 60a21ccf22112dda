"""Our logits beside those of ``transformers``, on random small models:

    python tests/interop/with_transformers.py --models 50 --out data/results/transformers.json

needs the extra 'peers'. Three questions: does ``from_pretrained`` read what their library has saved, BitNet
in each of the three ways in which weights are stored and LLaMA in floats; does their library read what
``save_pretrained`` writes; and does ``tokenizers`` encode with our tokenizer.json as we do. The number is the
largest difference of a logit over the largest logit, of 20 tokens; float32 throughout.
"""
import argparse
import json
import os
import random
import shlex
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")          # what they compile needs a C++ compiler

import numpy as np

FORMS = {"bitlinear": {"linear_class": "bitlinear", "quantization_mode": "offline"},
         "offline": {"linear_class": "autobitlinear", "quantization_mode": "offline"},
         "online": {"linear_class": "autobitlinear", "quantization_mode": "online"}}
TOKENS, VOCABULARY = 20, 271
WORDS = ["the", " sea", " shells", "\n", "  ", "né", "你好", " 42", "!?", "'s", "\t", "\x00", " 🙂",
         "\xa0", "«", "»", "°C", "£", "½", "ab"]


def tokenizer():
    from minibitnet.text.bpe import train
    from minibitnet.text.bpe_files import with_end
    from minibitnet.text.tokenizer import BPETokenizer
    return BPETokenizer(with_end(train("the sea, the shore and the shells; she sells. " * 9, VOCABULARY - 1)))


def sizes(rng, wide_heads=False):
    """Of a random model, in their names; rows go in fours."""
    heads = int(rng.choice([2, 4]))
    kv, D = int(rng.choice([h for h in (1, 2, 4) if heads % h == 0])), 4 * int(rng.integers(1, 5))
    found = dict(vocab_size=VOCABULARY, hidden_size=heads * D, intermediate_size=4 * int(rng.integers(1, 30)),
                 num_hidden_layers=int(rng.integers(1, 4)), num_attention_heads=heads, num_key_value_heads=kv,
                 max_position_embeddings=32, tie_word_embeddings=bool(rng.integers(2)),
                 rope_theta=float(rng.choice([1e4, 5e5])), rms_norm_eps=float(rng.choice([1e-5, 1e-6])),
                 bos_token_id=VOCABULARY - 1, eos_token_id=VOCABULARY - 1)
    if wide_heads:
        return found | {"head_dim": D + 4}
    return found | {"hidden_act": str(rng.choice(["relu2", "silu"]))}


def shaken(model, seed):
    """Their model with weights of the size of ours and gains from 0.5 to 1.5."""
    import torch
    torch.manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim == 1:
                p.uniform_(0.5, 1.5)
            else:
                p.normal_(std=p.shape[1] ** -0.5)
    return model.eval()


def saved(model, folder, form=None):
    """Their model as their ``save_pretrained`` writes it, with our tokenizer; of the packed forms they write
    codes and scales that were made here, in bytes by their ``pack_weights``, for their class of such a model
    makes none. Then config.json gets what says so."""
    import torch
    from transformers.integrations.bitnet import pack_weights

    from minibitnet.text.bpe_files import to_huggingface
    tensors = {name: p.detach().clone() for name, p in model.state_dict().items()}
    if form in ("bitlinear", "offline"):
        for name in [name for name in tensors if name.endswith("_proj.weight")]:
            scale = tensors[name].abs().mean().clamp(min=1e-5)
            codes = torch.clamp((tensors[name] / scale).round(), -1, 1)
            tensors[name] = pack_weights(codes)
            tensors[f"{name}_scale"] = (1 / scale if form == "bitlinear" else scale).reshape(1)
    model.save_pretrained(folder, state_dict=tensors)
    for name, value in to_huggingface(tokenizer(), VOCABULARY - 1, [VOCABULARY - 1]).items():
        (folder / name).write_text(json.dumps(value), encoding="utf-8")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if form:
        config["quantization_config"] = {"quant_method": "bitnet"} | FORMS[form]
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def theirs(folder, ids):
    """The logits of their library for a directory."""
    import torch
    from transformers import AutoModelForCausalLM
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        return model(torch.tensor(ids[None])).logits[0].numpy()


def apart(ours, others):
    """The largest difference over the largest logit."""
    return float(np.abs(ours - others).max() / np.abs(others).max())


def reading(seed, form=None):
    """What they saved, read by us: how far apart. form None: LLaMA in floats, of odd seeds with heads of a
    width of their own."""
    from transformers import BitNetConfig, BitNetForCausalLM, LlamaConfig, LlamaForCausalLM

    import minibitnet
    rng = np.random.default_rng(seed)
    model = (BitNetForCausalLM(BitNetConfig(**sizes(rng))) if form else
             LlamaForCausalLM(LlamaConfig(**sizes(rng, wide_heads=bool(seed % 2)))))
    ids = rng.integers(0, VOCABULARY, TOKENS)
    with tempfile.TemporaryDirectory() as folder:
        saved(shaken(model, seed), Path(folder), form)
        return apart(minibitnet.from_pretrained(folder).logits(ids), theirs(folder, ids))


def ours(seed):
    """A random model of ours -> (LanguageModel, packed or not)"""
    from minibitnet.language_model import FloatEngine, LanguageModel
    from minibitnet.nn.config import ModelConfig
    from minibitnet.nn.model import Transformer
    rng = np.random.default_rng([3, seed])
    heads, linear = int(rng.choice([2, 4])), ("ternary", "ternary", "float")[seed % 3]
    c = ModelConfig(vocab_size=VOCABULARY, linear=linear, d_model=heads * 4 * int(rng.integers(1, 5)),
                    n_heads=heads, n_kv_heads=int(rng.choice([1, heads])), n_layers=int(rng.integers(1, 4)),
                    d_ffn=4 * int(rng.integers(1, 30)), context=32, tied=bool(rng.integers(2)),
                    activation=str(rng.choice(["relu2", "silu"])), rope_theta=float(rng.choice([1e4, 5e5])))
    transformer = Transformer(c, seed)
    for p in transformer.parameters().values():
        if p.data.ndim == 1:
            p.data[:] = rng.uniform(0.5, 1.5, p.data.shape)
    model = LanguageModel(FloatEngine(transformer), tokenizer(), {"corpus": {"documents": True}})
    return model, seed % 2 == 0


def writing(seed):
    """What we saved, read by them: how far apart."""
    model, packed = ours(seed)
    ids = np.random.default_rng([5, seed]).integers(0, VOCABULARY, TOKENS)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder, packed=packed)
        return apart(model.logits(ids), theirs(folder, ids))


def encoding(seed, folder):
    """Random texts: how many their tokenizer encodes otherwise than the model that wrote the folder."""
    from transformers import AutoTokenizer
    others, ours, rng = AutoTokenizer.from_pretrained(folder), tokenizer(), random.Random(seed)
    texts = ["".join(rng.choice(WORDS) for _ in range(rng.randint(0, 15))) for _ in range(200)]
    return sum(others.encode(text, add_special_tokens=False) != ours.encode(text).tolist()
               or others.decode(others.encode(text, add_special_tokens=False)) != text
               or others.encode(text)[0] != ours.end for text in texts)


def tokenizers_apart(seed):
    """``encoding`` with a directory of ours."""
    with tempfile.TemporaryDirectory() as folder:
        ours(seed)[0].save_pretrained(folder, packed=False)
        return encoding(seed, folder)


def summary(distances):
    return {"models": len(distances), "median": median(distances), "worst": max(distances)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", type=int, default=50)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    import safetensors
    import tokenizers
    import torch
    import transformers
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    from minibitnet.measure import results
    began, result = time.monotonic(), {"config": {"models": args.models, "tokens": TOKENS}, "libraries": {
        lib.__name__: lib.__version__ for lib in (transformers, torch, safetensors, tokenizers)}}
    seeds = range(args.models)
    result["read"] = {form: summary([reading(seed, form) for seed in seeds]) for form in FORMS}
    result["read"]["llama"] = summary([reading(seed) for seed in seeds])
    result["written"] = summary([writing(seed) for seed in seeds])
    result["texts encoded otherwise"] = sum(map(tokenizers_apart, range(5)))
    print(json.dumps(result, indent=1))
    command = shlex.join(["python", "tests/interop/with_transformers.py", *sys.argv[1:]])
    results.save(args.out, results.envelope("transformers", result, time.monotonic() - began, command))


if __name__ == "__main__":
    main()
