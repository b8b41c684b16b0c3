"""Tell the format of an image by its first bytes; also of formats that are not read."""

LENGTH = 32
"""The bytes that are looked at."""

PREFIXES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"8BPS", "PSD"),
    (b"v/1\x01", "OpenEXR"),
    (b"FUJIFILMCCD-RAW", "raw RAF"),
    (b"IIRO", "raw ORF"),
    (b"IIU\0", "raw RW2"),
    (b"II*\0\x10\0\0\0CR", "raw CR2"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"<svg", "SVG"),
)
BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "HEIC"),
    b"crx ": "raw CR3",
}
"""Of ISO base media files; videos have others."""


def find_format(head: bytes) -> str | None:
    """The name of an image format by a file's first `LENGTH` bytes; None for anything else."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[4:8] == b"ftyp":
        return BRANDS.get(head[8:12])
    return next((name for prefix, name in PREFIXES if head.startswith(prefix)), None)
