"""SVG as text: elements with escaped attributes, the palette, and the classes of all drawings."""

from collections.abc import Mapping
from string import Template
from typing import Final

from markupsafe import Markup, escape

LIGHT: Final = {
    "paper": "#fbfaf6",
    "card": "#ffffff",
    "ink": "#14222d",
    "muted": "#586874",
    "line": "#d8dfe0",
    "soft": "#eef2f1",
    "teal": "#0b6b6b",
    "tint": "#d8ecea",
    "grey": "#9aa7ae",
    "pale": "#c5ced2",
    "amber": "#b85c00",
    "glow": "#fff3df",
    "bad": "#b3261e",
}
DARK: Final = {
    "paper": "#0f171d",
    "card": "#16212a",
    "ink": "#e8eef0",
    "muted": "#9db0ba",
    "line": "#2b3a44",
    "soft": "#1c2a33",
    "teal": "#4fc3b8",
    "tint": "#17403f",
    "grey": "#7f909a",
    "pale": "#4a5a64",
    "amber": "#ffb35c",
    "glow": "#33291a",
    "bad": "#ff8a80",
}

_CLASSES: Final = Template(
    ".d-text{fill:$ink}.d-muted{fill:$muted}.d-teal{fill:$teal}.d-grey{fill:$grey}"
    ".d-pale{fill:$pale}.d-amber{fill:$amber}.d-bad{fill:$bad}.d-card{fill:$card}"
    ".d-paper{fill:$paper}.d-soft{fill:$soft}.d-tint{fill:$tint}.d-glow{fill:$glow}"
    ".d-on{fill:$card}"
    ".d-hollow{fill:$card;stroke:$teal;stroke-width:2}"
    ".d-hollow-grey{fill:$card;stroke:$muted;stroke-width:2}"
    ".d-grid{stroke:$line;stroke-width:1}.d-wire{stroke:$teal;fill:none;stroke-opacity:.55}"
    ".d-burn{stroke:$teal;stroke-width:2;fill:none}"
    ".d-gain{stroke:$teal;stroke-width:3;stroke-opacity:.45}"
    ".d-loss{stroke:$amber;stroke-width:3;stroke-opacity:.6}"
    ".d-mark{stroke:$ink;stroke-width:2}.d-span{stroke:$teal;stroke-width:3}"
    ".d-edge{stroke:$line;stroke-width:1}"
    ".d-bond{stroke:$grey;stroke-width:1.2;stroke-dasharray:5 4}"
)


def drawing_style() -> str:
    """Return the rules of all drawings, for light and dark surroundings."""
    light, dark = _CLASSES.substitute(LIGHT), _CLASSES.substitute(DARK)
    return f"{light}@media (prefers-color-scheme:dark){{{dark}}}"


def tag(name: str, *children: str, **attributes: object) -> Markup:
    """Return one element; `class_` is class, and `stroke_width` is stroke-width."""
    written = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _spelled(value))
        for key, value in attributes.items()
    )
    return Markup("<{0}{1}>{2}</{0}>").format(
        Markup(name),  # noqa: S704  an element's name is ours
        written,
        Markup("").join(escape(child) for child in children),
    )


def _spelled(value: object) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def text(x: float, y: float, said: str, **attributes: object) -> Markup:
    """Return words at a place; they are ink, 13 px, unless `attributes` say otherwise."""
    return tag("text", said, **{"x": x, "y": y, "class_": "d-text", "font_size": 13, **attributes})


def line(x1: float, y1: float, x2: float, y2: float, class_: str, **attributes: object) -> Markup:
    """Return a straight line."""
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_, **attributes)


def rect(
    x: float, y: float, width: float, height: float, class_: str, **attributes: object
) -> Markup:
    """Return a rectangle."""
    return tag("rect", x=x, y=y, width=width, height=height, class_=class_, **attributes)


def circle(x: float, y: float, radius: float, class_: str) -> Markup:
    """Return a disc."""
    return tag("circle", cx=x, cy=y, r=radius, class_=class_)


def drawing(
    width: float,
    height: float,
    title: str,
    description: str,
    *children: str,
    attributes: Mapping[str, object] | None = None,
) -> Markup:
    """Return a whole drawing; whoever cannot see it is told its title and description."""
    return tag(
        "svg",
        tag("title", title),
        tag("desc", description),
        *children,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:g} {height:g}",
        role="img",
        font_family="system-ui, 'Segoe UI', 'Noto Sans', 'Noto Sans CJK SC', sans-serif",
        **(attributes or {}),
    )
