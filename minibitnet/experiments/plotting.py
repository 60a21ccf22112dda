"""Figures. The only file that imports matplotlib, and only inside functions: it is an optional extra."""


def loss_figure(metrics, path):
    """Draw training and validation loss over tokens from the lines of a metrics.jsonl; False where matplotlib is absent."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.add_subplot(xlabel="training tokens (millions)", ylabel="loss (nats per token)")
    training = [(m["tokens"] / 1e6, m["loss"]) for m in metrics]
    validation = [(m["tokens"] / 1e6, m["val_loss"]) for m in metrics if "val_loss" in m]
    axes.plot(*zip(*training), color="0.6", linewidth=1, label="training, one step")
    axes.plot(*zip(*validation), color="black", marker="o", label=f"validation ({validation[-1][1]:.3f} at the end)")
    if (floor := metrics[-1].get("floor")) is not None:
        axes.axhline(floor, color="black", linestyle="--", linewidth=1, label=f"entropy of the source ({floor:.3f}): the floor")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    return True
