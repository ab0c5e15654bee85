"""The pictures: what both operators attend to, and how coordinates change with width."""

import matplotlib

matplotlib.use("Agg")
import maps
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.patches import Rectangle
from photograph import PATCH
from rules import D_BASE, MUP

QUERIES = {"face": (14, 15), "jacket": (30, 20), "flag": (4, 3), "sky": (8, 28)}  # (row, column) of patches
COLORS = ["#00e5ff", "#7cff4f", "#ffd400", "#ff5fd2"]
SP = {"scaling": "sp"}


def _token(photograph, place):
    return place[0] * photograph.columns + place[1]


def _frame(axes, place, color, label=None):
    row, column = place
    corner = (column * PATCH - 0.5, row * PATCH - 0.5)
    axes.add_patch(Rectangle(corner, PATCH, PATCH, fill=False, edgecolor="black", linewidth=4))
    axes.add_patch(Rectangle(corner, PATCH, PATCH, fill=False, edgecolor=color, linewidth=2))
    if label:
        axes.text(corner[0] + PATCH + 6, corner[1] + PATCH / 2, label, color="black", fontsize=11, va="center",
                  bbox={"facecolor": color, "edgecolor": "none", "pad": 2})


def _overlay(axes, photograph, weights):
    """Weights over the photograph in grey, from nothing to the largest weight."""
    axes.imshow(photograph.pixels.mean(2), cmap="gray", vmin=-60, vmax=420)
    heat = photograph.picture_of(weights / weights.max())
    axes.imshow(heat, cmap="inferno", alpha=np.clip(2 * np.sqrt(heat), 0, 0.9), vmin=0, vmax=1)
    axes.set_axis_off()


def _effective(weights):
    """exp(entropy): over how many patches the attention spreads."""
    positive = weights[weights > 0]
    return np.exp(-(positive * np.log(positive)).sum())


def spatial_attention(path, photograph, d=256):
    q, k, _ = photograph.spatial_qkv(1, d)
    weights = maps.spatial_map(q, k, [_token(photograph, place) for place in QUERIES.values()], **MUP)
    figure, axes = plt.subplots(1, 5, figsize=(17, 5), layout="compressed")
    axes[0].imshow(photograph.pixels)
    axes[0].set_axis_off()
    axes[0].set_title("four query patches")
    for (name, place), color, row, ax in zip(QUERIES.items(), COLORS, weights, axes[1:]):
        _frame(axes[0], place, color, name)
        _overlay(ax, photograph, row)
        _frame(ax, place, color)
        ax.set_title(f"what '{name}' attends to\nspread over {_effective(row):.0f} of {photograph.n} patches")
    figure.suptitle(f"Spatial attention of one head, d = {d}, muP with d_base = {D_BASE}: similar patches find each other",
                    fontsize=14)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def spatial_width(path, photograph, widths, query="face"):
    place = QUERIES[query]
    widths = [widths[i] for i in np.linspace(0, len(widths) - 1, min(4, len(widths))).round().astype(int)]
    figure, axes = plt.subplots(2, len(widths), figsize=(3.6 * len(widths), 9.4), layout="compressed",
                                squeeze=False)
    rules = [(SP, "SP: s = 1/√d"), (MUP, f"muP, d_base = {D_BASE}: s = {D_BASE**0.5:.0f}/d")]
    for column, d in enumerate(widths):
        q, k, _ = photograph.spatial_qkv(1, d)
        for row, (options, name) in enumerate(rules):
            weights = maps.spatial_map(q, k, [_token(photograph, place)], **options)[0]
            _overlay(axes[row, column], photograph, weights)
            _frame(axes[row, column], place, COLORS[0])
            axes[row, column].set_title(f"{name}\nd = {d}: spread over {_effective(weights):.0f} patches")
    figure.suptitle(f"The same query ('{query}') as the head grows: SP narrows to a few patches, muP keeps its width",
                    fontsize=14)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def channel_attention(path, photograph, d=64):
    q, k, v = photograph.channel_qkv(1, d)
    weights = maps.channel_map(q, k, **SP)
    output = weights @ v[0, 0].T
    # An output channel that mixes: one channel of V leads, others take part.
    chosen = int(np.argmin(np.abs(weights.max(1) - 0.4)))
    best = np.argsort(-weights[chosen])[:3]

    figure = plt.figure(figsize=(17, 4.6), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1, 2.6])
    axes = left.subplots()
    shown = axes.imshow(weights, cmap="inferno", vmin=0, vmax=np.quantile(weights, 0.995))
    axes.set_xlabel("channel j of V")
    axes.set_ylabel("channel i of the output")
    axes.set_title(f"softmax of QᵀK/√n over j\nframed: row {chosen}")
    axes.add_patch(Rectangle((-0.5, chosen - 0.5), d, 1, fill=False, edgecolor=COLORS[0], linewidth=1.5))
    left.colorbar(shown, ax=axes, label="weight", extend="max", shrink=0.75)
    panels = [(v[0, 0, :, j], f"channel {j} of V\nweight {weights[chosen, j]:.2f}") for j in best]
    panels.append((output[chosen], f"channel {chosen} of the output\n= the weighted sum over all {d}"))
    limit = np.quantile(np.abs([values for values, _ in panels]), 0.99)
    axes = right.subplots(1, len(panels))
    for ax, (values, title) in zip(axes, panels):
        ax.imshow(photograph.pixels.mean(2), cmap="gray", vmin=-60, vmax=420)
        shown = ax.imshow(photograph.picture_of(values), cmap="RdBu_r", vmin=-limit, vmax=limit, alpha=0.8)
        ax.set_title(title)
        ax.set_axis_off()
    right.colorbar(shown, ax=axes, label="value at the patch", shrink=0.75)
    figure.suptitle(f"Channel attention of one head, d = {d}: each output channel is a mixture of V's channels, the same at "
                    "every patch", fontsize=14)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def coordinates(path, measurements):
    """Mean size against width, both axes logarithmic; the slope of each line is in its label."""
    figure, axes = plt.subplots(2, 2, figsize=(13, 10), layout="constrained")
    columns = {"spatial": axes[:, 0], "channel": axes[:, 1]}
    styles = ["o-", "s--", "^:", "D-."]
    seen = {"spatial": [], "channel": []}
    for m in measurements:
        if m.rule not in seen[m.rule.operator]:
            seen[m.rule.operator].append(m.rule)
    for operator, rules in seen.items():
        for rule, style in zip(rules, styles):
            points = [m for m in measurements if m.rule is rule]
            widths = np.array([m.width for m in points])
            for ax, values in zip(columns[operator], ([m.logit for m in points], [m.output for m in points])):
                slope = np.polyfit(np.log(widths), np.log(values), 1)[0] if len(widths) > 1 else 0
                ax.plot(widths, values, style, markersize=7, linewidth=2, markerfacecolor="none",
                        label=f"{rule.name}: {f'o = {rule.o}' if rule.o else f's = {rule.s}'}   (slope {slope:+.2f})")
        for ax, what in zip(columns[operator], ("mean |logit|", "mean |output|")):
            ax.set_xscale("log", base=2)
            ax.set_yscale("log")
            bottom, top = ax.get_ylim()
            middle, half = np.sqrt(bottom * top), max(6, np.sqrt(top / bottom))
            ax.set_ylim(middle / half, middle * half)  # no less than a factor of 36, so that noise looks small
            ax.set_xticks(widths, [str(width) for width in widths])
            ax.yaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
            ax.yaxis.set_major_formatter(matplotlib.ticker.FormatStrFormatter("%g"))
            ax.minorticks_off()
            ax.set_title(f"{operator} attention: {what}")
            ax.set_xlabel("width = heads x d")
            ax.grid(alpha=0.3)
            ax.legend(fontsize=9)
    figure.suptitle("Coordinate size against width, without training (one random draw: slopes to about 0.1)\n"
                    "Spatial: the logits of SP grow and those of muP stay, which the outputs do not show. "
                    "Channel: SP and 'mean' are one line.", fontsize=13)
    figure.savefig(path, dpi=100)
    plt.close(figure)
