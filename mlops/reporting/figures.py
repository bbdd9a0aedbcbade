"""Curves and dots of the report as SVG elements that follow the page's colours, light and dark.

Text and axes are drawn in `currentColor`; the palette reads on white and on black.
"""

import io
import re
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

PALETTE = ("#2f7fd1", "#e0812b", "#2a9d6f", "#b05bc4", "#c94f4f")
_INK = "#010203"  # stands for the page's text colour until the SVG is written
_POINTS = 400  # a curve has no more than this many points
_USELESS = (
    re.compile(r"<metadata>.*?</metadata>\s*", re.DOTALL),
    re.compile(r"<defs>\s*<style.*?</style>\s*</defs>\s*", re.DOTALL),
    re.compile(r"font-family: [^;]*; "),  # the page sets the font
    re.compile(r' id="(?:figure|axes|patch|line2d|text|[xy]tick|legend|matplotlib)[^"]*"'),
)
_SMOOTHING = 0.05  # share of the points that a smoothed value is the mean of

Curve = Sequence[tuple[float, float]]


def curves(title: str, series: Mapping[str, Curve]) -> Markup:
    """Lines over clips seen: raw values faint, smoothed ones strong.

    Args:
        title: names the figure.
        series: label -> (clips, value) in order of clips.
    """
    figure = _figure()
    axes = _axes(figure, title, "clips seen by the generator")
    for colour, (label, curve) in zip(PALETTE, series.items(), strict=False):
        x, y = _thinned(curve)
        axes.plot(x, y, color=colour, alpha=0.25, linewidth=1)
        axes.plot(x, _smoothed(y), color=colour, linewidth=2, label=label)
    _legend(figure)
    return _svg(figure, title)


def dots(title: str, across: str, unit: str, series: Mapping[str, Sequence[float]]) -> Markup:
    """Values side by side: a column for each item, a dot for each series."""
    figure = _figure()
    axes = _axes(figure, title, across)
    axes.set_ylabel(unit, color=_INK)
    for colour, (label, values) in zip(PALETTE, series.items(), strict=False):
        at = range(1, len(values) + 1)
        axes.plot(at, values, "o", color=colour, markersize=6, alpha=0.9, label=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(figure)
    return _svg(figure, title)


def gains(title: str, values: Sequence[float], bounds: tuple[float, float, float]) -> Markup:
    """A dot for each video, and a band for the mean: its lower bound, itself, its upper bound."""
    figure = _figure()
    axes = _axes(figure, title, "videos, the least gain first")
    axes.set_ylabel("dB", color=_INK)
    low, mean, high = bounds
    axes.axhspan(low, high, color=PALETTE[0], alpha=0.2, linewidth=0, label="bounds of the mean")
    axes.axhline(mean, color=PALETTE[0], linewidth=2, label="mean")
    axes.axhline(0, color=_INK, alpha=0.5, linewidth=1)
    at = range(1, len(values) + 1)
    axes.plot(at, values, "o", color=PALETTE[1], markersize=6, alpha=0.9, label="a video")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(figure)
    return _svg(figure, title)


def _figure() -> Figure:
    # Figure without pyplot: no window system, no global state.
    return Figure(figsize=(6.2, 3.4), layout="constrained")


def _axes(figure: Figure, title: str, across: str) -> Axes:
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=_INK)
    axes.set_xlabel(across, color=_INK)
    axes.tick_params(colors=_INK, labelsize=9)
    axes.grid(color=_INK, alpha=0.12, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.patch.set_visible(False)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(_INK)
        spine.set_alpha(0.4)
    return axes


def _legend(figure: Figure) -> None:
    """Name the series below the axes, where no value can be hidden."""
    figure.legend(loc="outside lower center", frameon=False, fontsize=9, labelcolor=_INK, ncols=2)


def _thinned(curve: Curve) -> tuple[list[float], list[float]]:
    """At most `_POINTS` points: means over equal runs of values."""
    parts = np.array_split(np.asarray(curve, dtype=np.float64), min(len(curve), _POINTS))
    means = [part.mean(axis=0) for part in parts]
    return [float(mean[0]) for mean in means], [float(mean[1]) for mean in means]


def _smoothed(values: Sequence[float]) -> list[float]:
    """Mean of each value and its neighbours on both sides, so that no curve lags."""
    reach = max(1, round(len(values) * _SMOOTHING / 2))
    out = []
    for at in range(len(values)):
        near = min(reach, at, len(values) - 1 - at)
        window = values[at - near : at + near + 1]
        out.append(sum(window) / len(window))
    return out


def _svg(figure: Figure, title: str) -> Markup:
    """The figure as an `<svg>` element; ids are made from the title, so two never clash."""
    text = io.StringIO()
    figure.patch.set_visible(False)
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": title}):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    for useless in _USELESS:
        svg = useless.sub("", svg)
    size = re.compile(r'width="[\d.]+pt" height="[\d.]+pt"')
    return Markup(size.sub(f'role="img" aria-label="{escape(title)}"', svg, count=1))
