"""Methods with a teacher, a reviewer or several trainings, as a recipe names them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from models.architectures import Classifier, build, load_weights, save_weights
from models.errors import ModelsError, TrainingError
from models.training import groups, methods, networks, running
from models.training.another_explanation import Round, find_another_explanation, last_accurate
from models.training.batches import batch_of
from models.training.e2kd import E2KD
from models.training.exemplary import named
from models.training.image_sets import ImageSet
from models.training.objectives import Moment
from models.training.optimizers import TrainingConfig
from models.training.recipes import Recipe
from models.training.scores import answers
from models.training.teaching import blackened
from models.training.trainer import Event

CLASSES = ("bright", "dark")
CONFIG = TrainingConfig(epochs=2, batch_size=8, device="cpu")


def rows(count: int, seed: int, *, masked: bool = True, grouped: bool = True) -> ImageSet:
    """Bright and dark discs; a corner shows the label in most rows."""
    draw = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    cue = np.where(draw.random(count) < 0.8, labels, 1 - labels)
    images = draw.integers(40, 90, (count, 16, 16, 3))
    images[:, 5:11, 5:11] += (110 * (1 - labels))[:, None, None, None]
    images[:, :3, :3] = (200 * cue)[:, None, None, None]
    relevant = np.zeros((count, 16, 16), bool)
    relevant[:, 5:11, 5:11] = True
    return ImageSet(
        images.astype(np.uint8),
        labels,
        CLASSES,
        tuple(f"manifest.csv:{row + 2} (images/{seed}-{row}.png)" for row in range(count)),
        relevant=relevant if masked else None,
        groups=2 * labels + cue if grouped else None,
    )


SETS = {"train": rows(32, 0), "val": rows(16, 1)}


def recipe(objective: str, options: dict | None = None, **changes: object) -> Recipe:
    given = {
        "data": "discs",
        "objective": objective,
        "options": options or {},
        "height": 16,
        "training": CONFIG,
    }
    return Recipe(**(given | changes))


def plain(tmp_path: Path) -> str:
    """Return the weights of a classifier that learnt from labels."""
    trained = running.run(recipe("erm"), splits=SETS)
    save_weights(trained.classifier, tmp_path / "plain.safetensors")
    return str(tmp_path / "plain.safetensors")


def test_jtt_is_the_library_function() -> None:
    options = {"first_epochs": 1, "upweight": 7.0}
    trained = running.run(recipe("jtt", options), splits=SETS)

    def fresh() -> Classifier:
        return running.building.build(recipe("jtt"), CLASSES)

    expected, _ = groups.just_train_twice(fresh, SETS["train"], SETS["val"], CONFIG, **options)
    weights = zip(expected.parameters(), trained.classifier.parameters(), strict=True)

    assert all(torch.equal(one, other) for one, other in weights)


def test_the_stages_of_a_method_resume_each_from_its_checkpoint(tmp_path: Path) -> None:
    events: list[Event] = []
    asked = 0

    def ended() -> bool:
        nonlocal asked
        asked += 1
        return asked > 4 + 4 + 2  # in the second epoch of the second training

    whole = running.run(recipe("jtt"), splits=SETS, progress=events.append)
    broken = running.run(recipe("jtt"), splits=SETS, checkpoint=tmp_path / "c", should_stop=ended)
    resumed = running.run(recipe("jtt"), splits=SETS, checkpoint=tmp_path / "c")

    assert {each.stage for each in events} == {"first", "second"}
    assert broken.result.cancelled
    assert not resumed.result.cancelled
    for one, other in zip(
        whole.classifier.parameters(), resumed.classifier.parameters(), strict=True
    ):
        assert torch.equal(one, other)


@pytest.mark.parametrize("held_out", ["val", "train"])
def test_dfr_changes_the_last_layer_alone(tmp_path: Path, held_out: str) -> None:
    options = {"held_out": held_out, "share": 0.5, "fits": 3, "features": plain(tmp_path)}
    before = running.building.build(recipe("erm", weights=options["features"]), CLASSES)
    trained = running.run(recipe("dfr", options), splits=SETS)
    changed = [
        name
        for (name, one), (_, other) in zip(
            before.named_parameters(), trained.classifier.named_parameters(), strict=True
        )
        if not torch.equal(one, other)
    ]
    last = list(dict(before.named_parameters()))[-2:]

    assert changed == last
    assert trained.findings["held_out_rows"] == 16
    assert trained.result.history[-1].stage == "last layer"
    assert 0 <= trained.result.history[-1].validation["worst_group"] <= 1


def test_dfr_learns_its_features_first_where_none_are_given() -> None:
    trained = running.run(recipe("dfr", {"fits": 2}), splits=SETS)

    assert [each.stage for each in trained.result.history] == ["", "", "last layer"]
    assert trained.result.best_epoch == 3


def ended_rounds(*accuracies: float) -> list[Round]:
    return [Round(None, None, 0.0, each, 1.0) for each in accuracies]


def test_the_last_accurate_round_is_taken() -> None:
    assert last_accurate(ended_rounds(0.95, 0.93, 0.8), tolerance=0.05) == 1
    assert last_accurate(ended_rounds(0.95, 0.8), tolerance=0.05) == 0
    assert last_accurate(ended_rounds(0.95, 0.8, 0.94), tolerance=0.05) == 2


def test_other_explanations_end_where_accuracy_or_evidence_ends() -> None:
    def fresh() -> Classifier:
        torch.manual_seed(0)
        return build(networks.spec("toy", CLASSES))

    draw = np.random.default_rng(0)
    labels = np.arange(200) % 2
    images = draw.integers(60, 120, (200, 5, 5, 3))
    images[:, :, :2] += 100 * labels[:, None, None, None]
    one_cue = ImageSet(images.astype(np.uint8), labels, CLASSES, tuple(map(str, range(200))))
    config = TrainingConfig(epochs=5, batch_size=32, learning_rate=3e-3, device="cpu")
    same = find_another_explanation(
        fresh, one_cue, one_cue, config, rounds=4, weight=0.0, least=0.5
    )
    picky = find_another_explanation(
        fresh, one_cue, one_cue, config, rounds=4, weight=1e6, tolerance=0.0, least=0.0
    )

    assert len(same) == 2  # without a penalty the same evidence is found again
    assert same[1].other < 0.5
    assert (same[0].forbidden, same[0].other) == (0, 1)
    assert len(picky) == 2  # all that tells the classes apart is forbidden
    assert picky[0].accuracy > 0.95
    assert picky[1].accuracy < picky[0].accuracy


def test_the_rounds_of_a_recipe_are_all_kept() -> None:
    options = {"rounds": 2, "tolerance": 1.0, "least": 0.0}
    trained = running.run(recipe("find_another_explanation", options), splits=SETS)
    first = running.run(recipe("find_another_explanation", options | {"take": 1}), splits=SETS)

    assert list(trained.others) == ["round-1", "round-2"]
    assert trained.findings["taken"] == 2
    assert [each["forbidden"] > 0 for each in trained.findings["rounds"]] == [False, True]
    assert torch.equal(
        next(first.classifier.parameters()), next(trained.others["round-1"].parameters())
    )


def segmenter(path: Path) -> str:
    """Write a segmenter: brightness of the first channel above a fifth, at half the size."""
    nodes = [
        helper.make_node("Slice", ["x", "zero", "one", "axis"], ["first"]),
        helper.make_node("AveragePool", ["first"], ["half"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Greater", ["half", "limit"], ["above"]),
        helper.make_node("Cast", ["above"], ["y"], to=TensorProto.FLOAT),
    ]
    constants = [
        helper.make_tensor("zero", TensorProto.INT64, [1], [0]),
        helper.make_tensor("one", TensorProto.INT64, [1], [1]),
        helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
        helper.make_tensor("limit", TensorProto.FLOAT, [], [0.4512]),
    ]
    tensor = helper.make_tensor_value_info
    results = [tensor(each, TensorProto.FLOAT, None) for each in ("y",)]
    graph = helper.make_graph(
        nodes, "s", [tensor("x", TensorProto.FLOAT, ["n", 3, 16, 16])], results,
        constants,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path)
    return str(path)


def test_every_teacher_of_tea_can_be_named(tmp_path: Path) -> None:
    given = plain(tmp_path)
    marks = segmenter(tmp_path / "marks.onnx")
    stages: set[str] = set()
    for options, trained_first in (
        ({"teacher": given}, False),
        ({"teacher": given, "view": "same"}, False),
        ({}, True),
        ({"view": "segmented", "segmenter": marks}, True),
        ({"view": "segmented", "segmenter": marks, "teacher": given}, False),
    ):
        stages.clear()
        trained = running.run(
            recipe("tea", options), splits=SETS, progress=lambda each: stages.add(each.stage)
        )

        assert np.isfinite(trained.result.history[-1].terms["total"])
        assert ("teacher" in stages) == trained_first


def test_a_teacher_is_trained_on_unbiased_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is read by the data sets' own reader; here it answers with rows in memory."""
    clean = {"train": rows(16, 5), "val": rows(8, 6)}
    monkeypatch.setattr(running.building, "read_splits", lambda _recipe: clean)
    stages: list[str] = []
    running.run(
        recipe("e2kd", {"view": "same", "unbiased": str(tmp_path)}),
        splits=SETS,
        progress=lambda each: stages.append(each.stage),
    )

    assert stages == ["teacher", "teacher", "", ""]


def test_the_segmented_teacher_needs_no_masks_in_the_data(tmp_path: Path) -> None:
    bare = {"train": rows(16, 0, masked=False), "val": rows(8, 1, masked=False)}
    options = {"view": "segmented", "segmenter": segmenter(tmp_path / "marks.onnx")}
    running.run(recipe("tea", options), splits=bare)
    found = running.teaching.segmenting.marked(bare, tmp_path / "marks.onnx")["train"]
    brightness = bare["train"].images[..., 0].reshape(16, 8, 2, 8, 2).mean((2, 4)) / 255
    expected = (brightness > 0.4512).repeat(2, 1).repeat(2, 2)

    np.testing.assert_array_equal(found.relevant, expected)
    with pytest.raises(TrainingError, match="no row marks any"):
        running.run(recipe("tea"), splits=bare)


def test_blackened_rows_keep_what_is_relevant() -> None:
    whole = SETS["train"]
    shown = blackened(whole)

    assert (shown.images[whole.relevant] == whole.images[whole.relevant]).all()
    assert not shown.images[~whole.relevant].any()


def test_stored_answers_of_the_teacher_are_its_own() -> None:
    torch.manual_seed(0)
    teacher, student = (build(running.building.spec_of(recipe("erm"), CLASSES)) for _ in range(2))
    batch = batch_of(SETS["train"], np.arange(3, 9))
    totals = []
    for stored in (True, False):
        made = E2KD(teacher, weight=2.0, temperature=3.0, stored=stored)
        made.begin(student.eval(), SETS["train"])
        totals.append(float(made.loss(student, batch, Moment()).total.detach()))

    assert totals[0] == pytest.approx(totals[1], rel=1e-5)


def test_e2kd_of_the_teacher_itself_is_zero_and_its_formula_is_a_loop() -> None:
    torch.manual_seed(0)
    teacher, student = (
        build(running.building.spec_of(recipe("erm"), CLASSES)).double().eval() for _ in range(2)
    )
    batch = batch_of(SETS["train"], np.arange(4))
    batch = batch.showing(batch.images.double())
    made = E2KD(teacher, weight=2.0, temperature=3.0, stored=False)
    made.begin(student, SETS["train"])
    total = float(made.loss(student, batch, Moment()).total.detach())
    expected = 0.0
    for row in range(4):
        maps, logits = [], []
        for network in (teacher, student):
            trace = network.trace(batch.images[row : row + 1])
            if not logits:
                first = int(trace.logits.argmax())
            slope = torch.autograd.grad(trace.logits[0, first], trace.activation)[0]
            maps.append((slope.mean((2, 3), keepdim=True) * trace.activation).sum(1)[0].detach())
            logits.append(trace.logits[0].detach())
        p, q = ((each / 3.0).softmax(0) for each in logits)
        cosine = (maps[0] * maps[1]).sum() / (maps[0].norm() * maps[1].norm())
        expected += float(9.0 * (p * (p / q).log()).sum() + 2.0 * (1 - cosine)) / 4

    assert total == pytest.approx(expected, rel=1e-6)
    itself = made.loss(made.teacher, batch, Moment()).total

    assert float(itself.detach()) == pytest.approx(0, abs=1e-6)


@pytest.fixture(scope="module")
def learned(tmp_path_factory) -> str:
    """The weights of a classifier that answers the training rows rightly."""
    longer = replace(CONFIG, epochs=20, learning_rate=1e-2)
    trained = running.run(recipe("erm", training=longer), splits=SETS)
    assert answers(trained.classifier, SETS["train"]).correct.all()
    path = tmp_path_factory.mktemp("learned") / "weights.safetensors"
    save_weights(trained.classifier, path)
    return str(path)


def test_a_reviewer_names_the_exemplars_in_the_recipe(learned: str) -> None:
    options = {"good_image": "images/0-4.png", "bad_image": SETS["train"].ids[7],
               "reviewer": "Dr. A"}  # fmt: skip
    trained = running.run(recipe("exbl", options, weights=learned), splits=SETS)

    assert trained.findings["good"]["image"] == SETS["train"].ids[4]
    assert trained.findings["bad"]["image"] == SETS["train"].ids[7]
    assert trained.findings["good"]["chosen_by"] == "Dr. A"
    assert 0 <= trained.findings["good"]["activation_recall"] <= 1
    assert trained.findings["margin"] >= 1
    by_recall = running.run(recipe("exbl", weights=learned), splits=SETS).findings
    assert by_recall["good"]["chosen_by"] == "recall"


def test_exbl_refuses_to_begin_with_a_classifier_that_has_learnt_nothing() -> None:
    bright = replace(SETS["train"], labels=SETS["train"].labels * 0)
    fresh = build(running.building.spec_of(recipe("erm"), CLASSES))
    with torch.no_grad():
        fresh.network[-1].bias.copy_(torch.tensor([-1e3, 1e3]))

    with pytest.raises(TrainingError, match=r"answers rightly.*Begin with a trained classifier"):
        methods.objective("exbl").begin(fresh, bright)


def test_a_named_exemplar_needs_no_region(learned: str) -> None:
    bare = replace(SETS["train"], relevant=None, annotated=None)
    classifier = build(running.building.spec_of(recipe("erm"), CLASSES))
    load_weights(classifier, Path(learned))
    found = named(classifier, bare, "0-3.png", "Dr. A")
    trained = running.run(
        recipe("exbl", {"good_image": "0-3.png", "bad_image": "0-4.png"}, weights=learned),
        splits={**SETS, "train": bare},
    )

    assert found.row == 3
    assert np.isnan(found.recall)
    assert trained.findings["bad"]["activation_recall"] is None


@pytest.mark.parametrize(
    ("objective", "options", "words"),
    [
        ("magic", {}, "none of erm, .*tea, e2kd, jtt, dfr, find_another_explanation"),
        ("jtt", {"epochs": 2}, "jtt has no option 'epochs'; it has first_epochs, upweight"),
        ("jtt", {"upweight": "much"}, "upweight is 'much', needed is a float such as 50.0"),
        ("dfr", {"held_out": "test"}, "needed is 'val', or 'train'"),
        ("dfr", {"held_out": "train", "share": 1.0}, "share 1.0"),
        ("dfr", {"features": "nowhere"}, "nowhere"),
        ("find_another_explanation", {"rounds": 1, "take": 2}, "no round 2 to take"),
        ("tea", {"view": "blurred"}, "'blurred' is none of masked, segmented, same"),
        ("tea", {"view": "same"}, "either teacher=weights.safetensors or unbiased=FOLDER"),
        ("tea", {"view": "segmented"}, "a segmenter go together"),
        ("tea", {"unbiased": "folder"}, "for a teacher with --option view=same"),
        ("tea", {"weight": 1}, "tea has no option 'weight'; it has teacher, view"),
        ("e2kd", {"view": "segmented", "segmenter": "nowhere"}, "no segmenter at nowhere"),
        ("e2kd", {"temperature": 0}, "temperature is 0, needed is above 0"),
        ("exbl", {"good_image": "0-3.png"}, "both good_image and bad_image, or neither"),
        ("exbl", {"good_image": "x.png", "bad_image": "0-3.png"}, "'x.png' is the name of 0 rows"),
        ("exbl", {"good_image": ".png", "bad_image": "0-3.png"}, "is the name of 0 rows"),
    ],
)
def test_what_cannot_run_says_why(objective: str, options: dict, words: str) -> None:
    with pytest.raises(ModelsError, match=words):
        running.run(recipe(objective, options), splits=SETS)


def test_dfr_refuses_data_without_groups() -> None:
    bare = {"train": rows(16, 0, grouped=False), "val": rows(8, 1, grouped=False)}
    with pytest.raises(TrainingError, match="the held-out rows name none: fill the column"):
        running.run(recipe("dfr"), splits=bare)


def test_a_procedure_has_no_weight_to_balance() -> None:
    with pytest.raises(TrainingError, match="jtt has no weight to balance"):
        running.run(recipe("jtt", balance={"ratio": 1.0}), splits=SETS)


def test_a_segmenter_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("no model")
    options = {"view": "segmented", "segmenter": str(tmp_path / "text.onnx")}
    with pytest.raises(TrainingError, match=r"text.onnx cannot be used: text.onnx is not an ONNX"):
        running.run(recipe("tea", options), splits=SETS)
