"""Images and masks made odd or broken in every way that folders of users hold.

``EXPECTED`` says what ``leuko check`` must find of each kind, and ``TAKEN`` which of
them ``leuko prepare folders`` reads by a rule of ``datasets.images``; all others it
refuses, naming the file.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image

UNREADABLE = {"unreadable-file"}
# Kind -> rules of which at least one must be found, for an image and for a mask.
EXPECTED = {
    "missing": ({"missing-file"}, {"missing-file"}),
    "empty": (UNREADABLE, UNREADABLE),
    "truncated": (UNREADABLE, UNREADABLE),
    "text": (UNREADABLE, UNREADABLE),
    "noise behind a signature": (UNREADABLE, UNREADABLE),
    "other format": ({"odd-file"}, {"odd-file"}),
    "16 bits": ({"odd-file"}, {"odd-file"}),
    "12 bits in 16": (UNREADABLE, {"strange-label"}),
    "CMYK": (UNREADABLE, UNREADABLE),
    "opaque alpha": ({"odd-file"}, {"odd-file"}),
    "transparent": (UNREADABLE, UNREADABLE),
    "turned by EXIF": ({"turned-file"}, {"turned-file"}),
    "animated": (UNREADABLE, UNREADABLE),
    "one pixel": (UNREADABLE, UNREADABLE),
    "huge header": (UNREADABLE, UNREADABLE),
    "other size": ({"size-mismatch"}, {"size-mismatch"}),
    # A JPEG may still decode; that it is another file than before is always seen.
    "flipped byte": (UNREADABLE | {"changed-file"}, UNREADABLE | {"changed-file"}),
}
TAKEN = {"other format", "16 bits", "opaque alpha", "turned by EXIF", "flipped byte"}
KINDS = tuple(EXPECTED)
HUGE = 30_000


def saved(picture: Image.Image, format_: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format_, **options)
    return buffer.getvalue()


def sound(pixels: np.ndarray, rng: np.random.Generator) -> bytes:
    """Return an image as PNG or JPEG, a mask as PNG."""
    if pixels.ndim == 3 and rng.random() < 0.5:
        return saved(Image.fromarray(pixels), "JPEG", quality=92)
    return saved(Image.fromarray(pixels), "PNG")


def truncated(pixels, rng) -> bytes:
    content = sound(pixels, rng)
    return content[: int(len(content) * rng.uniform(0.02, 0.9))]


def text(pixels, rng) -> bytes:
    return [b"not an image\n", b"<html></html>", b"PK\x03\x04", b"\0" * 500][
        rng.integers(4)
    ]


def noise_behind_a_signature(pixels, rng) -> bytes:
    signature = [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"II*\0", b"GIF89a", b"BM"]
    return signature[rng.integers(5)] + rng.bytes(int(rng.integers(20, 4000)))


def other_format(pixels, rng) -> bytes:
    options = [("BMP", {}), ("TIFF", {}), ("PPM", {}), ("WEBP", {"lossless": True})]
    if pixels.ndim == 2:
        options.pop()  # WebP knows no grey, and so makes colours of a mask
    format_, more = options[rng.integers(len(options))]
    return saved(Image.fromarray(pixels), format_, **more)


def sixteen_bits(pixels, rng) -> bytes:
    deep = pixels.astype(np.uint16)
    if pixels.ndim == 3:
        deep = deep * 257
        deep[0, 0] = 65535  # dark pictures look like 12 bits
        deep = deep[..., ::-1]
    return cv2.imencode(".png", deep)[1].tobytes()


def twelve_bits(pixels, rng) -> bytes:
    deep = (pixels.astype(np.uint16) * 16)[..., ::-1] if pixels.ndim == 3 else None
    if deep is None:
        deep = pixels.astype(np.uint16) * 500
    return cv2.imencode(".png", np.ascontiguousarray(deep))[1].tobytes()


def cmyk(pixels, rng) -> bytes:
    picture = Image.fromarray(pixels).convert("RGB").convert("CMYK")
    return saved(picture, ["JPEG", "TIFF"][rng.integers(2)])


def opaque_alpha(pixels, rng) -> bytes:
    mode = "RGBA" if pixels.ndim == 3 else "LA"
    return saved(Image.fromarray(pixels).convert(mode), "PNG")


def transparent(pixels, rng) -> bytes:
    picture = Image.fromarray(pixels).convert("RGBA" if pixels.ndim == 3 else "LA")
    alpha = np.full(pixels.shape[:2], 255, np.uint8)
    alpha[rng.integers(pixels.shape[0]), rng.integers(pixels.shape[1])] = 0
    picture.putalpha(Image.fromarray(alpha))
    return saved(picture, "PNG")


def turned(pixels, rng) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = int(rng.integers(2, 9))
    format_ = "JPEG" if pixels.ndim == 3 and rng.random() < 0.5 else "PNG"
    return saved(Image.fromarray(pixels), format_, exif=exif)


def animated(pixels, rng) -> bytes:
    frames = [Image.fromarray(pixels), Image.fromarray(pixels[::-1].copy())]
    frames.append(Image.fromarray(255 - pixels))
    format_ = ["GIF", "PNG", "WEBP", "TIFF"][rng.integers(4)]
    return saved(frames[0], format_, save_all=True, append_images=frames[1:])


def one_pixel(pixels, rng) -> bytes:
    return saved(Image.fromarray(pixels[:1, :1]), ["PNG", "BMP"][rng.integers(2)])


def huge_header(pixels, rng) -> bytes:
    """Return a small file whose header promises 900 million pixels."""
    kind = rng.integers(3)
    if kind == 0:
        header = struct.pack(">IIBBBBB", HUGE, HUGE, 8, 2, 0, 0, 0)
        return (
            b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", header)
            + chunk(b"IDAT", zlib.compress(b"\0" * 100_000))
            + chunk(b"IEND", b"")
        )
    if kind == 1:
        content = bytearray(saved(Image.fromarray(pixels).convert("RGB"), "BMP"))
        content[18:26] = struct.pack("<ii", HUGE, HUGE)
        return bytes(content)
    content = bytearray(saved(Image.fromarray(pixels).convert("RGB"), "JPEG"))
    start = content.index(b"\xff\xc0") + 5
    content[start : start + 4] = struct.pack(">HH", HUGE, HUGE)
    return bytes(content)


def chunk(name: bytes, data: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(name + data))
    return struct.pack(">I", len(data)) + name + data + check


def other_size(pixels, rng) -> bytes:
    return saved(Image.fromarray(pixels[: -int(rng.integers(1, 9))]), "PNG")


def flipped_byte(pixels, rng) -> bytes:
    content = bytearray(sound(pixels, rng))
    place = int(rng.integers(len(content) // 2, len(content) * 9 // 10))
    content[place] ^= int(rng.integers(1, 256))
    return bytes(content)


# What makes the content of a kind of file from pixels, None for one that is missing.
MAKERS: dict[str, Callable[[np.ndarray, np.random.Generator], bytes | None]] = {
    "missing": lambda pixels, rng: None,
    "empty": lambda pixels, rng: b"",
    "truncated": truncated,
    "text": text,
    "noise behind a signature": noise_behind_a_signature,
    "other format": other_format,
    "16 bits": sixteen_bits,
    "12 bits in 16": twelve_bits,
    "CMYK": cmyk,
    "opaque alpha": opaque_alpha,
    "transparent": transparent,
    "turned by EXIF": turned,
    "animated": animated,
    "one pixel": one_pixel,
    "huge header": huge_header,
    "other size": other_size,
    "flipped byte": flipped_byte,
}
