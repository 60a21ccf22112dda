"""A ternary model as llama.cpp has it: names and metadata of the architecture "bitnet".

    ours                              theirs
    embed_tokens, norm, lm_head       token_embd, output_norm, output
    input_layernorm                   blk.N.attn_norm
    self_attn.{q,k,v,o}_proj          blk.N.attn_{q,k,v,output}
    self_attn.attn_sub_norm           blk.N.attn_sub_norm
    post_attention_layernorm          blk.N.ffn_norm
    mlp.{gate,up,down}_proj           blk.N.ffn_{gate,up,down}
    mlp.ffn_sub_norm                  blk.N.ffn_sub_norm

A projection's weights are blocks of ``ggml.py`` with d = 1, and its scale is a tensor beside them,
blk.N.NAME.scale, one float32 by which llama.cpp multiplies what comes out: so nothing of it is rounded. (Of
I2_S the scale stands in the tensor's own tail, which bitnet.cpp reads.) Files by others have their scale in
d; these are read where all blocks of a matrix have the same, or zeros alone.

A pattern that llama.cpp has no name for, ours among them, it does not hear of: it cuts text by another one.
Its graph for "bitnet" (src/models/bitnet.cpp) ends in the embedding for a head; older versions have SiLU
there, newer ones read hidden_activation. It quantizes the activations of 256 features at a time (for Q2_0 of
32), not of a whole token. So its logits are near ours for a tied SiLU model, by how much
data/results/engines.md says, and it refuses a file with a head of its own.
"""
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import UserError, brief
from ..float16 import all_finite, widen
from ..formats.packed import PackedMatrix, as_stored, is_bitlinear
from ..formats.safetensors import FormatError
from ..nn.config import ModelConfig
from ..packing import pack_ternary, unpack_ternary
from ..text.bpe_files import GPT2_PATTERN, from_huggingface, split_by, to_huggingface
from ..text.tokenizer import bpe_tokenizer
from . import ggml, gguf, huggingface

NAMES = {"input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
         "self_attn.v_proj": "attn_v", "self_attn.attn_sub_norm": "attn_sub_norm",
         "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm",
         "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.ffn_sub_norm": "ffn_sub_norm",
         "mlp.down_proj": "ffn_down"}
ENDS = {"embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output"}
# by general.architecture: the activation where nothing else says it. The second is bitnet.cpp's, of 2B-4T.
ARCHITECTURES = {"bitnet": "silu", "bitnet-b1.58": "relu2"}
KINDS = {"tq1": ggml.TQ1_0, "tq2": ggml.TQ2_0, "q2": ggml.Q2_0, "i2s": ggml.I2_S}
FILE_TYPES = {"tq1": 36, "tq2": 37, "q2": 41, "i2s": 40}             # general.file_type
FLOAT_KINDS = {"float32": 0, "float16": 1, "bfloat16": 30}
SIZES = {"context_length": "context", "embedding_length": "d_model", "block_count": "n_layers",
         "feed_forward_length": "d_ffn", "attention.head_count": "n_heads",
         "attention.head_count_kv": "n_kv_heads"}
EPS = "attention.layer_norm_rms_epsilon"
NORMAL, CONTROL, UNUSED = 1, 3, 5      # tokenizer.ggml.token_type
LLAMA3_PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
                  r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
PATTERNS = {"gpt-2": GPT2_PATTERN, "llama-bpe": LLAMA3_PATTERN}      # by llama.cpp's names for them
OWN, MERGES = "minibitnet.pattern", "minibitnet.ignore_merges"       # of any other one, which only we read


class Model(NamedTuple):
    """What a file holds, but for its tokenizer: ``tokenizer_of(file)``. begin, ends: ids that begin and end
    a text."""
    c: ModelConfig
    matrices: dict           # {name: PackedMatrix}
    arrays: dict             # {name: array}
    file: gguf.File
    begin: int | None
    ends: list


def theirs(name):
    """Our parameter's name -> theirs."""
    parts = name.removesuffix(".weight").split(".")
    if parts[0] == "layers":
        return f"blk.{parts[1]}.{NAMES['.'.join(parts[2:])]}.weight"
    return f"{ENDS[parts[0]]}.weight"


# ---- writing

def write(path, c, matrices, arrays, tokenizer, *, kind="tq2", dtype="float16", begin=None, ends=(), name=""):
    """A ternary model in two bits (as ``formats/packed.py`` has it) -> a file. kind: of KINDS, how
    projections are stored; dtype: of embedding and head (gains are float32). UserError for what the format
    has not."""
    if c.linear != "ternary":
        raise UserError(f"linear = {c.linear!r}: expected ternary, which llama.cpp has a graph for")
    if kind not in list(KINDS) or dtype not in list(FLOAT_KINDS):
        raise UserError(f"{brief(kind)} with {brief(dtype)}: expected one of {', '.join(KINDS)} with one of "
                        f"{', '.join(FLOAT_KINDS)}")
    if Path(path).suffix != ".gguf":
        raise UserError(f"{path}: expected a name that ends in .gguf, by which such a file is known")
    of_kind, tensors = KINDS[kind], {}
    for ours in c.tensor_shapes():
        if not is_bitlinear(ours):
            a = arrays[ours]
            kept = dtype if a.ndim > 1 else "float32"
            tensors[theirs(ours)] = FLOAT_KINDS[kept], a.shape, as_stored(a, kept, ours)
            continue
        packed, n, scale = matrices[ours]
        codes = unpack_ternary(packed, n)
        try:
            data = ggml.encode(of_kind, codes, scale if of_kind is ggml.I2_S else 1.0)
        except ValueError as e:
            raise UserError(f"{ours}: {e}") from None
        tensors[theirs(ours)] = of_kind.id, codes.shape, data
        if of_kind is not ggml.I2_S:
            tensors[theirs(ours).replace(".weight", ".scale")] = 0, (1,), np.array([scale], np.float32)
    gguf.write(path, metadata_of(c, kind, name) | tokenizer_metadata(tokenizer, begin, ends), tensors)


def metadata_of(c, kind, name):
    """The sizes."""
    sizes = {f"bitnet.{key}": getattr(c, ours) for key, ours in SIZES.items()}
    return {"general.architecture": "bitnet", "general.name": name or "minibitnet",
            "general.file_type": FILE_TYPES[kind], "general.quantization_version": 2,
            "bitnet.vocab_size": c.vocab_size, **sizes, f"bitnet.{EPS}": c.norm_eps,
            "bitnet.rope.freq_base": c.rope_theta, "bitnet.rope.dimension_count": c.head_dim,
            "bitnet.attention.key_length": c.head_dim, "bitnet.attention.value_length": c.head_dim,
            "bitnet.hidden_activation": c.activation}


def tokenizer_metadata(tokenizer, begin, ends):
    """A byte-level tokenizer; UserError for another one."""
    file, said = to_huggingface(tokenizer, begin, ends)["tokenizer.json"], tokenizer.to_json()
    if file["model"]["type"] != "BPE" or said.get("nfc") or said.get("prefix_space"):
        raise UserError(f"{tokenizer!r}: expected a tokenizer of bytes (byte or bpe) that takes text as it "
                        "is, which GGUF can hold")
    if len(ends) > 2:
        raise UserError(f"{len(ends)} tokens that end a text: expected two at most, which GGUF can name")
    special = {token["content"]: token["id"] for token in file["added_tokens"]}
    size = tokenizer.vocab_size
    unused = {f"[PAD{i}]": i for i in range(size - said.get("unused", 0), size)}
    ids = file["model"]["vocab"] | special | unused
    tokens = sorted(ids, key=ids.get)
    pre = file["pre_tokenizer"]
    pattern = pre["pretokenizers"][0]["pattern"]["Regex"] if pre["type"] == "Sequence" else GPT2_PATTERN
    named = next((name for name, known in PATTERNS.items() if known == pattern), None)
    found = {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": named or "default",
             "tokenizer.ggml.tokens": tokens,
             "tokenizer.ggml.token_type": [
                 CONTROL if text in special else UNUSED if text in unused else NORMAL
                 for text in tokens],
             "tokenizer.ggml.merges": [" ".join(merge) for merge in file["model"]["merges"]],
             "tokenizer.ggml.bos_token_id": begin, "tokenizer.ggml.eos_token_id": next(iter(ends), None),
             "tokenizer.ggml.eot_token_id": ends[1] if len(ends) > 1 else None,
             "tokenizer.ggml.add_bos_token": begin is not None, OWN: None if named else pattern,
             MERGES: None if named == "llama-bpe" else file["model"].get("ignore_merges", False)}
    return {key: value for key, value in found.items() if value not in (None, [])}


# ---- reading

def read(path):
    """A GGUF file of a BitNet -> Model; FormatError or UserError for what is none, or is not sound."""
    file = gguf.read(path)
    c = config_of(file)
    left, matrices, arrays = dict(file.tensors), {}, {}
    for ours, shape in c.tensor_shapes().items():
        tensor = taken(left, theirs(ours), shape, path)
        if is_bitlinear(ours):
            scale = left.pop(theirs(ours).replace(".weight", ".scale"), None)
            factor = 1.0 if scale is None else number_in(scale, path, theirs(ours))
            matrices[ours] = matrix(tensor, factor, path, theirs(ours))
        else:
            arrays[ours] = floats(tensor, path, theirs(ours))
    for name in ("rope_freqs.weight", "output.weight" if c.tied else ""):
        left.pop(name, None)
    if left:
        raise FormatError(f"{path}: tensor {min(left)!r} is not of this model")
    begin, *ends = (file.metadata.get(f"tokenizer.ggml.{which}_token_id") for which in ("bos", "eos", "eot"))
    ends = [i for i in dict.fromkeys(ends) if i is not None]
    for i in (begin, *ends):
        if i is not None and not (type(i) is int and 0 <= i < c.vocab_size):
            raise UserError(f"{path}: token id {brief(i)}: expected one below {c.vocab_size:,}")
    adds = file.metadata.get("tokenizer.ggml.add_bos_token",         # as llama.cpp, where nothing is said
                             file.metadata.get("tokenizer.ggml.pre") == "llama-bpe")
    return Model(c, matrices, arrays, file, begin if adds else None, ends)


def config_of(file):
    """The metadata -> ModelConfig; UserError that names what is missing or not known."""
    said, path = file.metadata, file.path
    kind = said.get("general.architecture")
    if kind not in ARCHITECTURES:
        raise UserError(f"{path}: general.architecture = {brief(kind)}: expected one of "
                        f"{', '.join(ARCHITECTURES)}")

    def number(key, default=None):
        value = said.get(f"{kind}.{key}", default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UserError(f"{path}: {kind}.{key} = {brief(value)}: expected a number")
        return value
    sizes = {ours: number(key) for key, ours in SIZES.items()}
    activation = said.get(f"{kind}.hidden_activation", ARCHITECTURES[kind])
    scaling = said.get(f"{kind}.rope.scaling.type", "none")
    if scaling != "none":
        raise UserError(f"{path}: {kind}.rope.scaling.type = {brief(scaling)}: expected none")
    embedding = file.tensors.get("token_embd.weight")
    if embedding is None or len(embedding.shape) != 2:
        raise FormatError(f"{path}: tensor 'token_embd.weight' is missing, or no matrix")
    head = number("attention.key_length", 0)
    for key in ("rope.dimension_count", "attention.value_length"):
        if number(key, expected := head or sizes["d_model"] // max(1, sizes["n_heads"])) != expected:
            raise UserError(f"{path}: {kind}.{key} = {number(key)}: expected {expected}, all of a head")
    try:
        natural = head * sizes["n_heads"] == sizes["d_model"]
        c = ModelConfig(vocab_size=embedding.shape[0], linear="ternary", activation=activation,
                        tied="output.weight" not in file.tensors, d_head=0 if natural else head,
                        norm_eps=float(number(EPS)), rope_theta=float(number("rope.freq_base", 10_000.0)),
                        **sizes)
        huggingface.check_context(c)
    except UserError as e:
        raise UserError(f"{path}: {e}") from None
    return c


def taken(tensors, name, shape, path):
    """The tensor of a name and shape, out of them."""
    if name not in tensors:
        raise FormatError(f"{path}: tensor {name!r} is missing")
    tensor = tensors.pop(name)
    if tensor.shape != shape:
        raise FormatError(f"{path}: tensor {name!r} has shape {tensor.shape}: expected {shape}")
    return tensor


def floats(tensor, path, name):
    """A tensor of floats, as it is stored; FormatError for others, and for what is not finite."""
    if tensor.kind not in gguf.FLOATS:
        raise FormatError(f"{path}: tensor {name!r} is of type {tensor.kind}: expected F32, F16 or BF16")
    a = tensor.read()
    if not a.size or not all_finite(a):
        raise FormatError(f"{path}: tensor {name!r} holds values that are not finite, or none")
    return a if a.dtype.names or a.dtype != np.dtype("<f4") else a.astype(np.float32)


def number_in(tensor, path, name):
    """The one float of a tensor."""
    a = widen(floats(tensor, path, name)).reshape(-1)
    if a.size != 1:
        raise FormatError(f"{path}: the scale of {name!r} has {a.size:,} numbers: expected one")
    return float(a[0])


def matrix(tensor, factor, path, name):
    """A projection in blocks, or in floats of three values -> PackedMatrix with one scale, times factor."""
    if tensor.kind in ggml.KINDS:
        try:
            codes, scale = ggml.decode(ggml.KINDS[tensor.kind], tensor.read(), tensor.shape)
        except ValueError as e:
            raise FormatError(f"{path}: tensor {name!r}: {e}") from None
        if scale.size > 1:                       # one for each block; a block of zeros may have any
            blocks = codes.reshape(*scale.shape, -1) * (scale != 0)[..., None].astype(np.int8)
            codes, scale = blocks.reshape(codes.shape), np.unique(scale[blocks.any(-1)])
            if scale.size > 1:
                raise FormatError(f"{path}: tensor {name!r} has blocks of {scale.size} different scales, "
                                  f"from {scale.min():g} to {scale.max():g}: expected one for the matrix")
        scale = float(scale[0]) if scale.size else 1.0
    else:
        w = widen(floats(tensor, path, name))
        scale = float(np.abs(w).max())
        codes = np.rint(w / np.float32(scale or 1.0)).astype(np.int8)
        if not np.array_equal(codes * np.float32(scale), w):
            raise FormatError(f"{path}: tensor {name!r} holds other values than 0 and plus or minus "
                              f"{scale:g}: expected ternary weights")
    if scale < 0:
        codes, scale = -codes, -scale
    scale *= factor
    if not 0 < scale < np.inf:
        raise FormatError(f"{path}: tensor {name!r} has the scale {scale:g}: expected a number above 0")
    return PackedMatrix(pack_ternary(codes), len(codes), np.float32(scale))


def tokenizer_of(file):
    """The tokenizer of the metadata; UserError for one that is not byte-level."""
    said, path = file.metadata, Path(file.path)
    if said.get("tokenizer.ggml.model") != "gpt2":
        raise UserError(f"{path}: tokenizer.ggml.model = {brief(said.get('tokenizer.ggml.model'))}: expected "
                        "gpt2, BPE over bytes")
    pre = said.get("tokenizer.ggml.pre", "gpt-2")
    pattern = said.get(OWN) or PATTERNS.get(pre)
    if not isinstance(pattern, str):
        raise UserError(f"{path}: tokenizer.ggml.pre = {brief(pre)}: expected one of {', '.join(PATTERNS)}")
    tokens, kinds = said.get("tokenizer.ggml.tokens"), said.get("tokenizer.ggml.token_type")
    merges = said.get("tokenizer.ggml.merges", [])
    kinds = kinds.tolist() if isinstance(kinds, np.ndarray) else kinds
    if not (isinstance(tokens, list) and isinstance(kinds, list) and isinstance(merges, list)
            and len(tokens) == len(kinds) and len(set(map(str, tokens))) == len(tokens)):
        raise UserError(f"{path}: tokenizer.ggml.tokens and token_type: expected two lists of one length, "
                        "each token once")
    if strange := set(kinds) - {NORMAL, CONTROL, UNUSED}:
        raise UserError(f"{path}: tokenizer.ggml.token_type {min(strange)}: expected normal tokens, control "
                        "and unused ones alone (1, 3, 5); others stand for text that they cut first")
    unused = len(kinds) - next((i for i in range(len(kinds), 0, -1) if kinds[i - 1] != UNUSED), 0)
    tokens, kinds = tokens[:len(kinds) - unused], kinds[:len(kinds) - unused]
    special = [i for i, kind in enumerate(kinds) if kind != NORMAL]
    vocabulary = from_huggingface({
        "model": {"type": "BPE", "vocab": {text: i for i, text in enumerate(tokens)}, "merges": merges,
                  "ignore_merges": pre == "llama-bpe" or said.get(MERGES) is True},
        "added_tokens": [{"id": i, "content": tokens[i], "special": True} for i in special],
        "normalizer": None, "pre_tokenizer": split_by(pattern)}, path)
    return bpe_tokenizer(vocabulary._replace(unused=unused), path)
