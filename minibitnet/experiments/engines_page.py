"""data/results/engines.md: running packed models."""
from ..measure import plotting
from ..measure.random_models import SHAPES
from ..measure.timing import spread
from ..nn.config import ModelConfig
from .markdown import made_by, page, record, rows, table

DECODING = "decode_tiny", "decode_15m", "decode_2b4t"
PROMPTS = "prompt_2b4t"
INTEROP = LOADED, LIBRARY, LLAMA_CPP, FAULTS, HOSTILE = (
    "decode_random_2b4t", "transformers", "llama_cpp", "inspect", "mutations")


def engines():
    """Running packed models."""
    text = ("Three engines run a model; all make the same whole-number products. `packed` gives the float "
            "engine's logits to the bit.")
    return page("# Engines", text,
                agreement(), made_by("recipes"),
                decoding(), ["", "![tokens a second by engine](engines.png)"], made_by(*DECODING),
                prompts(), made_by(PROMPTS),
                products(), made_by("kernels"),
                sizes(), made_by("recipes"),
                loaded(), made_by(LOADED), beside_transformers(), made_by(LIBRARY),
                beside_llama_cpp(), made_by(LLAMA_CPP), inspected(), made_by(FAULTS),
                hostile(), made_by(HOSTILE))


def agreement():
    """The lines that compare engines."""
    yield "## Beside the float engine"
    yield ""
    yield ("The tiny run on its validation text; *clear*: where the float engine's two best tokens are more "
           "than 0.1 nats apart.")
    yield ""
    head = ("engine", "loss", "difference", "likeliest token the same", "of the clear ones",
            "logits equal to the bit")
    lines = []
    for name, found in record("recipes")["result"]["engines"].items():
        r = found["against_float"]
        lines.append((f"`{name}`", f"{r['loss']:.5f}", f"{r['loss'] - r['reference_loss']:+.5f}",
                      f"{r['agree']:.2%}", f"{r['agree_clear']:.3%}", f"{r['identical']:.1%}"))
    yield from table(head, lines)


def decoding():
    """The lines about tokens a second."""
    yield "## Whole models of random weights"
    yield ""
    for shape, sizes in SHAPES.items():
        c = ModelConfig(**sizes)
        yield (f"- {shape}: {c.n_parameters / 1e6:,.0f} million parameters, {c.n_layers} layers, "
               f"{c.d_model} wide, {c.vocab_size:,} tokens")
    yield ""
    yield ("Tokens a second, one after another, and of a prompt of 64; memory in MB. "
           f"{rows(DECODING[0])[0]['threads']} threads. (2b4t, the shape of the published model, runs on "
           "the packed engine alone here: the others take several times the memory or the time.)")
    yield ""
    lines = []
    for r in (row for name in DECODING for row in rows(name)):
        for engine, e in ((key, value) for key, value in r.items() if key.endswith(" engine")):
            lines.append((r["shape"], engine,
                          f"{e['decode_tokens_per_s']:,.1f}", f"{e['prefill_tokens_per_s']:,.0f}",
                          f"{e['weights_mb']:,.1f}", f"{e['peak_mb']:,.0f}"))
    yield from table(("shape", "engine", "decode", "prompt", "weights", "peak"), lines)


def prompts():
    """The lines about activations of 4 bits."""
    found = rows(PROMPTS)
    yield "## A prompt at once, with activations of 8 and of 4 bits"
    yield ""
    yield (f"The packed engine at {found[0]['shape']}'s shape, {found[0]['threads']} thread"
           f"{'s' * (found[0]['threads'] > 1)}: tokens a second, and how many times as fast as 8 bits "
           "(median, least and most of the rounds). 4-bit codes go through BLAS in pairs, two tokens in one "
           "float32 (`by_blas_in_pairs`), in half the columns. What stays as it is: unpacking the weights, "
           "attention, norms; and `a48` has 8 bits before o and down.")
    yield ""
    names = [key for key in found[0] if isinstance(found[0][key], dict)]
    yield from table(("tokens", *names), [
        (r["tokens"], *(f"{r[name]['tokens_per_s']:,.1f} · {spread(r[name]['to_eight'])}" for name in names))
        for r in found])
    yield ""


def products():
    """The lines about single products."""
    def cell(r):
        return f"{r['ms']:.3g} · {r['bytes_per_weight']:.2g}"
    yield "## One ternary matrix times one token's codes"
    yield ""
    yield ("Milliseconds, each call with another copy of the matrix; beside it bytes a weight. The last "
           "three are those of `inference/kernels.py`. *shared out*: rows in equal shares for each thread, "
           "which for a small matrix takes longer than the product.")
    yield ""
    found = rows("kernels")
    names = [key for key in found[0] if isinstance(found[0][key], dict)]
    lines = [(r["shape"], *(cell(r[name]) if name in r else "" for name in names)) for r in found]
    yield from table(("outputs x inputs", *names), lines)


def loaded():
    """The lines about the directory of a very large model."""
    [found] = rows(LOADED)
    packed = found["packed engine"]
    yield "## From a directory of Hugging Face"
    yield ""
    yield ("Random weights with the names, types and sizes of BitNet b1.58 2B4T "
           "(`python -m minibitnet.convert --random 2b4t DIR`), "
           f"context {found['context']:,}, {found['threads']} threads: loaded in {found['load_s']:.1f} s, "
           f"with {found['load_peak_mb']:,.0f} MB at most meanwhile and {packed['peak_mb']:,.0f} MB in all; "
           f"{packed['prefill_tokens_per_s']:.0f} tokens a second of a prompt, "
           f"{packed['decode_tokens_per_s']:.1f} written.")
    yield ""


def beside_transformers():
    """The lines about Hugging Face's library."""
    found = record(LIBRARY)["result"]
    forms = {"bitlinear": "BitNet, packed, scales that divide (`bitlinear`)",
             "offline": "BitNet, packed, scales that multiply (`autobitlinear`, offline)",
             "online": "BitNet, floats that are quantized when used (`autobitlinear`, online)",
             "llama": "LLaMA in floats"}
    yield "## Beside `transformers`"
    yield ""
    yield ("Random small models that its library saved and `from_pretrained` reads, and ours that "
           "`save_pretrained` wrote and its library reads: the largest difference of "
           f"{found['config']['tokens']} tokens' logits, over the largest logit. Where one activation's code "
           "lies at a tie of rounding, and falls to the other side, a logit moves by a hundredth: the worst. "
           "Random texts that `tokenizers` encodes otherwise than we do: "
           f"{found['texts encoded otherwise']}. ("
           f"{', '.join(f'{name} {version}' for name, version in found['libraries'].items())})")
    yield ""
    lines = [(f"read: {forms[form]}", r) for form, r in found["read"].items()]
    yield from table(("", "models", "median", "worst"), [
        (name, r["models"], f"{r['median']:.1e}", f"{r['worst']:.1e}")
        for name, r in [*lines, ("written", found["written"])]])
    yield ""


def beside_llama_cpp():
    """The lines about llama.cpp."""
    found, names = record(LLAMA_CPP)["result"], {"tq2": "TQ2_0", "tq1": "TQ1_0", "q2": "Q2_0"}
    config, blocks = found["config"], {"tq2": 256, "tq1": 256, "q2": 32}
    yield "## Beside llama.cpp"
    yield ""
    yield (f"{config['models']} random models as GGUF files, everything else in 32 bits: the largest "
           f"difference of {config['tokens']} tokens' logits, over the largest logit, the median and the "
           "worst of the models. llama.cpp quantizes what goes into a matrix by blocks of features, we by "
           "tokens, as the papers do. *By blocks*: our engine with its activations quantized so; what is "
           "left then is rounding, and in the worst case a code at a tie. The last columns: how many of "
           f"{config['prompts']} greedy continuations by {config['written']} tokens, of a model trained for "
           f"{config['trained']['steps']} steps, are the same to the last token. "
           f"(llama-cpp-python {config['llama-cpp-python']})")
    yield ""
    lines = []
    for kind, name in names.items():
        spans = [f"{r['median']:.1e}, {r['worst']:.1e}" for r in (
            found["random"][kind][key] for key in ("from ours", "from ours by blocks"))]
        written = found["written"][kind]
        lines.append((name, blocks[kind], *spans, written["as ours"], written["as ours by blocks"]))
    yield from table(("", "features a block", "from ours", "from ours by blocks", "texts as ours",
                      "as ours by blocks"), lines)


def inspected():
    """The lines about ``inspect``."""
    found = record(FAULTS)["result"]
    yield "## Faults that inspect names"
    yield ""
    yield ("Each fault was planted in a directory of Hugging Face, and `python -m minibitnet.inspect` had to "
           "name it: in a trained model of "
           f"{found['parameters']['trained']:,} parameters, which was also run, and in a random one of "
           f"{found['parameters']['random']:,} (the size of BitNet b1.58 2B4T), which was looked at only: a "
           "random model predicts nothing, whatever is done to it.")
    yield ""
    planted = [[f"{sum(r['named'] for r in found[which].values())} of {len(found[which])}"]
               for which in ("trained", "random")]
    sound = found["sound"].values()
    yield from table(("", "named"), [
        ("faults in the trained model", *planted[0]), ("faults in the random model", *planted[1]),
        ("sound models called sound", f"{sum(r['sound'] for r in sound)} of {len(sound)}")])
    yield ""
    seconds = [r["seconds"] for r in found["random"].values() if r["faults"] != ["damaged file"]]
    yield (f"To look at the random model takes {max(seconds):.0f} s, and to run it in all "
           f"{1 + len(found['noise']['readings'])} ways {found['noise']['seconds']:.0f} s more.")
    yield ""


def hostile():
    """The lines about files with bytes changed."""
    found = record(HOSTILE)["result"]
    readers = found["readers"].values()
    yield "## Damaged files"
    yield ""
    yield (f"{found['config']['count']:,} times for each of {len(readers)} readers (of directories, shards, "
           "GGUF files, runs and tokenizers) bytes of its files were changed, cut or put in. Every one was "
           "read, or refused in one line: the slowest in "
           f"{max(r['seconds'] for r in readers):.2f} s of the processor, with "
           f"{max(r['bytes_beyond'] for r in readers) / 2**20:.1f} MiB beyond twice the file at most, as "
           "`tracemalloc` counts.")


def draw(path):
    """Tokens a second of every engine, one after another."""
    series = {}
    for r in (row for name in DECODING for row in rows(name)):
        for engine in (key for key in r if key.endswith(" engine")):
            of_engine = series.setdefault(engine.removesuffix(" engine"), {})
            of_engine[r["shape"]] = r[engine]["decode_tokens_per_s"]
    return plotting.categories("writing, one token after another", "tokens a second", series, path)


def sizes():
    """The lines about bytes."""
    found = record("recipes")["result"]["bytes"]["components"]
    yield "## Bytes of the tiny run"
    yield ""
    yield from table(("", "numbers", "packed", "float16", "float32"),
                     [(name, *(f"{n:,}" for n in row.values())) for name, row in found.items()])
