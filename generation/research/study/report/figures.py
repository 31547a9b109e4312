"""Figures of `ecgkin evaluate run`, drawn by matplotlib from what report.json holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ecgkin.retrieval.errors import ModelError

Values = Mapping[str, Any]
_LEAST = 10  # positives of a statement that gets a bar


def draw_figures(results: Mapping[str, Values], folder: Path) -> list[Path]:
    """Every figure for which there is a task, as PNG.

    Args:
        results: Task to its values.
        folder: Made where it is missing.

    Returns:
        Their paths.

    Raises:
        ModelError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise ModelError("figures need matplotlib", hint="pip install 'ecgkin[research]', or figures: false") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    drawers: dict[str, tuple[str, Callable[[Any, Values], None]]] = {
        "recall_at_k.png": ("retrieval", _recall),
        "statements.png": ("retrieval", _statements),
        "reliability.png": ("vote", _reliability),
        "abstention.png": ("vote", _abstention),
        "robustness.png": ("robustness", _robustness),
        "map.png": ("map", _map),
    }
    out = []
    for name, (task, draw) in drawers.items():
        if task not in results:
            continue
        figure = pyplot.figure(figsize=(9, 11) if name == "statements.png" else (9, 5.5), layout="constrained")
        draw(figure, results[task])
        figure.savefig(folder / name, dpi=110)
        pyplot.close(figure)
        out.append(folder / name)
    return out


def _recall(figure: Any, v: Values) -> None:
    axes = figure.add_subplot()
    for arm, values in v["arms"].items():
        curve = sorted((int(k.split("@")[1]), x) for k, x in values["ranking"].items() if k.startswith("Success@"))
        axes.plot([k for k, _ in curve], [x for _, x in curve], marker="o", label=arm)
    axes.set(xscale="log", xlabel="k", ylabel="share of queries", ylim=(0, 1))
    axes.set_title("A case with the same statements among the first k")
    axes.set_xticks([1, 2, 5, 10, 20, 50, 100], ["1", "2", "5", "10", "20", "50", "100"])
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", ncols=2, fontsize=9)


def _statements(figure: Any, v: Values) -> None:
    arm, values = next(iter(v["arms"].items()))
    kept = {c: s for c, s in values["per_statement"].items() if s["positives"] >= _LEAST and s["auc"] is not None}
    order = sorted(kept, key=lambda c: kept[c]["auc"])
    axes = figure.add_subplot()
    axes.barh([f"{c} ({kept[c]['positives']})" for c in order], [kept[c]["auc"] for c in order], color="#35678f")
    axes.axvline(0.5, color="black", linewidth=0.8)
    axes.set(
        xlim=(0.4, 1), xlabel="AUC of the neighbour vote", title=f"{arm}: statements with {_LEAST} positives or more"
    )
    axes.tick_params(axis="y", labelsize=7)


def _reliability(figure: Any, v: Values) -> None:
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    for name, bins in v["reliability"].items():
        axes.plot(
            [b[0] for b in bins], [b[1] for b in bins], marker="o", label=f"{name}, ECE {v['errors'][name]['ece']:.3f}"
        )
    axes.set(xlabel="said", ylabel="was so", xlim=(0, 1), ylim=(0, 1), title="Superclass vote: ten bins of equal size")
    axes.legend()


def _abstention(figure: Any, v: Values) -> None:
    axes = figure.add_subplot()
    axes.plot([100 * float(c) for c in v["abstention"]], list(v["abstention"].values()), marker="o")
    axes.set(xlabel="queries answered (%), those with the nearest case first", ylabel="superclass macro-AUC")
    axes.set_title("What abstaining gains")
    axes.grid(alpha=0.3)


def _robustness(figure: Any, v: Values) -> None:
    """A panel a damage: nine curves on one pair of axes hide each other where nothing happens."""
    damages = list(dict.fromkeys(p["damage"] for p in v["points"] if p["damage"] != "none"))
    clean = next(p for p in v["points"] if p["damage"] == "none")
    columns = min(3, len(damages))
    places = figure.subplots(-(-len(damages) // columns), columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, damage in zip(places, damages, strict=False):
        points = [clean, *(p for p in v["points"] if p["damage"] == damage)]
        x = [p["strength"] for p in points]
        for key, label in (("superclass_auc", "superclass AUC"), ("recall_1", "same record first")):
            line = axes.plot(x, [p[key]["value"] for p in points], marker="o", markersize=4, label=label)[0]
            low, high = ([p[key][end] for p in points] for end in ("low", "high"))
            if None not in (*low, *high):
                axes.fill_between(x, low, high, color=line.get_color(), alpha=0.15)
        axes.set_title(damage, fontsize=10)
        axes.grid(alpha=0.3)
    for axes in places[len(damages) :]:
        axes.set_visible(False)
    places[0].legend(fontsize=8, loc="lower left")
    figure.supxlabel("strength (0: as drawn)", fontsize=9)


def _map(figure: Any, v: Values) -> None:
    axes = figure.add_subplot()
    for name in dict.fromkeys(v["superclass"]):
        own = [i for i, s in enumerate(v["superclass"]) if s == name]
        axes.scatter([v["x"][i] for i in own], [v["y"][i] for i in own], s=8, label=f"{name} ({len(own)})")
    axes.set(xticks=[], yticks=[], title="Queries by their vectors (t-SNE)")
    axes.legend()
