"""What a user hands to a trained model: files, folders, arrays, and what is wrong with them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tenfold.data.images.inputs import read_array, read_inputs
from tenfold.errors import TenfoldError, UsageError

GREY = (1, 4, 6)


def picture(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array.astype(np.uint8)).save(path)
    return path


def test_a_folder_of_images_is_read_as_for_training(tmp_path: Path) -> None:
    values = np.arange(24).reshape(4, 6) * 10
    picture(tmp_path / "b" / "two.png", values)
    picture(tmp_path / "one.png", np.stack([values] * 3, axis=2))
    (tmp_path / "notes.txt").touch()
    found = read_inputs(tmp_path, GREY, 256)
    assert found.names == ("b/two.png", "one.png")
    assert found.are_pixels
    assert np.array_equal(found.array[0, 0], values)
    assert np.array_equal(found.array[1, 0], values)
    assert read_inputs(tmp_path / "one.png", GREY, 16).array.max() == 230 * 16 // 256
    assert read_inputs(str(tmp_path / "one.png"), (3, 4, 6), 256).array.shape == (1, 3, 4, 6)
    assert read_inputs(tmp_path / "one.png", (1, 2, 2), 256, resize=True).array.shape == (1, 1, 2, 2)


def test_arrays_of_one_or_several(tmp_path: Path) -> None:
    pixels = np.arange(48, dtype=np.int64).reshape(2, *GREY)
    np.save(tmp_path / "a.npy", pixels)
    np.savez(tmp_path / "one.npz", x=pixels[0])
    np.savez_compressed(tmp_path / "two.npz", x=pixels, y=pixels / 48)
    assert read_inputs(tmp_path / "a.npy", GREY, 48).names == ("0", "1")
    assert read_inputs(tmp_path / "one.npz", GREY, 48).array.shape == (1, *GREY)
    floats = read_inputs(tmp_path / "two.npz", GREY, 2, key="y")
    assert not floats.are_pixels
    assert floats.array.dtype == np.float32
    assert read_inputs(torch.zeros(3, *GREY), GREY, 2).array.shape == (3, *GREY)
    assert read_inputs(np.zeros((5, 2)), (5, 2), 2).array.shape == (1, 5, 2)
    assert np.array_equal(read_array(tmp_path / "one.npz"), pixels[0])


def arrays(tmp_path: Path) -> dict[str, Any]:
    np.save(tmp_path / "good.npy", np.zeros((2, *GREY), np.uint8))
    np.save(tmp_path / "objects.npy", np.array([{}, 1], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "objects.npz", x=np.array([{}, 1], dtype=object))
    np.savez(tmp_path / "two.npz", x=np.zeros(GREY), y=np.zeros(GREY))
    np.savez(tmp_path / "none.npz")
    (tmp_path / "text.npy").write_text("no array")
    (tmp_path / "empty.npy").touch()
    (tmp_path / "short.npy").write_bytes((tmp_path / "good.npy").read_bytes()[:140])
    (tmp_path / "short.npz").write_bytes((tmp_path / "two.npz").read_bytes()[:200])
    (tmp_path / "table.txt").touch()
    (tmp_path / "folder").mkdir()
    picture(tmp_path / "wide.png", np.zeros((4, 9)))
    (tmp_path / "broken.png").write_bytes((tmp_path / "wide.png").read_bytes()[:30])
    return {
        "missing": (tmp_path / "no.npy", {}, "no.npy does not exist"),
        "pickled": (tmp_path / "objects.npy", {}, "objects.npy holds pickled objects, and reading them could run code"),
        "pickled-npz": (tmp_path / "objects.npz", {}, "objects.npz holds pickled objects"),
        "several": (tmp_path / "two.npz", {}, "two.npz holds the arrays x, y; choose one"),
        "no-arrays": (tmp_path / "none.npz", {}, "holds the arrays none"),
        "key": (tmp_path / "two.npz", {"key": "z"}, "holds no array 'z'; choose one of x, y"),
        "key-of-npy": (tmp_path / "good.npy", {"key": "z"}, "one array without a name; leave key 'z' out"),
        "key-of-image": (tmp_path / "wide.png", {"key": "z"}, "is no .npz file"),
        "text": (tmp_path / "text.npy", {}, "text.npy is no NumPy file"),
        "empty": (tmp_path / "empty.npy", {}, "empty.npy is no NumPy file"),
        "truncated": (tmp_path / "short.npy", {}, "short.npy is truncated or damaged"),
        "truncated-npz": (tmp_path / "short.npz", {}, "short.npz is truncated or damaged"),
        "suffix": (tmp_path / "table.txt", {}, "table.txt is no image by its name"),
        "folder": (tmp_path / "folder", {}, "holds no image files"),
        "size": (tmp_path / "wide.png", {}, "wide.png is 4x9, but this model reads 4x6; resize it"),
        "damaged": (tmp_path / "broken.png", {}, "broken.png cannot be read"),
        "resize": (tmp_path / "good.npy", {"resize": True}, "arrays are not resized"),
        "levels": (np.full((1, *GREY), 9), {}, r"the array has pixel value 9, outside \[0, 8\).* levels 0 to 7"),
        "negative": (np.full((1, *GREY), -1), {}, "pixel value -1"),
        "shape": (np.zeros((2, 4, 6)), {}, r"has shape \(2, 4, 6\); this model reads \(N, 1, 4, 6\), as \(number"),
        "channels": (np.zeros((2, 3, 4, 6)), {}, r"has shape \(2, 3, 4, 6\); this model reads \(N, 1, 4, 6\)"),
        "no-rows": (np.zeros((0, *GREY)), {}, r"has shape \(0, 1, 4, 6\)"),
        "kind": (np.zeros((1, *GREY), bool), {}, "holds bool; give integers"),
        "complex": (np.zeros((1, *GREY), complex), {}, "holds complex128"),
    }


def test_what_does_not_fit_is_one_sentence(tmp_path: Path) -> None:
    for case, (source, options, message) in arrays(tmp_path).items():
        with pytest.raises(TenfoldError, match=message) as error:
            read_inputs(source, GREY, 8, **options)
        assert isinstance(error.value, UsageError) == (case != "damaged"), case
        assert "\n" not in str(error.value), case


def test_images_for_a_model_of_vectors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"reads vectors of shape \(4, 6\), no images"):
        read_inputs(picture(tmp_path / "a.png", np.zeros((4, 6))), (4, 6), 2)
