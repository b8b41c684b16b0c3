"""Next-ViT from images to a proven file: train, export, verify, measure, serve.

The names below load what they need when first used, so that `import nextvit` brings in neither torch nor a runtime.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nextvit.loading import load
    from nextvit.models.create import create_model
    from nextvit.models.fuse import fuse
    from nextvit.runtime.tiled_session import Tiling

__version__ = "0.1.0"
__all__ = ["Tiling", "__version__", "create_model", "fuse", "load"]

HOME_OF = {
    "Tiling": "nextvit.runtime.tiled_session",
    "create_model": "nextvit.models.create",
    "fuse": "nextvit.models.fuse",
    "load": "nextvit.loading",
}


def __getattr__(name: str) -> object:
    if name not in HOME_OF:
        raise AttributeError(f"module 'nextvit' has no attribute {name!r}")
    return getattr(import_module(HOME_OF[name]), name)
