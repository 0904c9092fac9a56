"""What the pictures share: colours, type, axes, and the way from Matplotlib to inline SVG.

Colours are the page's CSS variables, so that one picture serves light and dark: Matplotlib draws in
stand-ins, which the SVG has replaced. Text stays text, in the page's own font.
"""

import io
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any
from xml.etree import ElementTree

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

NARROW, WIDE = 340, 1000  # CSS pixels: what a phone or a third of a page has room for, and a page
# The labels of a logarithmic axis in a decade, by the highest limit over the lowest.
_LABELS = ((8, (1, 1.5, 2, 3, 5, 7)), (1000, (1, 2, 5)), (math.inf, (1,)))
MARKERS = {"forward": "o", "weight": "s", "input": "^"}
COLOURS = {
    name: f"#0000{number:02x}"
    for number, name in enumerate(
        ("ink", "muted", "grid", "panel", "forward", "weight", "input", "peer", "faster", "slower"),
        start=1,
    )
}
_STYLE: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a dollar sign in a layer's name is one
    "font.size": 11,
    "axes.labelsize": 11,
    "axes.labelcolor": COLOURS["muted"],
    "axes.edgecolor": COLOURS["muted"],
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": COLOURS["ink"],
    "xtick.color": COLOURS["muted"],
    "ytick.color": COLOURS["muted"],
    "xtick.labelcolor": COLOURS["ink"],
    "ytick.labelcolor": COLOURS["ink"],
    "grid.color": COLOURS["grid"],
    "grid.linewidth": 0.8,
    "figure.constrained_layout.use": True,
}
styled = matplotlib.rc_context(_STYLE)  # what draws is decorated with it
_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
ElementTree.register_namespace("", _SVG)
ElementTree.register_namespace("xlink", _XLINK)


class Picture:
    """Axes to draw on, and the labels of what is drawn."""

    def __init__(self, width: int, height: int) -> None:
        self.figure = Figure(figsize=(width / 72, height / 72))
        self.axes: Axes = self.figure.add_subplot()
        self._labels: dict[str, str] = {}

    def label(self, text: str) -> str:
        """A new group id for an artist; whoever points at the artist sees the text."""
        gid = f"mark-{len(self._labels)}"
        self._labels[gid] = text
        return gid

    def svg(self, name: str, title: str) -> str:
        """The picture as an ``svg`` element whose ids all begin with ``name``."""
        written = io.StringIO()
        with matplotlib.rc_context(_STYLE | {"svg.hashsalt": name}):
            self.figure.savefig(
                written, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
            )
        return _inline(written.getvalue(), name, title, self._labels)


def logarithmic(axes: Axes, axis: str, form: str = "g") -> None:
    """Make an axis logarithmic in the limits it has, with round labels."""
    one = getattr(axes, f"{axis}axis")
    low, high = getattr(axes, f"get_{axis}lim")()
    subs = next(labels for most, labels in _LABELS if high / low <= most)
    getattr(axes, f"set_{axis}scale")("log")
    getattr(axes, f"set_{axis}lim")(low, high)
    one.set_major_locator(LogLocator(subs=subs))
    one.set_major_formatter(FuncFormatter(lambda value, _: f"{value:{form}}"))
    one.set_minor_formatter(NullFormatter())


def span(values: Iterable[float], margin: float = 1.25) -> tuple[float, float]:
    """Limits of a logarithmic axis: a twentieth of it at both ends is free, or ``margin``."""
    found = list(values)
    low, high = min(found), max(found)
    room = max(margin, (high / low) ** 0.05)
    return low / room, high * room


def _inline(text: str, name: str, title: str, labels: Mapping[str, str]) -> str:
    root = ElementTree.fromstring(text)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                parent.remove(child)
    for element in list(root.iter()):
        label = labels.get(element.get("id", ""))
        if label:
            element.set("class", "mark")
            said = ElementTree.Element(f"{{{_SVG}}}title")
            said.text = label
            element.insert(0, said)
        _rename(element, name)
    width = float(root.get("width", "0pt").removesuffix("pt"))
    del root.attrib["width"], root.attrib["height"]
    root.set("style", f"max-width: {1.25 * width:.0f}px")
    root.set("role", "img")
    root.set("aria-label", title)
    return _coloured(ElementTree.tostring(root, encoding="unicode"))


def _rename(element: ElementTree.Element, name: str) -> None:
    """Keep one picture's ids apart from another's on the page."""
    if "id" in element.attrib:
        element.set("id", f"{name}-{element.get('id')}")
    link = f"{{{_XLINK}}}href"
    if link in element.attrib:
        element.set("href", f"#{name}-{element.attrib.pop(link)[1:]}")
    for attribute in ("clip-path", "style"):
        if "url(#" in element.get(attribute, ""):
            element.set(attribute, element.get(attribute, "").replace("url(#", f"url(#{name}-"))


def _coloured(svg: str) -> str:
    """The page's colours and font in place of Matplotlib's."""
    for name, stand_in in COLOURS.items():
        svg = svg.replace(stand_in, f"var(--{name})")
    svg = re.sub(r"font-family: [^;\"]+;? ?", "", svg)
    return re.sub(r"font: ([\d.]+px) [^;\"]+", r"font-size: \1", svg)
