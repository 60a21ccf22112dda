"""Model directories as Hugging Face's ``transformers`` reads and writes them.

    config.json                    sizes, and how the weights are stored
    model.safetensors              the weights; or in shards, which model.safetensors.index.json lists
    tokenizer.json                 text/bpe_files.py
    generation_config.json         which tokens end a text, where config.json does not say all of them

How a projection's weight is stored, quantization_config says, and nothing else does: read with the wrong
scale a model gives logits that are off by everything, and no error.

    linear_class      quantization_mode   a weight                       its weight_scale
    "bitlinear"                           uint8 (ceil(n/4), m), packed   1 / scale: it divides
    "autobitlinear"   "offline"           the same, ``packing.py``       scale: it multiplies
    "autobitlinear"   "online"            floats, quantized when used    none
    no quantization_config                floats                         none

"bitlinear" is what older files mean that name no class (HF1BitLLM's). Names are ours, with "model." before
all but the head's. model_type "bitnet" is our ternary variant, "llama" the float one, or with a
quantization_config ternary projections in LLaMA's block.
"""
import json
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import packing
from ..errors import UserError, brief
from ..files import found, read_at_most, write_atomically
from ..float16 import all_finite, widen
from ..formats import safetensors
from ..formats.packed import FLOATS, PackedMatrix, as_stored, foreign, is_bitlinear, packed_matrix
from ..formats.safetensors import FormatError
from ..nn.config import ModelConfig
from ..quant import absmean_ternary
from ..text.bpe_files import to_huggingface

CONFIG, WEIGHTS, INDEX, GENERATION = ("config.json", "model.safetensors", "model.safetensors.index.json",
                                      "generation_config.json")
# What a config.json leaves out means these, by model_type.
DEFAULTS = {
    "bitnet": dict(vocab_size=128_256, hidden_size=2560, intermediate_size=6912, num_hidden_layers=30,
                   num_attention_heads=20, num_key_value_heads=5, hidden_act="relu2",
                   max_position_embeddings=2048, rms_norm_eps=1e-5, rope_theta=500_000.0),
    "llama": dict(vocab_size=32_000, hidden_size=4096, intermediate_size=11_008, num_hidden_layers=32,
                  num_attention_heads=32, num_key_value_heads=None, hidden_act="silu",
                  max_position_embeddings=2048, rms_norm_eps=1e-6, rope_theta=10_000.0)}
FIELDS = {"vocab_size": "vocab_size", "hidden_size": "d_model", "intermediate_size": "d_ffn",
          "num_hidden_layers": "n_layers", "num_attention_heads": "n_heads",
          "num_key_value_heads": "n_kv_heads", "max_position_embeddings": "context",
          "rms_norm_eps": "norm_eps", "hidden_act": "activation", "rope_theta": "rope_theta"}
CLASSES = {"ternary": ("bitnet", "BitNetForCausalLM"), "ternary_llama": ("llama", "LlamaForCausalLM"),
           "float": ("llama", "LlamaForCausalLM")}         # by variant
UNUSED = ".rotary_emb.inv_freq"        # tables that old files keep
MAX_JSON = 2**26


class Storage(NamedTuple):
    """How the projections are stored. packed: two bits a weight, else floats; divides: so does the scale."""
    packed: bool
    divides: bool = False


class Directory(NamedTuple):
    """A model's directory, of which nothing but headers has been read."""
    path: Path
    config: dict             # config.json
    c: ModelConfig
    storage: Storage
    tensors: dict            # {name of ours: safetensors.Stored}; "NAME_scale" beside a packed weight


# ---- config.json

def read_json(path):
    """A JSON object; UserError for anything else."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: expected a JSON file, found {found(path)}")
    with open(path, "rb") as f:
        data = read_at_most(f, MAX_JSON + 1)
    try:
        if len(data) > MAX_JSON:
            raise ValueError
        value = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise UserError(f"{path} is not JSON of at most {MAX_JSON:,} bytes: is it damaged?") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected a JSON object, got {brief(value)}")
    return value


def expect(config, key, values, where, default=None):
    """config[key], which must be one of these values; UserError that names it."""
    value = config.get(key, default)
    if value not in values:
        raise UserError(f"{where}: {key} = {brief(value)}: expected {' or '.join(map(repr, values))}")
    return value


def model_config(config, where):
    """The contents of a config.json -> (ModelConfig, Storage); UserError for a model that we have not, or a
    value that we do not know. where: for messages."""
    if "model_type" not in config and "train" in config:
        raise UserError(f"{where} is a run's: expected a directory of Hugging Face (minibitnet.load reads "
                        "runs)")
    kind = expect(config, "model_type", tuple(DEFAULTS), where)
    given = DEFAULTS[kind] | {key: value for key, value in config.items() if value is not None}
    for key in ("attention_bias", "mlp_bias"):
        expect(given, key, (False,), where, False)
    for key in ("rope_scaling", "rope_parameters"):
        rope = given.get(key, {})
        if not isinstance(rope, dict):
            raise UserError(f"{where}: {key} = {brief(rope)}: expected an object")
        expect(rope | {"rope_type": rope.get("rope_type", rope.get("type", "default"))}, "rope_type",
               ("default",), where)
        expect(rope, "partial_rotary_factor", (None, 1.0), where)
        given["rope_theta"] = rope.get("rope_theta", given["rope_theta"])
    expect(given, "partial_rotary_factor", (None, 1.0), where)
    expect(given, "hidden_act", ("silu", "relu2"), where)
    tied = expect(given, "tie_word_embeddings", (False, True), where, False)
    storage = storage_of(config, kind, where)
    linear = "ternary" if kind == "bitnet" else "float" if storage is None else "ternary_llama"
    sizes = {ours: given[theirs] for theirs, ours in FIELDS.items() if given[theirs] is not None}
    head = given.get("head_dim", 0)
    for name, value in (sizes | {"head_dim": head}).items():
        number = isinstance(value, int | float) and not isinstance(value, bool) and value < 1e12
        least = 0 <= value if number and name in ("norm_eps", "head_dim") else number and 0 < value
        if name != "activation" and not least:
            raise UserError(f"{where}: {brief(value)} for {name}: expected a number above 0")
    sizes |= {name: float(sizes[name]) for name in ("norm_eps", "rope_theta")}
    try:
        natural = sizes["d_model"] == sizes["n_heads"] * head
        c = ModelConfig(**sizes, linear=linear, tied=tied, d_head=0 if natural else head)
        check_context(c)
    except UserError as e:
        raise UserError(f"{where}: {e}") from None
    if kind == "bitnet" and c.d_attention != c.d_model:
        raise UserError(f"{where}: head_dim = {c.head_dim} of {c.n_heads} heads: expected a hidden_size of "
                        f"{c.d_attention}, which attn_sub_norm has in transformers")
    return c, storage or Storage(packed=False)


def check_context(c):
    """UserError for a context whose rotary tables would take more memory than the model."""
    most = max(2**20, c.n_parameters)
    if c.context * c.head_dim > most:
        raise UserError(f"a context of {c.context:,} tokens: expected at most {most // c.head_dim:,}, or "
                        "tables of angles would be larger than the model; is it damaged?")


def storage_of(config, kind, where):
    """quantization_config -> Storage, or None where there is none."""
    q = config.get("quantization_config")
    if q is None:
        if kind == "bitnet":
            raise UserError(f"{where}: model_type = 'bitnet' without a quantization_config: expected one: "
                            "nothing else says how the weights are stored")
        return None
    if not isinstance(q, dict):
        raise UserError(f"{where}: quantization_config = {brief(q)}: expected an object")
    expect(q, "quant_method", ("bitnet",), where)
    legacy = expect(q, "linear_class", ("bitlinear", "autobitlinear"), where, "bitlinear") == "bitlinear"
    online = expect(q, "quantization_mode", ("offline", "online"), where, "offline") == "online"
    expect(q, "use_rms_norm", (False,), where, False)
    kept = q.get("modules_to_not_convert") or []
    if not isinstance(kept, list) or not set(map(str, kept)) <= {"lm_head", "model.embed_tokens"}:
        raise UserError(f"{where}: modules_to_not_convert = {brief(kept)}: expected the head at most")
    return Storage(packed=legacy or not online, divides=legacy)


# ---- the weights

def open_directory(path):
    """A directory -> Directory; UserError for what is none, FormatError for weights that are not the
    configuration's."""
    path = Path(path)
    if not path.is_dir():
        raise UserError(f"{path} is {found(path)}: expected the directory of a model, with {CONFIG}")
    where = path / CONFIG
    config = read_json(where)
    c, storage = model_config(config, where)
    return Directory(path, config, c, storage, checked(stored(path), c, storage, path))


def stored(path):
    """{name: Stored} of all that a directory has."""
    if (path / WEIGHTS).is_file():
        return safetensors.stored(path / WEIGHTS)[0]
    if not (path / INDEX).is_file():
        others = sorted(p.name for p in path.iterdir() if p.suffix in (".bin", ".pt", ".pth", ".gguf"))
        raise UserError(f"{path} has neither {WEIGHTS} nor {INDEX}: expected safetensors"
                        + (f", found {others[0]}" if others else ""))
    named = read_json(path / INDEX).get("weight_map")
    if not isinstance(named, dict) or not all(isinstance(file, str) and file and Path(file).name == file
                                              for file in named.values()):
        raise UserError(f"{path / INDEX}: expected a weight_map from tensors to files beside it")
    shards = {file: safetensors.stored(path / file)[0] for file in sorted(set(named.values()))}
    for name, file in named.items():
        if name not in shards[file]:
            raise FormatError(f"{path / file}: tensor {name!r} is missing, which {INDEX} says is there")
    return {name: shards[file][name] for name, file in named.items()}


def checked(tensors, c, storage, path):
    """{their name: Stored} -> {our name: Stored} of all that the model needs; FormatError for what is
    missing, of another size, or of another model."""
    tensors = {name: t for name, t in tensors.items() if not name.endswith(UNUSED)}
    if c.tied:
        tensors.pop("lm_head.weight", None)
    ours = {}

    def take(name, shapes, kinds):
        theirs = foreign(name)
        if theirs not in tensors:
            raise FormatError(f"{path}: tensor {theirs!r} is missing")
        ours[name] = t = tensors.pop(theirs)
        if t.dtype not in kinds or t.shape not in shapes:
            expected = " or ".join(safetensors.NAMES[np.dtype(kind)] for kind in kinds)
            raise FormatError(f"{path}: tensor {theirs!r} is {safetensors.NAMES[t.dtype]} {t.shape}: "
                              f"expected {expected} {shapes[0]}")
    floats = tuple(FLOATS.values())
    for name, shape in c.tensor_shapes().items():
        if is_bitlinear(name) and storage.packed:
            take(name, [(-(-shape[0] // 4), shape[1])], (np.dtype(np.uint8),))
            take(f"{name}_scale", [(1,), ()], floats)
        else:
            take(name, [shape], floats)
    if tensors:
        raise FormatError(f"{path}: tensor {min(tensors)!r} is not of this model: does {CONFIG} say what "
                          "the weights are?")
    return ours


def array(directory, name):
    """An array that is no projection's, as it is stored; FormatError where it is not finite."""
    a = directory.tensors[name].read()
    if not all_finite(a):
        raise FormatError(f"{directory.path}: tensor {foreign(name)!r} holds values that are not finite")
    return a


def arrays(directory):
    """{name: array} of all that is no projection."""
    return {name: array(directory, name) for name in directory.c.tensor_shapes() if not is_bitlinear(name)}


class Matrices(MutableMapping):
    """{name: PackedMatrix} of the projections, each read, and where they are floats quantized, when it is
    taken; ``report(name)`` is told so."""

    def __init__(self, directory, report=lambda name: None):
        self.directory, self.report = directory, report
        self.names = dict.fromkeys(filter(is_bitlinear, directory.c.tensor_shapes()))

    def __getitem__(self, name):
        if name not in self.names:
            raise KeyError(name)
        self.report(name)
        return matrix(self.directory, name)

    def __setitem__(self, name, value):
        raise TypeError("the matrices of a directory can be taken, not changed")

    def __delitem__(self, name):
        del self.names[name]

    def __iter__(self):
        return iter(self.names)

    def __len__(self):
        return len(self.names)


def matrix(directory, name):
    """A projection -> PackedMatrix."""
    n, _ = directory.c.tensor_shapes()[name]
    if not directory.storage.packed:
        return quantized(directory.tensors[name].read(), directory.path, foreign(name))
    scale = widen(array(directory, f"{name}_scale").reshape(1))[0]
    scale = np.float32(1) / scale if directory.storage.divides and scale else scale
    return checked_matrix(directory.tensors[name].read(), n, scale, directory.path, foreign(name))


def quantized(a, path, name):
    """Floats as they are stored -> PackedMatrix; FormatError, with the path and their name there, for floats
    that have no codes."""
    return packed_matrix(absmean_ternary, widen(a), f"{path}: tensor {name!r}")


def checked_matrix(bits, n, scale, path, name):
    """Bits as they are stored, n rows, and what multiplies them -> PackedMatrix; FormatError, with the path
    and their name there, for what cannot be."""
    if not 0 < scale < np.inf:
        raise FormatError(f"{path}: {name}_scale means {scale}: expected a number above 0")
    try:
        packing.check_packed(bits, n)
    except ValueError as e:
        raise FormatError(f"{path}: tensor {name!r}: {e}") from None
    return PackedMatrix(bits, n, scale)


def token_ids(directory):
    """-> (the id that begins a text, or None; the ids that end one), as the configuration says."""
    said = dict(directory.config)
    if (directory.path / GENERATION).is_file():
        said |= {key: value for key, value in read_json(directory.path / GENERATION).items()
                 if value is not None}
    begin, ends = said.get("bos_token_id"), said.get("eos_token_id")
    ends = ends if isinstance(ends, list) else [] if ends is None else [ends]
    for i in [*ends, *([] if begin is None else [begin])]:
        if type(i) is not int or i < 0:
            raise UserError(f"{directory.path}: token id {brief(i)}: expected a whole number")
    size = directory.c.vocab_size              # the default ids in a small model's file are no tokens
    return begin if begin is not None and begin < size else None, [i for i in ends if i < size]


# ---- writing

def write(path, c, matrices, arrays, tokenizer, *, dtype="float32", begin=None, ends=()):
    """A model in two bits, matrices {name: PackedMatrix} and arrays {name: array}, or in floats alone, into a
    directory. dtype: of arrays, but for floats that are to be quantized: rounded, some would get another
    code. UserError where transformers has no class for the model, before anything is made."""
    config = config_of(c, bool(matrices), dtype, begin, ends)
    files, masters = to_huggingface(tokenizer, begin, ends), not matrices and c.variant.has_codes
    tensors: dict[str, Any] = {}
    for name, matrix in matrices.items():
        tensors[foreign(name)] = matrix.packed
        tensors[f"{foreign(name)}_scale"] = np.array([matrix.scale], np.float32)
    for name, a in arrays.items():
        in_32_bits = masters and is_bitlinear(name)
        tensors[foreign(name)] = as_stored(a, "float32" if in_32_bits else dtype, name)
    path.mkdir(parents=True, exist_ok=True)
    for stale in (INDEX, CONFIG):                # of another model that was here
        (path / stale).unlink(missing_ok=True)
    safetensors.save(path / WEIGHTS, tensors, {"format": "pt"})      # what transformers asks for
    files[GENERATION] = {key: config[key] for key in ("bos_token_id", "eos_token_id")}
    for name, value in (files | {CONFIG: config}).items():           # last: without it nothing is a model
        write_json(path / name, value)


def write_json(path, value):
    """A JSON file, written whole or not at all."""
    data = (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode("utf-8")
    write_atomically(path, [data], len(data))


def config_of(c, packed, dtype="float32", begin=None, ends=()):
    """ModelConfig -> the contents of config.json."""
    if c.linear not in CLASSES:
        raise UserError(f"linear = {c.linear!r}: expected one of {', '.join(CLASSES)}, for which "
                        "transformers has a class")
    if c.linear == "ternary" and c.d_attention != c.d_model:
        raise UserError(f"d_head = {c.d_head}: expected 0: in transformers' BitNet the heads together "
                        "are as wide as the model")
    odd = [name for name, (n, *_) in c.tensor_shapes().items() if is_bitlinear(name) and n % 4]
    if packed and odd:
        raise UserError(f"{odd[0]} has {c.tensor_shapes()[odd[0]][0]} rows: expected a multiple of 4, which "
                        "transformers can unpack (packed=False keeps floats)")
    kind, architecture = CLASSES[c.linear]
    config = {"architectures": [architecture], "model_type": kind, "head_dim": c.head_dim,
              "attention_bias": False, "attention_dropout": 0.0, "dtype": dtype, "torch_dtype": dtype,
              "tie_word_embeddings": c.tied, "bos_token_id": begin,
              "eos_token_id": ends[0] if len(ends) == 1 else list(ends) or None,
              "rope_parameters": {"rope_theta": c.rope_theta, "rope_type": "default"},
              **{theirs: getattr(c, ours) for theirs, ours in FIELDS.items()}}
    if c.variant.has_codes:
        config["quantization_config"] = {
            "quant_method": "bitnet", "linear_class": "autobitlinear",
            "quantization_mode": "offline" if packed else "online", "modules_to_not_convert": None,
            "use_rms_norm": False, "rms_norm_eps": c.norm_eps}
    return config
