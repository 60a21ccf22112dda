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


def points(series, xlabel, ylabel, path):
    """series: {name: {x: value, or (value, least, most)}} as lines with bars, over the xs in the order they come; False where matplotlib is absent."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.add_subplot(xlabel=xlabel, ylabel=ylabel)
    places = {x: i for i, x in enumerate(dict.fromkeys(x for values in series.values() for x in values))}
    for (name, values), color in zip(series.items(), ("black", "0.55", "0.75")):
        middle, least, most = zip(*(y if isinstance(y, tuple) else (y, y, y) for y in values.values()))
        bars = [[y - a for y, a in zip(middle, least)], [b - y for y, b in zip(middle, most)]]
        axes.errorbar([places[x] for x in values], middle, bars, marker="o", color=color, capsize=3, label=name)
    axes.set_xticks(range(len(places)), places)
    axes.set_ylim(bottom=0)
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    return True


def points(series, xlabel, ylabel, path):
    """series: {name: {x: value, or (value, least, most)}} as lines with bars, over the xs in the order they come; False where matplotlib is absent."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.add_subplot(xlabel=xlabel, ylabel=ylabel)
    places = {x: i for i, x in enumerate(dict.fromkeys(x for values in series.values() for x in values))}
    for (name, values), color in zip(series.items(), ("black", "0.55", "0.75")):
        middle, least, most = zip(*(y if isinstance(y, tuple) else (y, y, y) for y in values.values()))
        bars = [[y - a for y, a in zip(middle, least)], [b - y for y, b in zip(middle, most)]]
        axes.errorbar([places[x] for x in values], middle, bars, marker="o", color=color, capsize=3, label=name)
    axes.set_xticks(range(len(places)), places)
    axes.set_ylim(bottom=0)
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    return True
