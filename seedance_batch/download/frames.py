"""A returned last frame: is it an image, and as a PNG. Pure: bytes in, bytes out."""

from __future__ import annotations

import io
from typing import Final

MOST_PIXELS: Final = 64_000_000
"""Past any frame the service makes; a picture that claims more is not unpacked."""


class NoImage(Exception):
    """The bytes are no image that can be shown; the message completes *the file …*."""


def as_png(content: bytes) -> bytes | None:
    """None where ``content`` is a whole PNG already, else its picture as one. Raises `NoImage`."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG", "WEBP")) as image:
            if image.width * image.height > MOST_PIXELS:
                raise NoImage(f"claims {image.width}×{image.height} pixels")
            image.load()
            if image.format == "PNG":
                return None
            out = io.BytesIO()
            image.convert("RGB").save(out, "PNG")
            return out.getvalue()
    except NoImage:
        raise
    except Exception as error:  # Pillow's decoders raise whatever a broken file makes of them
        raise NoImage(f"is no whole image ({type(error).__name__})") from error
