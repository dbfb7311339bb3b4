"""The sandbox's own, invented prices, in the shape of HiAPI's public list.

The shape is that of ``GET /api/pricing`` (read in November 2026; ``openapi.yaml`` has the path). No
price a second of this model is published there, so none of these is HiAPI's.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

MODELS: Final = ("seedance-2-0", "seedance-2.0")
"""Both published spellings of the model."""

_BASE: Final = Decimal("0.0720")
"""USD per second of 720p: the resolution's own digits, so that nobody takes it for real."""

_PER_SECOND: Final = {
    "480p": Decimal("0.0480"),
    "720p": _BASE,
    "1080p": _BASE * Decimal("1.5"),
    "4k": Decimal("0.2160"),
}


def price(fields: Mapping[str, Any], reference_seconds: Decimal) -> Decimal:
    """USD for a task: seconds asked and seconds of reference video, by resolution."""
    seconds = Decimal(fields.get("duration", 5)) + reference_seconds
    return (_PER_SECOND[fields.get("resolution", "720p")] * seconds).quantize(Decimal("0.000001"))


def price_list() -> dict[str, Any]:
    """What ``GET /api/pricing`` answers."""
    return {
        "sandbox": "invented prices, not HiAPI's",
        "data": [
            {
                "model_name": model,
                "factors": ["duration"],
                "base_usd_value": float(_BASE),
                "policies": [_fixed("480p"), _fixed("720p"), _multiplied("1080p"), _fixed("4k")],
            }
            for model in MODELS
        ],
    }


def _fixed(resolution: str) -> dict[str, Any]:
    return {
        "rule": {"resolution": {"match": resolution}},
        "pricing_type": "fixed",
        "usd_value": float(_PER_SECOND[resolution]),
    }


def _multiplied(resolution: str) -> dict[str, Any]:
    return {
        "rule": {"resolution": {"match": resolution}},
        "pricing_type": "multiply",
        "times": float(_PER_SECOND[resolution] / _BASE),
    }
