"""Draw a comic face, ink on paper with screentones, from its factors and random variation.

Lengths are fractions of the side of the picture; (0, 0) is its upper left corner.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from PIL import Image, ImageDraw

#: The values of each factor and their frequencies.
FACTORS: Mapping[str, Mapping[str, float]] = {
    "hair": {"short": 0.3, "long": 0.3, "twintails": 0.2, "spiky": 0.2},
    "hair_tone": {"black": 0.4, "grey": 0.3, "white": 0.3},
    "eyes": {"round": 0.5, "narrow": 0.25, "closed": 0.25},
    "mouth": {"smile": 0.4, "flat": 0.3, "open": 0.3},
    "glasses": {"without": 0.65, "with": 0.35},
    "screentone": {"none": 0.5, "dots": 0.25, "stripes": 0.25},
}
#: Pictures are drawn larger by this factor and then reduced, so that lines are smooth.
OVERSAMPLING = 3
INK, PAPER, SKIN, GREY, LIGHT = 0, 255, 250, 130, 185
Point = tuple[float, float]


@dataclass(frozen=True)
class FaceVariation:
    """Random variation of a drawing that is independent of its factors.

    Args:
        x: horizontal position of the center of the face.
        y: vertical position of the center of the face.
        width: half of the width of the face.
        height: half of the height of the face.
        spacing: distance of an eye from the center line.
        eye: half of the height of an open eye.
        fringe: length of the fringe.
        tilt: of the head, in degrees.
        phase: offset of the screentone.
    """

    x: float
    y: float
    width: float
    height: float
    spacing: float
    eye: float
    fringe: float
    tilt: float
    phase: float

    @classmethod
    def sample(cls, random: Random) -> FaceVariation:
        """Return a random variation."""
        return cls(
            x=0.5 + random.uniform(-0.04, 0.04),
            y=0.55 + random.uniform(-0.03, 0.03),
            width=random.uniform(0.28, 0.32),
            height=random.uniform(0.33, 0.37),
            spacing=random.uniform(0.12, 0.14),
            eye=random.uniform(0.072, 0.088),
            fringe=random.uniform(0.10, 0.15),
            tilt=random.uniform(-7, 7),
            phase=random.random(),
        )


def factors_of(random: Random) -> dict[str, str]:
    """Return random factors, independent of each other."""
    return {name: random.choices(list(shares), list(shares.values()))[0] for name, shares in FACTORS.items()}


def draw_face(factors: Mapping[str, str], variation: FaceVariation, size: int) -> Image.Image:
    """Draw a face as a greyscale picture of `size` × `size` pixels."""
    side = size * OVERSAMPLING
    face = _Drawing(side, variation)
    face.back_hair(factors["hair"], factors["hair_tone"])
    face.head()
    face.eyes(factors["eyes"])
    face.mouth(factors["mouth"])
    if factors["glasses"] == "with":
        face.glasses()
    face.front_hair(factors["hair"], factors["hair_tone"])
    picture = Image.new("L", (side, side), PAPER)
    _background(picture, factors["screentone"], variation)
    middle = (variation.x * side, variation.y * side)
    ink, cover = (
        part.rotate(variation.tilt, Image.Resampling.BILINEAR, center=middle) for part in (face.ink, face.cover)
    )
    picture.paste(ink, mask=cover)
    return picture.reduce(OVERSAMPLING)


class _Drawing:
    """A face before it is tilted: its ink, and the area of the background that it covers."""

    def __init__(self, side: int, variation: FaceVariation) -> None:
        self._side, self._variation = side, variation
        self.ink, self.cover = Image.new("L", (side, side), PAPER), Image.new("L", (side, side), 0)
        self._draw, self._draw_cover = ImageDraw.Draw(self.ink), ImageDraw.Draw(self.cover)
        self._line = max(2, round(side * 0.016))

    def back_hair(self, style: str, tone: str) -> None:
        """Draw the hair behind the head."""
        x, y, width, height = self._variation.x, self._variation.y, self._variation.width, self._variation.height
        if style == "long":
            outer, low = width * 1.28, y + height * 1.2
            self._shape(
                [
                    *_arc((x, y - height * 0.35), outer, height * 0.95, 180, 360),
                    (x + outer * 1.08, low),
                    (x - outer * 1.08, low),
                ],
                tone,
            )
        elif style == "twintails":
            for sign in (-1, 1):
                knot = (x + sign * width * 1.1, y - height * 0.45)
                tip = (x + sign * width * 1.3, y + height * 1.15)
                away = (x + sign * width * 1.9, y + height * 0.1)
                inner = (x + sign * width * 1.15, y + height * 0.5)
                self._shape([*_curve(knot, away, tip), *_curve(tip, inner, knot)], tone)

    def head(self) -> None:
        """Draw neck, ears and the face with its pointed chin."""
        x, y, width, height = self._variation.x, self._variation.y, self._variation.width, self._variation.height
        self._shape(
            [(x - width * 0.3, y), (x + width * 0.3, y), (x + width * 0.34, 1.1), (x - width * 0.34, 1.1)], "skin"
        )
        for sign in (-1, 1):
            self._shape(_arc((x + sign * width, y + height * 0.08), width * 0.16, height * 0.2, 0, 360), "skin")
        cheek, chin = (x + width * 0.92, y + height * 0.55), (x, y + height * 1.02)
        right = _curve((x + width, y), cheek, chin)
        left = [(2 * x - place, high) for place, high in reversed(right)]
        self._shape([*_arc((x, y), width, height, 180, 360), *right, *left], "skin")

    def eyes(self, kind: str) -> None:
        """Draw eyes, brows and a nose."""
        variation = self._variation
        y = variation.y + variation.height * 0.12
        for sign in (-1, 1):
            x = variation.x + sign * variation.spacing
            wide = variation.eye * 0.72
            if kind == "closed":
                self._stroke(_arc((x, y - variation.eye * 0.3), wide * 1.15, variation.eye * 0.75, 20, 160), 1.5)
            elif kind == "narrow":
                self._shape(_arc((x, y), wide * 1.25, variation.eye * 0.36, 0, 360), "skin")
                self._shape(_arc((x, y), wide * 0.5, variation.eye * 0.36, 0, 360), "black")
                self._stroke(
                    [(x - wide * 1.35, y - variation.eye * 0.42), (x + wide * 1.35, y - variation.eye * 0.42)], 1.6
                )
            else:
                self._shape(_arc((x, y), wide, variation.eye, 0, 360), "black")
                self._dot((x - wide * 0.28, y - variation.eye * 0.42), variation.eye * 0.34)
                self._stroke(_arc((x, y - variation.eye * 0.1), wide * 1.25, variation.eye * 1.15, 205, 335), 1.6)
        self._stroke(
            [
                (variation.x, variation.y + variation.height * 0.44),
                (variation.x + 0.012, variation.y + variation.height * 0.48),
            ],
            1,
        )

    def mouth(self, kind: str) -> None:
        """Draw a mouth."""
        x, y = self._variation.x, self._variation.y + self._variation.height * 0.66
        if kind == "smile":
            self._stroke(_arc((x, y - 0.05), 0.095, 0.075, 15, 165), 1.5)
        elif kind == "flat":
            self._stroke([(x - 0.06, y), (x + 0.06, y)], 1.5)
        else:
            self._shape(_arc((x, y), 0.055, 0.06, 0, 360), "black")

    def glasses(self) -> None:
        """Draw glasses on the eyes."""
        variation = self._variation
        y, round_by = variation.y + variation.height * 0.14, 0.112
        for sign in (-1, 1):
            x = variation.x + sign * variation.spacing
            self._stroke(_arc((x, y), round_by, round_by, 0, 360), 1.5)
            self._stroke([(x + sign * round_by, y), (variation.x + sign * variation.width, y - 0.02)], 1.5)
        gap = variation.spacing - round_by
        self._stroke([(variation.x - gap, y), (variation.x + gap, y)], 1.5)

    def front_hair(self, style: str, tone: str) -> None:
        """Draw the hair on the head and over the forehead."""
        x, y, width, height = self._variation.x, self._variation.y, self._variation.width, self._variation.height
        brow = y - height * 0.5 + self._variation.fringe * 0.8
        side = width * 1.1
        if style == "spiky":
            spikes = [_spike(x, y, side, height, number) for number in range(11)]
            self._shape([*spikes, *_fringe(x, brow, width, 4, 0.09)], tone)
            return
        top = _arc((x, y - height * 0.12), side, height * 1.02, 180, 360)
        ends = y + height * (0.75 if style == "long" else 0.25)
        lock = width * 0.24
        right = [(x + side, ends), (x + side - lock, brow + 0.02)]
        left = [(2 * x - place, high) for place, high in reversed(right)]
        if style == "long":  # parted in the middle
            parting = [(x + width * 0.6, brow), (x + 0.01, y - height * 0.82), (x - width * 0.6, brow)]
            self._shape([*top, *right, *parting, *left], tone)
        else:
            teeth = 5 if style == "short" else 3
            self._shape([*top, *right, *_fringe(x, brow, width * 0.8, teeth, 0.06), *left], tone)
        if tone == "black":  # a highlight
            self._stroke(_arc((x, y - height * 0.2), side * 0.72, height * 0.72, 215, 260), 1.6, PAPER)

    def _shape(self, points: Sequence[Point], tone: str) -> None:
        outline = self._pixels(points)
        fill = {"black": 25, "grey": GREY, "white": PAPER, "skin": SKIN}[tone]
        for draw, color in ((self._draw, fill), (self._draw_cover, 255)):
            draw.polygon(outline, fill=color)
        for draw, color in ((self._draw, INK), (self._draw_cover, 255)):
            draw.line([*outline, outline[0]], fill=color, width=self._line, joint="curve")

    def _stroke(self, points: Sequence[Point], thick: float, color: int = INK) -> None:
        self._draw.line(self._pixels(points), fill=color, width=round(self._line * thick), joint="curve")

    def _dot(self, middle: Point, radius: float) -> None:
        self._draw.polygon(self._pixels(_arc(middle, radius, radius, 0, 360)), fill=PAPER)

    def _pixels(self, points: Sequence[Point]) -> list[Point]:
        return [(x * self._side, y * self._side) for x, y in points]


def _arc(middle: Point, wide: float, high: float, start: float, end: float) -> list[Point]:
    """Return points on an ellipse between two angles in degrees; 0 is right, 90 is down."""
    count = max(6, round(abs(end - start) / 15))
    angles = (math.radians(start + (end - start) * number / count) for number in range(count + 1))
    return [(middle[0] + wide * math.cos(angle), middle[1] + high * math.sin(angle)) for angle in angles]


def _curve(start: Point, pull: Point, end: Point, count: int = 8) -> list[Point]:
    """Return points on a quadratic Bézier curve."""
    shares = (number / count for number in range(count + 1))
    return [
        (
            (1 - share) ** 2 * start[0] + 2 * share * (1 - share) * pull[0] + share**2 * end[0],
            (1 - share) ** 2 * start[1] + 2 * share * (1 - share) * pull[1] + share**2 * end[1],
        )
        for share in shares
    ]


def _fringe(x: float, brow: float, half: float, teeth: int, deep: float) -> list[Point]:
    """Return a zigzag over the forehead, from right to left."""
    positions = [x + half - half * number / teeth for number in range(2 * teeth + 1)]
    return [(place, brow + (deep / 2 if number % 2 else -deep / 2)) for number, place in enumerate(positions)]


def _spike(x: float, y: float, side: float, height: float, number: int) -> Point:
    """Return a corner of spiky hair; every other one is a tip, from left to right over the top."""
    angle = math.radians(170 + 200 * number / 10)
    far = 1.28 if number % 2 else 0.96
    return x + far * side * math.cos(angle), y - height * 0.12 + far * height * math.sin(angle)


def _background(picture: Image.Image, kind: str, variation: FaceVariation) -> None:
    side, pitch = picture.width, picture.width / 8
    draw = ImageDraw.Draw(picture)
    if kind == "stripes":
        for number in range(-11, 11):
            left = (number + variation.phase) * pitch
            draw.line([(left, 0), (left + side, side)], fill=LIGHT - 25, width=round(pitch * 0.45))
    elif kind == "dots":
        radius = pitch * 0.3
        for row in range(-1, 12):
            for column in range(-1, 12):
                x = (column + variation.phase + (row % 2) / 2) * pitch
                y = (row + variation.phase) * pitch
                draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=LIGHT - 85)
