"""Places of languages on a map: a window of the globe, with all of URIEL's languages as dots for the continents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from clustering.distances import uriel as typology

WIDTH, HEIGHT = 1000.0, 420.0
_STATIC_LABELS = 12
_LETTER = 7.0  # mean width of a letter, in units of the map
Place = tuple[float, float]
"""Latitude and longitude in degrees."""


@dataclass(frozen=True)
class Point:
    """A language on a map."""

    label: str
    """Its name."""
    title: str
    """The text shown when it is pointed at."""
    place: Place
    radius: float
    """In pixels of the screen."""
    colour: str
    """A CSS colour."""
    opacity: float = 1.0


def draw_map(points: Sequence[Point], star: Place | None = None) -> dict[str, Any] | None:
    """What the template draws: points, labels that fit, grid and continents.

    Args:
        points: The most important first: they are drawn on top and keep their labels where several do not fit.
        star: A place to mark.

    Returns:
        Values for `figure.html`; None if there is no place.
    """
    if not points and star is None:
        return None
    view = _view([point.place for point in points], star)
    drawn = [{"point": point, "x": x, "y": y} for point in points for x, y in [view.project(*point.place)]]
    target = None if star is None else view.project(*star)
    return {
        "points": drawn[::-1],
        "labels": _labels(drawn, target),
        "target": target,
        "world": _world_path(view),
        "meridians": [view.project(0.0, lon)[0] for lon in range(-180, 181, view.step)],
        "parallels": [view.project(lat, 0.0)[1] for lat in range(-90, 91, view.step)],
        "step": view.step,
        "width": WIDTH,
        "height": HEIGHT,
    }


@dataclass(frozen=True)
class _View:
    """The part of the globe on a map, equirectangular; degrees."""

    west: float
    east: float
    south: float
    north: float

    @property
    def step(self) -> int:
        """Degrees between lines of the grid: four to nine of them across."""
        return next(step for step in (5, 10, 15, 30, 45) if (self.east - self.west) / step <= 13)

    def project(self, latitude: float, longitude: float) -> tuple[float, float]:
        """Place on the map, in its units."""
        x = (longitude - self.west) / (self.east - self.west) * WIDTH
        y = (self.north - latitude) / (self.north - self.south) * HEIGHT
        return round(x, 1), round(y, 1)


def _view(places: Sequence[Place], star: Place | None) -> _View:
    """The smallest window of the map's shape that shows all places, not nearer than a continent."""
    points = np.array([*places, *([star] if star else [])])
    (south, west), (north, east) = points.min(axis=0) - 6.0, points.max(axis=0) + 6.0
    shape = WIDTH / HEIGHT
    width = min(max(east - west, (north - south) * shape, 60.0), 360.0)
    height = width / shape
    middle_x, middle_y = (west + east) / 2, (south + north) / 2
    west = min(max(middle_x - width / 2, -180.0), 180.0 - width)
    south = min(max(middle_y - height / 2, -65.0), 85.0 - height)
    return _View(float(west), float(west + width), float(south), float(south + height))


def _labels(drawn: Sequence[dict[str, Any]], target: tuple[float, float] | None) -> list[dict[str, Any]]:
    """Names of the first points, left or right of them, those that fit without covering another."""
    taken = []
    for one in drawn:
        r = one["point"].radius
        taken.append((one["x"] - r, one["y"] - r, one["x"] + r, one["y"] + r))
    if target is not None:
        taken.append((target[0] - 10, target[1] - 10, target[0] + 10, target[1] + 10))
    labels: list[dict[str, Any]] = []
    for one in drawn:
        if len(labels) == _STATIC_LABELS:
            break
        name, r = one["point"].label, one["point"].radius
        width = _LETTER * len(name) + 6
        for anchor, x in (("start", one["x"] + r + 3), ("end", one["x"] - r - 3)):
            left = x if anchor == "start" else x - width
            box = (left, one["y"] - 8, left + width, one["y"] + 8)
            inside = box[0] >= 0 and box[2] <= WIDTH
            if inside and all(box[2] < a or box[0] > c or box[3] < b or box[1] > d for a, b, c, d in taken):
                taken.append(box)
                labels.append({"name": name, "x": x, "y": one["y"], "anchor": anchor})
                break
    return labels


def _world_path(view: _View) -> str:
    """An SVG path of dots, one per square degree where URIEL has a language."""
    shown = [view.project(latitude, longitude) for latitude, longitude in _language_cells()]
    inside = [(x, y) for x, y in shown if 0 <= x <= WIDTH and 0 <= y <= HEIGHT]
    return "".join(f"M{x:.0f} {y:.0f}h0" for x, y in inside)


@lru_cache(maxsize=1)
def _language_cells() -> list[list[float]]:
    table = typology.places()
    unit = table.unit[table.located]
    degrees = np.degrees(np.stack([np.arcsin(unit[:, 2]), np.arctan2(unit[:, 1], unit[:, 0])], axis=1))
    return [list(map(float, row)) for row in np.unique(np.rint(degrees), axis=0).tolist()]
