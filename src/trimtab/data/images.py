"""Images as rows of numbers: channel by channel, row by row, 0 to 255."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trimtab.data.columns import listed, suggestion
from trimtab.data.table import Dropped
from trimtab.errors import ConfigError, DataError

if TYPE_CHECKING:
    from PIL.Image import Image

CLASS = "class"
IMAGE = "image"
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
MODES = {1: "L", 3: "RGB"}


def read_class_folders(folder: Path, size: Sequence[int], channels: int) -> tuple[pd.DataFrame, tuple[Dropped, ...]]:
    """A row per image, `class` from the folder it lies in; the index is its path within `folder`.

    Raises:
        ConfigError: size or channels are out of range.
        DataError: there are not two folders with images in them, or an image cannot be read.
    """
    classes = [path for path in _visible(_folder(folder)) if path.is_dir()]
    if len(classes) < 2:
        found = f"{listed(p.name for p in classes)} alone" if classes else "none"
        raise DataError(
            f"a folder of images needs a folder for each class, two at least, but {str(folder)!r} has {found}; sort "
            f"the images into folders such as {folder.name}/cat and {folder.name}/dog"
        )
    by_class = {path.name: _images(path) for path in classes}
    if empty := [name for name, images in by_class.items() if not images]:
        raise DataError(
            f"each class folder must hold images ({', '.join(SUFFIXES)}), but {listed(empty)} of {str(folder)!r} holds "
            "none; fill it or remove it"
        )
    files = [file for images in by_class.values() for file in images]
    frame = read_images(files, size, channels, folder)
    frame[CLASS] = [name for name, images in by_class.items() for _ in images]
    others = sum(p.is_file() for path in classes for p in _below(path)) - len(files)
    return frame, (Dropped(others, "no image by the name of the file"),) if others else ()


def read_folder(folder: Path, size: Sequence[int], channels: int) -> pd.DataFrame:
    """A row per image anywhere below `folder`, without classes; for predictions.

    Raises:
        DataError: there is none, or one cannot be read.
    """
    files = _images(_folder(folder))
    if not files:
        raise DataError(f"a folder to predict must hold images ({', '.join(SUFFIXES)}), but {str(folder)!r} holds none")
    return read_images(files, size, channels, folder)


def read_images(files: Sequence[Path], size: Sequence[int], channels: int, root: Path) -> pd.DataFrame:
    """Columns `pixel_<channel>_<row>_<column>`, in the order (channels, height, width).

    Raises:
        ConfigError: size or channels are out of range.
        DataError: an image cannot be read; names it.
    """
    _check_size(size, channels)
    height, width = size
    names = [f"pixel_{c}_{y}_{x}" for c in range(channels) for y in range(height) for x in range(width)]
    index = pd.Index([file.relative_to(root).as_posix() for file in files], name=IMAGE)
    pixels = np.stack([_pixels(file, height, width, channels).reshape(-1) for file in files])
    return pd.DataFrame(pixels, index=index, columns=names)


def _check_size(size: Sequence[int], channels: int) -> None:
    """Holds the size to be two whole numbers, and the channels to be grey or colour.

    Raises:
        ConfigError: they are not.
    """
    if len(size) != 2 or min(size) < 1:
        raise ConfigError(f"data.size must be [height, width] in pixels, but is {list(size)}; set it to e.g. [32, 32]")
    if channels not in MODES:
        raise ConfigError(f"data.channels must be 1 (grey) or 3 (colour), but is {channels}; choose one of them")


def _pixels(file: Path, height: int, width: int, channels: int) -> NDArray[np.uint8]:
    """(channels, height, width)."""
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as opened:
            if opened.mode[0] in "IF":
                raise DataError(
                    f"an image must have 8 bits per channel, but {str(file)!r} has mode {opened.mode!r}; convert it"
                )
            upright = ImageOps.exif_transpose(opened)
            image = _on_white(upright).convert(MODES[channels]).resize((width, height), Image.Resampling.BILINEAR)
    except DataError:
        raise
    except Exception as e:  # a damaged image raises whatever its bytes happen to mean
        raise DataError(f"{str(file)!r} is no image that can be read ({e}); mend or remove it") from e
    return np.asarray(image).reshape(height, width, channels).transpose(2, 0, 1)


def _on_white(image: "Image") -> "Image":
    """What shows through transparent parts is undefined: white, as on paper."""
    from PIL import Image

    if not image.has_transparency_data:
        return image
    solid = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", solid.size, "white"), solid)


def _folder(path: Path) -> Path:
    if path.is_file():
        raise DataError(f"images come in a folder, but {str(path)!r} is a file; name the folder, or use data=csv")
    if not path.is_dir():
        beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(
            f"images come in a folder, but {str(path)!r} does not exist{suggestion(path.name, beside)} "
            "give a path relative to the project, or an absolute one"
        )
    return path


def _images(folder: Path) -> list[Path]:
    return [path for path in _below(folder) if path.suffix.lower() in SUFFIXES and path.is_file()]


def _below(folder: Path) -> list[Path]:
    """All paths below, in an order that no file system changes; what is hidden is left out."""
    found = [p for p in folder.rglob("*") if not any(part.startswith(".") for part in p.relative_to(folder).parts)]
    return sorted(found, key=lambda p: p.relative_to(folder).as_posix())


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
