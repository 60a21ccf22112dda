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
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    return True


def bars(labels, series, path, ylabel):
    """series: {name: a value for each label} as bars side by side; False where matplotlib is absent."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.add_subplot(ylabel=ylabel)
    width = 0.8 / len(series)
    for i, (name, values) in enumerate(series.items()):
        shade = f"{0.8 * i / max(1, len(series) - 1):.2f}"
        axes.bar([at + (i - (len(series) - 1) / 2) * width for at in range(len(labels))], values, width, label=name, color=shade)
    axes.set_xticks(range(len(labels)), labels)
    axes.legend()
    axes.grid(axis="y", alpha=0.3)
    figure.savefig(path, dpi=120)
    return True
