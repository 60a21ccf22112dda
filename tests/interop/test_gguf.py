"""GGUF files: there and back, by the gguf package where it is installed, and damaged."""
import json
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from test_huggingface import IDS, TOKENIZER, model_of

import minibitnet
from minibitnet.errors import UserError
from minibitnet.formats.packed import PackedMatrix
from minibitnet.formats.safetensors import FormatError
from minibitnet.interop import ggml, gguf, gguf_model
from minibitnet.packing import pack_ternary, unpack_ternary
from minibitnet.text.bpe_files import GPT2_PATTERN
from minibitnet.text.tokenizer import BPETokenizer, ByteTokenizer, CharTokenizer

WIDE = {"d_model": 256, "d_ffn": 512, "n_layers": 1}     # rows of whole blocks, in every type
KINDS_OF_GGUF = gguf_model.KINDS
KINDS = pytest.mark.parametrize("kind", gguf_model.KINDS)


@pytest.fixture(scope="module")
def wide():
    return model_of(**WIDE)


# ---- a model, there and back

@KINDS
def test_what_is_saved_is_read_with_the_same_logits(kind, wide, tmp_path):
    """To the bit, with a float32 head: no scale is rounded."""
    path = wide.save_gguf(tmp_path / "m.gguf", kind, dtype="float32")
    again = minibitnet.from_pretrained(path)
    assert np.array_equal(again.logits(IDS), wide.logits(IDS))
    assert (again.begin, again.ends) == (wide.begin, wide.ends)
    assert again.tokenizer.vocabulary == TOKENIZER.vocabulary
    assert again.generate("the", 5) == wide.generate("the", 5)
    assert minibitnet.from_pretrained(path, "integer").logits(IDS).dtype == np.int32
    with pytest.raises(UserError, match="no floats are left: expected the engine packed or integer"):
        minibitnet.from_pretrained(path, "float")


@pytest.mark.parametrize("options", [
    {"activation": "relu2", "tied": True, "rope_theta": 5e5, "norm_eps": 1e-5},
    {"n_kv_heads": 1, "d_head": 64, "n_heads": 4}], ids=str)
def test_other_sizes(options, tmp_path):
    model = model_of(**WIDE | options)
    model.save_gguf(tmp_path / "m.gguf", dtype="float32")
    again = minibitnet.from_pretrained(tmp_path / "m.gguf")
    assert np.array_equal(again.logits(IDS), model.logits(IDS))
    theirs, ours = (vars(m.config) | {"norm_eps": 0, "linear": 0} for m in (again, model))
    assert theirs | {"d_head": 0} == ours | {"d_head": 0}
    small = model.save_gguf(tmp_path / "small.gguf", "tq1", dtype="bfloat16")
    assert small.stat().st_size < 0.9 * (tmp_path / "m.gguf").stat().st_size


def test_bytes_and_characters(tmp_path):
    model = model_of(tokenizer=ByteTokenizer(with_end=True), vocab_size=257, **WIDE)
    again = minibitnet.from_pretrained(model.save_gguf(tmp_path / "m.gguf"))
    assert again.tokenizer.encode("né\n").tolist() == model.tokenizer.encode("né\n").tolist()
    for change in ({"nfc": True}, {"prefix_space": True, "pattern": GPT2_PATTERN}):
        odd = BPETokenizer(TOKENIZER.vocabulary._replace(**change))
        with pytest.raises(UserError, match="that takes text as it is, which GGUF can hold"):
            model_of(tokenizer=odd, **WIDE).save_gguf(tmp_path / "c.gguf")
    characters = CharTokenizer.train("the sea", with_end=True)
    model = model_of(tokenizer=characters, vocab_size=characters.vocab_size, **WIDE)
    with pytest.raises(UserError, match="expected a tokenizer of bytes"):
        model.save_gguf(tmp_path / "c.gguf")


def test_what_cannot_be_said_in_the_format(tmp_path, wide):
    for options, kind, words in (({}, "tq2", "rows of 16 weights: expected a multiple of 256 for TQ2_0"),
                                 ({"linear": "binary", **WIDE}, "tq2", "linear = 'binary': expected ternary"),
                                 ({"linear": "float", **WIDE}, "tq2", "expected ternary weights"),
                                 (WIDE, "q4", "'q4' with 'float16': expected one of tq1, tq2, q2, i2s")):
        with pytest.raises(UserError, match=words):
            model_of(**options).save_gguf(tmp_path / "m.gguf", kind)
    assert not list(tmp_path.iterdir())


def rewrite(path, change):
    """Read a file whole, change (metadata, tensors {name: [kind, shape, array]}), write it."""
    file = gguf.read(path)
    tensors = {name: [t.kind, t.shape, t.read()] for name, t in file.tensors.items()}
    metadata = {key: value.tolist() if isinstance(value, np.ndarray) else value
                for key, value in file.metadata.items()}
    change(metadata, tensors)
    gguf.write(path, metadata, tensors)


UP, DOWN = "blk.0.ffn_up.weight", "blk.0.ffn_down.weight"


def test_scales_of_others_stand_in_the_blocks(wide, tmp_path):
    """As llama.cpp's converter writes them: d is the scale, no tensor beside. A block of zeros has d = 0, and
    its digits mean nothing."""
    def inside(metadata, tensors):
        for name in [name for name in tensors if name.endswith(".scale")]:
            del tensors[name]
            codes, _ = ggml.decode(ggml.TQ2_0, tensors[name.replace("scale", "weight")][2],
                                   tensors[name.replace("scale", "weight")][1])
            codes[0, :256] = 0
            data = ggml.encode(ggml.TQ2_0, codes, 0.125).reshape(-1, 66)
            data[0] = 0                          # d = 0, digits of -1
            tensors[name.replace("scale", "weight")][2] = data
    path = wide.save_gguf(tmp_path / "m.gguf")
    rewrite(path, inside)
    found = gguf_model.read(path)
    for name, matrix in found.matrices.items():
        assert matrix.scale == 0.125 and not unpack_ternary(matrix.packed, matrix.n)[0, :256].any(), name


def test_ternary_weights_in_floats(wide, tmp_path):
    """Three values in float16 or float32; other floats are not ternary."""
    def floats(metadata, tensors):
        codes, _ = ggml.decode(ggml.TQ2_0, tensors[UP][2], tensors[UP][1])
        tensors[UP] = [1, tensors[UP][1], (codes * np.float16(0.5)).astype(np.float16)]
        tensors[UP.replace("weight", "scale")][2] = np.array([3.0], np.float32)
    path = wide.save_gguf(tmp_path / "m.gguf")
    before = gguf_model.read(path).matrices["layers.0.mlp.up_proj.weight"]
    rewrite(path, floats)
    after = gguf_model.read(path).matrices["layers.0.mlp.up_proj.weight"]
    assert np.array_equal(after.packed, before.packed) and after.scale == 1.5
    rewrite(path, lambda metadata, tensors: tensors[UP][2].__setitem__((0, 0), 0.3))
    with pytest.raises(FormatError, match="ffn_up.weight' holds other values than 0 and plus or minus 0.5"):
        minibitnet.from_pretrained(path)


def test_signs_are_a_ternary_matrix_without_zeros(tmp_path):
    codes = np.where(np.random.default_rng(0).standard_normal((4, 256)) > 0, 1, -1).astype(np.int8)
    gguf.write(tmp_path / "m", {}, {"w": (41, codes.shape, ggml.encode(ggml.Q1_0, codes, 0.25))})
    found = gguf_model.matrix(gguf.read(tmp_path / "m").tensors["w"], 1.0, "m", "w")
    assert found.scale == 0.25 and np.array_equal(found.packed, pack_ternary(codes))
    assert isinstance(found, PackedMatrix) and found.n == 4


def changed_scale(metadata, tensors):
    tensors[UP][2] = tensors[UP][2].copy()
    tensors[UP][2][64:66] = [0, 0x40]


@pytest.mark.parametrize("change, words", [
    (lambda m, t: m.update({"general.architecture": "llama"}), "architecture = 'llama': expected one of"),
    (lambda m, t: m.pop("bitnet.block_count"), "bitnet.block_count = None: expected a number"),
    (lambda m, t: m.update({"bitnet.hidden_activation": "gelu"}), "activation = 'gelu'"),
    (lambda m, t: m.update({"bitnet.rope.scaling.type": "yarn"}), "rope.scaling.type = 'yarn'"),
    (lambda m, t: m.update({"bitnet.attention.head_count_kv": 3}), "does not divide n_heads"),
    (lambda m, t: m.update({"tokenizer.ggml.bos_token_id": 271}), "token id 271: expected one below 271"),
    (lambda m, t: m.update({"tokenizer.ggml.model": "llama"}), "ggml.model = 'llama': expected gpt2"),
    (lambda m, t: (m.pop("minibitnet.pattern"), m.update({"tokenizer.ggml.pre": "qwen2"})), "pre = 'qwen2'"),
    (lambda m, t: m["tokenizer.ggml.token_type"].pop(), "two lists of one length"),
    (lambda m, t: m["tokenizer.ggml.token_type"].__setitem__(9, 4), "token_type 4: expected normal tokens"),
    (lambda m, t: m.update({"bitnet.rope.dimension_count": 64}), "dimension_count = 64: expected 128, all"),
    (lambda m, t: m.update({"bitnet.context_length": 2**23}), "a context of 8,388,608 tokens: expected at m"),
    (lambda m, t: t.pop("output_norm.weight"), "tensor 'output_norm.weight' is missing"),
    (lambda m, t: t.pop("token_embd.weight"), "tensor 'token_embd.weight' is missing"),
    (lambda m, t: t.update({"blk.0.attn_q.bias": [0, (256,), np.zeros(256, np.float32)]}), "is not of this"),
    (lambda m, t: t["output_norm.weight"].__setitem__(2, np.full(256, np.nan, np.float32)), "not finite"),
    (lambda m, t: t[UP].__setitem__(1, (256, 512)), "has shape \\(256, 512\\): expected \\(512, 256\\)"),
    (changed_scale, "blocks of 2 different scales, from 1 to 2: expected one"),
    (lambda m, t: t.update({UP.replace("weight", "scale"): [0, (1,), np.zeros(1, np.float32)]}), "scale 0:"),
    (lambda m, t: t.update({UP: [12, (512, 256), t[UP][2]]}), "is of type 12: expected F32, F16 or BF16")])
def test_what_is_wrong_is_named(change, words, wide, tmp_path):
    path = wide.save_gguf(tmp_path / "m.gguf")
    rewrite(path, change)
    with pytest.raises(UserError, match=words) as e:
        minibitnet.from_pretrained(path)
    assert str(e.value).startswith(str(path)) and "\n" not in str(e.value)


def test_two_tokens_may_end_a_text_and_some_stand_for_nothing(tmp_path):
    unused = BPETokenizer(TOKENIZER.vocabulary._replace(unused=9))
    model = model_of(tokenizer=unused, vocab_size=280, **WIDE)
    model.ends = [270, 5]
    again = minibitnet.from_pretrained(model.save_gguf(tmp_path / "m.gguf"))
    assert again.ends == [270, 5] and again.tokenizer.vocabulary == unused.vocabulary
    model.ends = [1, 2, 3]
    with pytest.raises(UserError, match="3 tokens that end a text: expected two at most"):
        model.save_gguf(tmp_path / "m.gguf")
    for arguments in ((["tq2"],), (5,)):
        with pytest.raises(UserError, match="expected one of tq1"):
            model.save_gguf(tmp_path / "m.gguf", *arguments)
    with pytest.raises(UserError, match="expected the name of a directory"):
        model.save_gguf(5)


# ---- the file

def test_many_tensors_are_read_at_once(tmp_path):
    """Ten thousand of one number each: their rooms are looked up, not searched."""
    gguf.write(tmp_path / "m", {}, {f"t{i}": (0, (1,), np.float32([i])) for i in range(10_000)})
    tensors = gguf.read(tmp_path / "m").tensors
    assert len(tensors) == 10_000 and tensors["t77"].read() == [77]


def test_arrays_of_metadata_take_little_memory(tmp_path):
    """Four million numbers stay an array of a byte each; arrays in arrays are refused."""
    def file(kind, inner, n, data):
        head = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"a"
        (tmp_path / "m").write_bytes(head + struct.pack("<IIQ", kind, inner, n) + data)
    file(9, 0, 2**22, bytes(2**22))
    tracemalloc.start()
    metadata = gguf.read(tmp_path / "m").metadata
    assert tracemalloc.get_traced_memory()[1] < 2**22 * 2 + 2**20 and len(metadata["a"]) == 2**22
    tracemalloc.stop()
    for inner, n, words in ((9, 4, "an array of type 9"), (8, 2**21, "texts in its metadata: expected at mo"),
                            (0, 2**40, "more than the file holds")):
        file(9, inner, n, bytes(2**24))
        with pytest.raises(FormatError, match=words):
            gguf.read(tmp_path / "m")


def test_the_bytes_of_a_small_file(tmp_path):
    """By pencil: the header, one entry, one tensor of two rows of three, whose data begin at a multiple of
    32."""
    gguf.write(tmp_path / "m", {"a": 7}, {"w": (0, (2, 3), np.arange(6, dtype=np.float32))})
    data = (tmp_path / "m").read_bytes()
    head = (b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + struct.pack("<Q", 1) + b"a" + struct.pack("<II", 4, 7)
            + struct.pack("<Q", 1) + b"w" + struct.pack("<IQQIQ", 2, 3, 2, 0, 0))
    assert data.startswith(head) and len(head) == 82 and data[82:96] == bytes(14)
    assert np.array_equal(np.frombuffer(data[96:120], np.float32), np.arange(6)) and len(data) == 128
    file = gguf.read(tmp_path / "m")
    assert file.metadata == {"a": 7} and np.array_equal(file.tensors["w"].read(), np.arange(6).reshape(2, 3))


def test_every_kind_of_value(tmp_path):
    metadata = {"bool": True, "int": 2**32 - 1, "float": 0.5, "text": "né", "texts": ["a", "", "ü"],
                "numbers": [-1, 2], "floats": [0.25, 2.0]}
    gguf.write(tmp_path / "m", metadata, {})
    assert gguf.read(tmp_path / "m").metadata == metadata
    with pytest.raises(UserError, match="expected a value that GGUF's metadata can hold"):
        gguf.write(tmp_path / "m", {"x": []}, {})


def test_older_blocks_that_have_the_id_of_q2_0(tmp_path):
    """34 bytes for 128 weights: told by the room that the tensor has."""
    gguf.write(tmp_path / "m", {}, {"w": (42, (64, 128), np.zeros(64 * 34, np.uint8))})
    with pytest.raises(FormatError, match="takes 2,176 bytes, as a fork's older blocks of 128 weights do"):
        gguf.read(tmp_path / "m")


@KINDS
def test_the_gguf_package_reads_it(kind, wide, tmp_path):
    """Metadata, names and shapes; and what it dequantizes, times the scale, is exactly our weights."""
    package = pytest.importorskip("gguf", reason="gguf is not installed (extra 'peers')")
    path = wide.save_gguf(tmp_path / "m.gguf", kind)
    if KINDS_OF_GGUF[kind].id not in list(package.GGMLQuantizationType):
        pytest.skip(f"this version of gguf does not know {KINDS_OF_GGUF[kind].name}: it cannot open the file")
    reader = package.GGUFReader(path)
    tensors = {t.name: t for t in reader.tensors}
    assert reader.fields["general.architecture"].contents() == "bitnet"
    assert reader.fields["bitnet.attention.head_count"].contents() == 2
    assert reader.fields["tokenizer.ggml.tokens"].contents()[-1] == "<|endoftext|>"
    matrices, _ = minibitnet.formats.packed.pack(wide.latent(), wide.config)
    for name, matrix in matrices.items():
        t = tensors[gguf_model.theirs(name)]
        scale = tensors[gguf_model.theirs(name).replace("weight", "scale")]
        assert scale.data[0] == matrix.scale
        codes = unpack_ternary(matrix.packed, matrix.n)
        assert np.array_equal(package.dequantize(t.data, t.tensor_type) * scale.data[0], codes * matrix.scale)


# ---- llama.cpp

def test_llama_cpp_gives_what_its_activations_explain(tmp_path):
    """One random model: of our logits they are a hundredth away, of ours by blocks nothing or a flipped code.
    (pip install llama-cpp-python compiles it.)"""
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    import with_llama_cpp
    model = with_llama_cpp.random_model(1)
    for found in with_llama_cpp.compared(model, np.arange(20), tmp_path).values():
        assert found["from ours by blocks"] < found["from ours"] < 0.1


def test_a_name_without_the_ending_is_refused(tmp_path):
    with pytest.raises(UserError, match="name: expected a name that ends in .gguf"):
        model_of(**WIDE).save_gguf(tmp_path / "name")
    assert not (tmp_path / "name").exists()


def test_a_scale_of_two_numbers_is_refused(tmp_path):
    file = gguf.read(model_of(**WIDE).save_gguf(tmp_path / "m.gguf"))
    name = "blk.0.attn_q.scale"
    tensors = {key: (t.kind, t.shape, t.read()) for key, t in file.tensors.items()}
    tensors[name] = tensors[name][0], (2,), np.array([0.1, 0.2], np.float32)
    gguf.write(tmp_path / "n.gguf", file.metadata, tensors)
    with pytest.raises(UserError, match="the scale of .* has 2 numbers: expected one"):
        minibitnet.from_pretrained(tmp_path / "n.gguf")


def test_a_pattern_that_does_not_compile_is_refused_by_name(tmp_path):
    file = gguf.read(model_of(**WIDE).save_gguf(tmp_path / "m.gguf"))
    tensors = {key: (t.kind, t.shape, t.read()) for key, t in file.tensors.items()}
    gguf.write(tmp_path / "n.gguf", file.metadata | {gguf_model.OWN: "(["}, tensors)
    with pytest.raises(UserError, match="n.gguf: its pattern '\\(\\[' does not compile"):
        minibitnet.from_pretrained(tmp_path / "n.gguf")


def test_numbers_of_32_bits_are_read_in_few_digits(tmp_path):
    """1e-5 is 9.999999747378752e-06 in float32: of the model that was written nothing else is read."""
    model = model_of(**WIDE, norm_eps=1e-5, rope_theta=5e5)
    assert minibitnet.from_pretrained(model.save_gguf(tmp_path / "m.gguf")).config == model.config


def test_the_record_of_llama_cpp():
    """Of most models nothing but rounding is left, and every greedy continuation is the same."""
    path = Path(__file__).parents[2] / "data/results/llama_cpp.json"
    result = json.loads(path.read_text(encoding="utf-8"))["result"]
    for kind in ("tq2", "tq1", "q2"):
        assert result["random"][kind]["from ours by blocks"]["median"] < 1e-3
        assert result["random"][kind]["from ours"]["median"] > 1e-2
        assert result["trained"][kind]["from ours by blocks"] < 1e-5
        assert result["written"][kind]["as ours by blocks"] == result["config"]["prompts"]
