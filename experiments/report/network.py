"""The map: who sits in which jurisdiction, and what goes through the middle."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from experiments.outcome import Crossing, Language, Node, Outcome
from experiments.report.drawing import circle, rect, tag, text
from experiments.words import name_of

WIDTH: Final = 560
HEIGHT: Final = 328
REGION_WIDTH: Final = 150
HEAD: Final = 26
CHIP: Final = 30
HUB: Final = 40
"""Height kept for the aggregator in its region."""

PLACES: Final = {
    "US": (8, 20),
    "BR": (8, 262),
    "UK": (205, 6),
    "EU": (205, 158),
    "CN": (402, 66),
    "CH": (402, 262),
}
SPARE: Final = ((8, 140), (205, 300), (402, 180))
"""Left edges and tops by jurisdiction: the Americas left, China right, the aggregator between."""

HEAVY: Final = 2.4
HUB_REACH: Final = 62


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a party stands: the middle of its chip."""

    node: Node
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Region:
    """A jurisdiction and those in it; the aggregator, if it is here, comes last."""

    place: str
    x: float
    y: float
    nodes: tuple[Node, ...]

    @property
    def height(self) -> float:
        """The height of its box."""
        hub = HUB if any(node.role == "aggregator" for node in self.nodes) else 0
        return HEAD + CHIP * len(self.nodes) + hub + 4

    def spots(self) -> Iterator[Spot]:
        """Yield where each party stands."""
        for place, node in enumerate(self.nodes):
            down = HUB / 2 if node.role == "aggregator" else 0
            y = self.y + HEAD + CHIP * (place + 0.5) + down
            yield Spot(node, self.x + REGION_WIDTH / 2, y)


def network(outcome: Outcome, language: Language) -> Markup:
    """Return the map as a group, WIDTH x HEIGHT."""
    regions = _regions(outcome.nodes)
    spots = {spot.node.party: spot for region in regions for spot in region.spots()}
    hubs = [spot for spot in spots.values() if spot.node.role == "aggregator"]
    boxes = [_box(region, language) for region in regions]
    wires = [_wire(spot, hubs[0], outcome.traffic) for spot in spots.values()] if hubs else []
    chips = [_chip(spot, outcome, language) for spot in spots.values()]
    return tag("g", *boxes, *wires, *chips)


def _regions(nodes: Sequence[Node]) -> list[Region]:
    found: dict[str, list[Node]] = {}
    for node in sorted(nodes, key=lambda node: node.role == "aggregator"):
        found.setdefault(node.jurisdiction, []).append(node)
    spare = iter(SPARE)
    return [
        Region(place, *(PLACES.get(place) or next(spare, SPARE[-1])), tuple(members))
        for place, members in found.items()
    ]


def _box(region: Region, language: Language) -> Markup:
    return tag(
        "g",
        rect(region.x, region.y, REGION_WIDTH, region.height, "d-soft d-bond", rx=9),
        text(region.x + 11, region.y + 18, region.place, font_size=13, font_weight=700),
        text(
            region.x + REGION_WIDTH - 10,
            region.y + 18,
            name_of("place", region.place, language),
            font_size=11,
            class_="d-muted",
            text_anchor="end",
        ),
    )


def _wire(spot: Spot, hub: Spot, traffic: Sequence[Crossing]) -> Markup:
    if spot.node.party == hub.node.party:
        return Markup("")
    size = _sent(traffic).get(spot.node.party, 0)
    heaviest = max([*_sent(traffic).values(), 1])
    width = 1 + HEAVY * math.sqrt(min(1.0, size / heaviest))
    return tag(
        "path",
        d=_path(spot, hub),
        class_="d-wire",
        stroke_width=width,
        stroke_linecap="round",
    )


def _path(spot: Spot, hub: Spot) -> str:
    """Return a curve from a chip's edge to the aggregator; round the edge of its own column."""
    inset = REGION_WIDTH / 2 - 6
    if hub.x != spot.x:
        side = math.copysign(1, hub.x - spot.x)
        start, end = spot.x + side * inset, hub.x - side * HUB_REACH
    else:
        # Its own jurisdiction on the right, others above or below it on the left.
        side = 1 if spot.node.jurisdiction == hub.node.jurisdiction else -1
        start, end = spot.x + side * inset, hub.x + side * HUB_REACH
    bend = start + side * 22 if hub.x == spot.x else (start + end) / 2
    curve = f"C{bend:.0f} {spot.y:.0f} {bend:.0f} {hub.y:.0f}"
    return f"M{start:.0f} {spot.y:.0f}{curve} {end:.0f} {hub.y:.0f}"


def _sent(traffic: Sequence[Crossing]) -> Mapping[str, int]:
    sums: dict[str, int] = {}
    for item in traffic:
        sums[item.sender] = sums.get(item.sender, 0) + item.size
    sums.pop("aggregator", None)
    return sums


def _chip(spot: Spot, outcome: Outcome, language: Language) -> Markup:
    node = spot.node
    if node.role == "aggregator":
        return tag(
            "g",
            rect(spot.x - HUB_REACH, spot.y - 22, 2 * HUB_REACH, 44, "d-teal", rx=22),
            text(
                spot.x,
                spot.y + 5,
                name_of("role", node.role, language),
                class_="d-on",
                font_size=15,
                font_weight=700,
                text_anchor="middle",
            ),
        )
    is_story = node.party == outcome.demand.newcomer
    left = spot.x - REGION_WIDTH / 2 + 6
    dot = {"keyholder": "d-amber", "warehouse": "d-teal"}.get(node.role, "d-grey")
    return tag(
        "g",
        rect(
            left,
            spot.y - 13,
            REGION_WIDTH - 12,
            26,
            "d-glow d-edge" if is_story else "d-card d-edge",
            rx=6,
        ),
        circle(left + 13, spot.y, 4.5, dot),
        text(
            left + 25, spot.y + 4.5, node.party, font_size=13, font_weight=700 if is_story else 400
        ),
    )
