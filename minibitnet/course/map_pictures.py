"""The pictures of notebook 00."""
from ..measure.costs import MODELS, memory
from ..measure.plotting import new_figure

PARTS = {"BitLinear weights": ("0.25", ""), "embedding": ("0.85", ""), "head": ("0.85", "///"),
         "norms": ("0.6", "...")}         # scales are too thin to see


def where_the_bytes_are(c):
    """The share of each part in the bytes of a packed model, of this one and of Microsoft's with 2 billion
    parameters, whose sizes are known: two bars from 0 to 100 %. c: a ModelConfig."""
    figure, [axes] = new_figure(size=(7, 2.6))
    tables = {f"this model\n{c.n_parameters / 1e6:.2g} million": memory(c),
              "BitNet b1.58 2B4T\n2 billion": memory(MODELS["BitNet b1.58 2B"].config, bytes_of_rest=2)}
    for y, table in enumerate(tables.values()):
        left = 0.0
        for name, (color, hatch) in PARTS.items():
            share = 100 * table[name][1] / table["total"][1]
            axes.barh(y, share, left=left, color=color, hatch=hatch, edgecolor="black", height=0.6,
                      label=name if y == 0 else None)
            if share > 5:
                dark = color == "0.25"
                axes.text(left + share / 2, y, f"{share:.0f} %", ha="center", va="center",
                          color="white" if dark else "black",
                          bbox=None if dark else {"facecolor": "white", "edgecolor": "none", "pad": 2})
            left += share
    axes.set(yticks=range(len(tables)), xlim=(0, 100), xlabel="share of the packed model's bytes (%)")
    axes.set_yticklabels(tables)
    axes.invert_yaxis()
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4, frameon=False, fontsize=9)
    return figure
