"""Submits, watches and fetches until nothing is left to do; is handed all that it works with."""

from seedance_batch.runner.book import Book
from seedance_batch.runner.orders import BodyLost, MediaChanged, Order, Terms
from seedance_batch.runner.run import Ending, Pace, Runner
from seedance_batch.runner.stopper import Reins, Stopper

__all__ = [
    "BodyLost",
    "Book",
    "Ending",
    "MediaChanged",
    "Order",
    "Pace",
    "Reins",
    "Runner",
    "Stopper",
    "Terms",
]
