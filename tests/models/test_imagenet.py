"""The published ImageNet classifier recognises real photographs."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.architectures import Classifier
from models.explainers.gradcam import gradcam
from models.imagenet import imagenet_classes, imagenet_classifier
from models.preprocessing import prepare

DATA = Path(os.environ.get("RIGHTLY_DATA", "../shared/data")) / "objects"
# Kinds of the photographs whose ImageNet names are plain; others have many breeds or none.
NAMES = {
    "flamingo": "flamingo",
    "panda": "giant panda",
    "llama": "llama",
    "dalmatian": "dalmatian",
}


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return imagenet_classifier()


def test_it_has_the_thousand_classes_and_is_ready_to_use(classifier: Classifier) -> None:
    classes = imagenet_classes()

    assert len(set(classes)) == 1000
    assert classes[0] == "tench"
    assert classes[999] == "toilet tissue"
    assert not classifier.training
    assert classifier.spec.preprocessing.fit == "crop"


def test_normalisation_is_the_one_of_its_training(classifier: Classifier) -> None:
    pixels = torch.tensor([0.0, 127.0, 255.0]).view(1, 1, 1, 3).expand(1, 3, 1, 3)

    found = classifier.normalise(pixels / 255)[0, 0, 0]

    assert found.tolist() == pytest.approx([-127 / 128, 0, 1], abs=1e-6)


def test_gradcam_equals_cam(classifier: Classifier) -> None:
    """Global average pooling and one linear layer follow the target layer."""
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([5, 500])
    weight = classifier.network.get_submodule("_fc").weight[targets]

    maps = torch.einsum("nc,nchw->nhw", weight, classifier.trace(images).activation) / 49

    assert torch.allclose(maps, gradcam(classifier, images, targets).attribution, atol=1e-5)


@pytest.mark.data
def test_it_recognises_real_photographs(classifier: Classifier) -> None:
    if not DATA.is_dir():
        pytest.skip(f"no photographs in {DATA}; point RIGHTLY_DATA at the data folder")
    with (DATA / "manifest.csv").open(newline="") as manifest:
        rows = [row for row in csv.DictReader(manifest) if row["fine_class"] in NAMES][:60]
    hits = 0
    for row in rows:
        with Image.open(DATA / row["path"]) as photograph:
            pixels = prepare(np.array(photograph.convert("RGB")), classifier.spec.preprocessing)
        images = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
        with torch.no_grad():
            decided = int(classifier(images)[0].argmax())
        hits += classifier.spec.classes[decided] == NAMES[row["fine_class"]]

    assert len(rows) == 60
    assert hits / len(rows) >= 0.6
