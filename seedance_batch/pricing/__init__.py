"""What a task costs, by HiAPI's public price rules; never a guess."""

from seedance_batch.pricing.lists import parse_price_file, parse_pricing
from seedance_batch.pricing.rules import (
    Estimate,
    Estimator,
    ModelPrice,
    PriceTable,
    estimate,
    measured_seconds,
    money,
)

__all__ = [
    "Estimate",
    "Estimator",
    "ModelPrice",
    "PriceTable",
    "estimate",
    "measured_seconds",
    "money",
    "parse_price_file",
    "parse_pricing",
]
