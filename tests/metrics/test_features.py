"""The classifier behind the metrics of small runs, and the Inception network of published FIDs."""

import pytest
import torch
from torch import Tensor

from tenfold.data.images.config import ImageDataConfig
from tenfold.data.images.splits import ImageSplits, read_all
from tenfold.data.load import load_images
from tenfold.errors import TenfoldError, UsageError
from tenfold.metrics.features import ClassifierFeatures, InceptionFeatures, train_classifier
from tenfold.metrics.inception import BlockE, InceptionV3, Unit


@pytest.fixture(scope="module")
def digits() -> ImageSplits:
    return load_images(ImageDataConfig(levels=17))


@pytest.fixture(scope="module")
def classifier(digits) -> ClassifierFeatures:
    return train_classifier(digits, steps=80, seed=0)


def test_the_classifier_learns_the_digits_and_standardises_its_features(digits, classifier) -> None:
    images, labels = read_all(digits.test)
    accuracy = float((classifier.predict(images) == labels).double().mean())
    assert accuracy > 0.93
    assert classifier.accuracy > 0.93
    features = classifier(read_all(digits.train)[0])
    assert features.shape == (1297, 32)
    torch.testing.assert_close(features.mean(dim=0), torch.zeros(32), atol=1e-4, rtol=0)
    torch.testing.assert_close(features.std(dim=0), torch.ones(32), atol=1e-4, rtol=0)


def test_the_seed_decides_the_weights(digits) -> None:
    state = torch.get_rng_state()
    first, again, other = (train_classifier(digits, steps=2, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(state, torch.get_rng_state())
    images = read_all(digits.test, 8)[0]
    assert torch.equal(first(images), again(images))
    assert not torch.equal(first(images), other(images))


def test_save_and_load(tmp_path, digits, classifier) -> None:
    path = classifier.save(tmp_path / "extractor")
    loaded = ClassifierFeatures.load(tmp_path / "extractor")
    images = read_all(digits.test, 20)[0]
    assert torch.equal(loaded(images), classifier(images))
    assert (loaded.accuracy, loaded.shape) == (classifier.accuracy, classifier.shape)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(TenfoldError, match="is damaged or no feature extractor"):
        ClassifierFeatures.load(tmp_path / "extractor")
    with pytest.raises(UsageError, match="does not exist"):
        ClassifierFeatures.load(tmp_path)


def test_wrong_images_are_refused(classifier, digits) -> None:
    with pytest.raises(UsageError, match=r"uint8 images of shape \(1, 8, 8\), not torch\.float32"):
        classifier(torch.zeros(2, 1, 8, 8))
    with pytest.raises(UsageError, match="at least two classes"):
        train_classifier(ImageSplits(digits.train, digits.validation, digits.test, 0, (), (1, 8, 8), 17, ""))


def test_inception_has_the_published_size_and_blocks() -> None:
    with torch.device("meta"):
        network = InceptionV3()
    # torchvision's v3 with its auxiliary head has 27,161,264 parameters, the head 3,326,696; 8 classes more here.
    assert sum(p.numel() for p in network.parameters()) == 27_161_264 - 3_326_696 + 8 * 2049
    x = network(torch.empty(2, 3, 299, 299, device="meta"))
    assert x.shape == (2, 2048)
    sizes = {}
    for name in ("Mixed_5d", "Mixed_6a", "Mixed_6e", "Mixed_7a", "Mixed_7c"):
        network.get_submodule(name).register_forward_hook(
            lambda _m, _i, y, name=name: sizes.update({name: y.shape[1:]})
        )
    network(torch.empty(1, 3, 299, 299, device="meta"))
    assert sizes == {
        "Mixed_5d": (288, 35, 35),
        "Mixed_6a": (768, 17, 17),
        "Mixed_6e": (768, 17, 17),
        "Mixed_7a": (1280, 8, 8),
        "Mixed_7c": (2048, 8, 8),
    }


def test_pooling_of_the_last_blocks_is_that_of_the_tensorflow_network() -> None:
    """With weights of one and no normalisation the pooled branch of a constant image is that constant:
    padding is not averaged in. The last block takes the maximum instead."""

    def pooled(maximum: bool, x: Tensor) -> Tensor:
        block = BlockE(1, maximum).eval()
        torch.nn.init.ones_(block.branch_pool.conv.weight)
        return block(x)[:, -192:].detach() * (1 + 1e-3) ** 0.5

    constant = torch.full((1, 1, 4, 4), 3.0)
    torch.testing.assert_close(pooled(False, constant), torch.full((1, 192, 4, 4), 3.0))
    spike = torch.zeros(1, 1, 4, 4)
    spike[..., 0, 0] = 8.0
    corner = [float(pooled(maximum, spike)[0, 0, 0, 0]) for maximum in (False, True)]
    assert corner == pytest.approx([2.0, 8.0], rel=1e-5)


def test_inception_weights_are_read_strictly(tmp_path) -> None:
    torch.manual_seed(0)
    network = InceptionV3().eval()
    state = {key: value for key, value in network.state_dict().items() if not key.endswith("num_batches_tracked")}
    path = tmp_path / "inception.pth"
    torch.save(state, path)
    features = InceptionFeatures(path, levels=17)
    grey = torch.randint(0, 17, (1, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    found = features(grey)
    assert found.shape == (1, 2048)
    resized = torch.nn.functional.interpolate(grey.float() / 8 - 1, (299, 299), mode="bilinear")
    with torch.no_grad():
        torch.testing.assert_close(found, network(resized.expand(-1, 3, -1, -1)))
    for broken, message in (
        ({k: v for k, v in state.items() if k != "fc.bias"}, "missing fc.bias"),
        ({**state, "AuxLogits.fc.weight": torch.zeros(1)}, "extra AuxLogits.fc.weight"),
        ({**state, "fc.bias": torch.zeros(1000)}, r"fc.bias of shape \(1000,\) instead of \(1008,\)"),
    ):
        torch.save(broken, path)
        with pytest.raises(TenfoldError, match=message):
            InceptionFeatures(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(TenfoldError, match="is truncated or not a PyTorch checkpoint"):
        InceptionFeatures(path)
    with pytest.raises(UsageError, match="does not exist"):
        InceptionFeatures(tmp_path / "none.pth")


def test_units_are_named_as_in_the_published_weights() -> None:
    assert set(Unit(1, 2, 1).state_dict()) >= {
        "conv.weight",
        "bn.weight",
        "bn.bias",
        "bn.running_mean",
        "bn.running_var",
    }
    names = set(InceptionV3().state_dict())
    for name in (
        "Conv2d_4a_3x3.conv.weight",
        "Mixed_6e.branch7x7dbl_5.bn.running_var",
        "Mixed_7c.branch3x3dbl_3b.conv.weight",
    ):
        assert name in names
