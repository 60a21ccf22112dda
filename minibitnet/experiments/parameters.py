"""Parameters and bytes of the papers' models by component: [bitnet] Table 5, [faq]'s shapes, and LLaMA's where the papers name none."""
from . import energy, paper
from .costs import MODELS, PAPER_SIZES, memory

VOCABULARY = 16_000      # of [bitnet]'s models


def quick():
    """The row's figures, JSON-able, made on the spot."""
    rows = []
    for size, row in paper.table("b1_table_5").rows.items():
        n_layers, d = int(row["Layers"]), int(row["Hidden"])
        rows.append({"source": "arXiv 2310.11453, Table 5", "size": size, "projections": energy.b1_products(n_layers, d, tokens=1).projections,
                     "embedding and head": 2 * VOCABULARY * d})
    for size in PAPER_SIZES:
        parts = memory(MODELS[size].config, bytes_of_rest=2)
        rows.append({"source": "arXiv 2504.12285" if size.startswith("BitNet") else "arXiv 2402.17764", "size": size,
                     "projections": parts["BitLinear weights"][0],
                     "embedding and head": parts["embedding"][0] + parts["head"][0], "bytes": {name: list(row[1:3]) for name, row in parts.items()}})
    return {"rows": rows}


def in_words(result):
    """Lines "paper | here | scale" that tell a result, and what it does not say."""
    yield "Shapes of 7B to 70B are LLaMA's, which the papers do not name. Bytes: BitLinears in 2 bits, the rest in 16 bits, beside everything in 16 bits."
    for r in result["rows"]:
        numbers = f"{r['projections'] / 1e9:.3f}e9 in projections, {r['embedding and head'] / 1e9:.3f}e9 in embedding and head"
        total = f"; {r['bytes']['total'][0] / 1e9:.2f} GB ternary, {r['bytes']['total'][1] / 1e9:.2f} GB in 16 bits" if "bytes" in r else ""
        yield f"{r['source']}: {r['size']} | {numbers}{total} | counted from the shape"
