"""Pictures as YUV planes: conversion, blending and crops, in whole numbers for speed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Plane = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Picture:
    """Y at full size, U and V at half size (yuv420p, limited range)."""

    y: Plane
    u: Plane
    v: Plane

    @classmethod
    def of(cls, image: Image.Image) -> Picture:
        """Converts an RGB image (BT.601, what players assume where nothing is said)."""
        rgb = np.asarray(image.convert("RGB"), dtype=np.float32)
        small = np.asarray(
            image.convert("RGB").resize(half(image.size), Image.Resampling.BOX), dtype=np.float32
        )
        return cls(
            _weighed(rgb, 16, (0.257, 0.504, 0.098)),
            _weighed(small, 128, (-0.148, -0.291, 0.439)),
            _weighed(small, 128, (0.439, -0.368, -0.071)),
        )

    def planes(self) -> tuple[Plane, Plane, Plane]:
        """Y, U and V."""
        return self.y, self.u, self.v

    def crop(self, left: int, top: int, width: int, height: int) -> Picture:
        """A part of the picture; every number even."""
        x, y = left // 2, top // 2
        return Picture(
            self.y[top : top + height, left : left + width],
            self.u[y : y + height // 2, x : x + width // 2],
            self.v[y : y + height // 2, x : x + width // 2],
        )

    def copy(self) -> Picture:
        """The same picture, free to be drawn on."""
        return Picture(self.y.copy(), self.u.copy(), self.v.copy())

    def packed(self) -> Plane:
        """As PyAV takes a frame: (height · 3/2, width)."""
        height, width = self.y.shape
        flat = np.concatenate([plane.reshape(-1) for plane in self.planes()])
        return flat.reshape(height * 3 // 2, width)


def half(size: tuple[int, int]) -> tuple[int, int]:
    """The size of U and V."""
    return size[0] // 2, size[1] // 2


def _weighed(rgb: NDArray[np.float32], base: int, weights: tuple[float, float, float]) -> Plane:
    mixed = rgb @ np.array(weights, dtype=np.float32) + base
    plane: Plane = np.clip(mixed + 0.5, 0, 255).astype(np.uint8)
    return plane


def fade(one: Picture, other: Picture, share: float) -> Picture:
    """``share`` (0 to 1) of the other picture over the one."""
    weight = round(share * 256)
    if weight <= 0:
        return one
    if weight >= 256:
        return other
    pairs = zip(one.planes(), other.planes(), strict=True)
    y, u, v = (_faded(a, b, weight) for a, b in pairs)
    return Picture(y, u, v)


def _faded(one: Plane, other: Plane, weight: int) -> Plane:
    mixed = one.astype(np.uint16) * (256 - weight) + other.astype(np.uint16) * weight
    faded: Plane = (mixed >> 8).astype(np.uint8)
    return faded


@dataclass(frozen=True, slots=True)
class Overlay:
    """A see-through drawing at a place; premultiplied, so that laying it on is quick."""

    left: int
    top: int
    keep: tuple[NDArray[np.uint16], ...]
    """What is kept of the picture below, of 255, for Y, U and V."""
    added: tuple[NDArray[np.uint16], ...]

    @classmethod
    def of(cls, image: Image.Image, left: int = 0, top: int = 0) -> Overlay:
        """From an RGBA image; place and size are even."""
        picture = Picture.of(image)
        alpha = image.getchannel("A")
        masks = (alpha, *(2 * (alpha.resize(half(image.size), Image.Resampling.BOX),)))
        values = [np.asarray(mask, dtype=np.uint16) for mask in masks]
        added = [p * a for p, a in zip(picture.planes(), values, strict=True)]
        return cls(left, top, tuple(np.uint16(255) - a for a in values), tuple(added))

    def lay_on(self, picture: Picture) -> None:
        """Draws onto the picture."""
        for number, plane in enumerate(picture.planes()):
            step = 2 if number else 1
            keep, added = self.keep[number], self.added[number]
            top, left = self.top // step, self.left // step
            below = plane[top : top + keep.shape[0], left : left + keep.shape[1]]
            mixed = below * keep + added
            below[...] = (mixed + (mixed >> 8) + 1) >> 8  # divides by 255
