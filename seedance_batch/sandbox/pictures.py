"""Given images, brought to a size; a placeholder where one is not ours to fetch."""

from __future__ import annotations

import io

from PIL import Image, ImageDraw, ImageOps, UnidentifiedImageError

from seedance_batch.sandbox import media
from seedance_batch.sandbox.typeset import fit


def covering(url: str, size: tuple[int, int], name: str) -> Image.Image:
    """The image at an address, filling the size (cut at the longer side)."""
    image = _opened(url)
    if image is None:
        return _placeholder(size, name, url)
    return ImageOps.fit(image, size, Image.Resampling.LANCZOS)


def _opened(url: str) -> Image.Image | None:
    content = media.fetch(url)
    if content is None:
        return None
    try:
        with Image.open(io.BytesIO(content)) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        return None


def _placeholder(size: tuple[int, int], name: str, url: str) -> Image.Image:
    """A quiet card that says what would be here."""
    width, height = size
    image = Image.new("RGB", size, (52, 56, 66))
    draw = ImageDraw.Draw(image)
    step = max(min(size) // 8, 8)
    for offset in range(-height, width, step):
        draw.line((offset, height, offset + height, 0), (60, 65, 76), max(step // 4, 1))
    edge = max(min(size) // 60, 2)
    draw.rectangle((edge, edge, width - edge - 1, height - edge - 1), None, (120, 128, 145), 1)
    shown = url if len(url) <= 60 else f"{url[:44]}…{url[-14:]}"
    text = f"{name}\n{shown}" if min(size) > 160 else name
    block = fit(text, width * 4 // 5, height // 2, max(min(size) // 18, 11), 9)
    top = (height - block.height) // 2 if min(size) <= 160 else height // 3 - block.height // 2
    block.draw(draw, width // 2, top, (205, 211, 222), centred=True)
    return image
