"""Images as people have them: folders, formats, modes; and what cannot be used."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trimtab.data.files import read_rows
from trimtab.data.images import read_folder
from trimtab.data.prepare import Settings, is_current, prepare
from trimtab.data.prepared import load_prepared
from trimtab.data.sources import read_image_folder
from trimtab.errors import ConfigError, DataError

SETTINGS = Settings("photos", "image_folder", target="class", task="classification", scaling="channel")


def noise(seed: int, height: int = 4, width: int = 6) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.fixture
def photos(folder: Path) -> Path:
    """Eight images for each of two classes, one of them in a folder of its own."""
    photos = folder / "my photos"
    for seed in range(16):
        path = photos / ("cat" if seed % 2 else "dog") / ("more" if seed == 5 else "") / f"{seed}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise(seed).save(path)
    return photos


read = partial(read_image_folder, size=[4, 6], channels=3)


def test_a_row_is_an_image(photos: Path) -> None:
    table = read(photos)
    assert table.shape == (3, 4, 6)
    assert (table.target, table.task, len(table.features)) == ("class", "classification", 72)
    assert table.frame["class"].tolist() == ["cat"] * 8 + ["dog"] * 8
    row = table.frame.loc["cat/more/5.png", list(table.features)].to_numpy(np.uint8)
    np.testing.assert_array_equal(row.reshape(3, 4, 6), np.asarray(noise(5)).transpose(2, 0, 1))
    assert table.features[:2] == ("pixel_0_0_0", "pixel_0_0_1")


def test_a_network_gets_channels_of_its_own_mean_and_deviation(photos: Path) -> None:
    out = photos.parent / "out"
    summary = prepare(partial(read, photos), SETTINGS, out, photos)
    prepared = load_prepared(out)
    assert summary.shape == prepared.problem.shape == (3, 4, 6)
    x = prepared.train.x
    assert x.shape == (summary.rows[0], 3, 4, 6)
    np.testing.assert_allclose(x.mean(axis=(0, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(x.std(axis=(0, 2, 3)), 1, atol=1e-6)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff", ".PNG"])
@pytest.mark.parametrize(
    ("image", "channels", "expected"),
    [
        (Image.new("L", (3, 3), 77), 1, [77]),
        (Image.new("L", (3, 3), 77), 3, [77, 77, 77]),
        (Image.new("RGB", (3, 3), (10, 20, 30)), 3, [10, 20, 30]),
        (Image.new("RGB", (3, 3), (255, 255, 255)), 1, [255]),
        (Image.new("1", (3, 3), 1), 1, [255]),
    ],
)
def test_formats_and_modes(image: Image.Image, channels: int, expected: list[int], suffix: str, folder: Path) -> None:
    image.save(folder / f"a{suffix}")
    row = read_folder(folder, (2, 2), channels).to_numpy().reshape(channels, 4)
    assert row.tolist() == [[value] * 4 for value in expected]


@pytest.mark.parametrize(("alpha", "expected"), [(0, 255), (255, 40), (51, 212)])
def test_transparent_parts_are_white(alpha: int, expected: int, folder: Path) -> None:
    Image.new("RGBA", (3, 3), (40, 40, 40, alpha)).save(folder / "a.png")
    assert set(read_folder(folder, (3, 3), 1).to_numpy().ravel().tolist()) == {expected}


def test_images_are_turned_as_their_camera_says(folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    noise(0).save(folder / "a.png", exif=exif)
    pixels = read_folder(folder, (4, 6), 3).to_numpy().reshape(3, 4, 6)
    np.testing.assert_array_equal(pixels, np.asarray(noise(0)).transpose(2, 0, 1)[:, ::-1, ::-1])


def test_what_is_no_image_is_left_out_and_counted(photos: Path) -> None:
    (photos / "cat" / "notes.txt").write_text("x")
    (photos / "cat" / ".DS_Store").write_text("x")
    (photos / ".git").mkdir()
    (photos / "list.csv").write_text("x")
    assert [str(d) for d in read(photos).dropped] == ["1 row dropped: no image by the name of the file"]


def test_another_target_than_the_folder_is_refused_before_an_image_is_read(photos: Path) -> None:
    for same in (None, "class"):
        assert read(photos, target=same).target == "class"
    with pytest.raises(DataError) as caught:
        read(written(photos, b"text"), target="foo")
    assert "'class', the folder that an image lies in, but data.target is 'foo'" in str(caught.value)
    assert "pixel" not in str(caught.value)


def only(photos: Path, name: str) -> Path:
    for path in (photos / name).rglob("*.png"):
        path.unlink()
    return photos


def alone(photos: Path) -> Path:
    (photos / "dog").rename(photos.parent / "dog")
    return photos


def written(photos: Path, content: bytes) -> Path:
    (photos / "cat" / "bad.png").write_bytes(content)
    return photos


def deep(photos: Path) -> Path:
    Image.new("I;16", (3, 3)).save(photos / "cat" / "deep.png")
    return photos


def few(photos: Path) -> Path:
    for path in photos.rglob("*.png"):
        if int(path.stem) > 5:
            path.unlink()
    return photos


BAD: dict[str, tuple[Callable[[Path], Path], list[str]]] = {
    "absent": (lambda p: p.parent / "my fotos", ["does not exist; did you mean 'my photos'?"]),
    "a file": (lambda p: p / "dog" / "0.png", ["0.png' is a file", "name the folder"]),
    "no class folders": (lambda p: p / "dog", ["a folder for each class", "has none", "dog/cat"]),
    "one class": (alone, ["two at least", "'cat' alone"]),
    "an empty class": (partial(only, name="dog"), ["'dog'", "holds none", ".png", "remove it"]),
    "not an image": (partial(written, content=b"text"), ["bad.png", "no image that can be read", "remove it"]),
    "an empty file": (partial(written, content=b""), ["bad.png", "no image that can be read"]),
    "16 bits": (deep, ["8 bits", "deep.png", "'I;16'"]),
    "too few": (few, ["at least 10 rows", "has 6"]),
}


@pytest.mark.parametrize(("change", "fragments"), BAD.values(), ids=BAD)
def test_bad_folders(change: Callable[[Path], Path], fragments: list[str], photos: Path) -> None:
    path = change(photos)
    with pytest.raises(DataError) as caught:
        prepare(partial(read, path), SETTINGS, photos.parent / "out", path)
    assert [f for f in fragments if f not in str(caught.value)] == [], caught.value


def test_a_cut_image_is_named(photos: Path) -> None:
    whole = (photos / "cat" / "1.png").read_bytes()
    with pytest.raises(DataError, match=r"bad\.png.*no image"):
        read(written(photos, whole[:60]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": [4]}, r"data\.size must be \[height, width\].*\[4\]"),
        ({"size": [0, 4]}, r"data\.size.*\[0, 4\]"),
        ({"channels": 4}, r"data\.channels must be 1 \(grey\) or 3 \(colour\), but is 4"),
    ],
)
def test_sizes_that_no_image_has(options: dict[str, object], message: str, photos: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        read(photos, **options)


def _touch(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b" ")


@pytest.mark.parametrize(
    ("change", "current"),
    [
        (lambda p: _touch(p / "cat" / "1.png"), False),
        (lambda p: (p / "cat" / "1.png").rename(p / "cat" / "one.png"), False),
        (lambda p: (p / "cat" / "1.png").rename(p / "dog" / "1.png"), False),
        (lambda p: (p / "cat" / "1.png").unlink(), False),
        (lambda p: noise(99).save(p / "cat" / "new.png"), False),
        (lambda p: (p / "cat" / ".DS_Store").write_text("x"), True),
        (lambda p: (p / "cat" / "1.png").touch(), True),
    ],
    ids=["edited", "renamed", "another class", "removed", "added", "hidden file", "touched"],
)
def test_changed_files_are_noticed(change: Callable[[Path], object], current: bool, photos: Path) -> None:
    out = photos.parent / "out"
    prepare(partial(read, photos), SETTINGS, out, photos)
    assert is_current(out, SETTINGS, photos)
    change(photos)
    assert is_current(out, SETTINGS, photos) == current


def test_a_folder_elsewhere_is_the_same_data(photos: Path) -> None:
    prepare(partial(read, photos), SETTINGS, photos.parent / "out", photos)
    assert is_current(photos.parent / "out", SETTINGS, photos.rename(photos.parent / "moved"))


def test_images_to_predict_are_read_as_those_to_learn_from(photos: Path) -> None:
    rows, table = read_rows(photos, (3, 4, 6)), read(photos)
    assert rows.index.tolist() == table.frame.index.tolist()
    np.testing.assert_array_equal(rows, table.frame[list(table.features)])


@pytest.mark.parametrize(("shape", "message"), [((64,), "trained on rows of 64 values"), ((1, 40), "40 values")])
def test_a_folder_for_a_model_of_rows(shape: tuple[int, ...], message: str, photos: Path) -> None:
    with pytest.raises(DataError, match=message):
        read_rows(photos, shape)


def test_a_folder_without_images_predicts_nothing(folder: Path) -> None:
    with pytest.raises(DataError, match="must hold images"):
        read_rows(folder, (3, 4, 6))
