"""Each method against a slower truth, or against a value worked out by hand."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.architectures import Classifier, build
from models.errors import TrainingError
from models.training import groups, networks
from models.training.alternating import AlternatingRRR
from models.training.another_explanation import find_another_explanation, used_pixels
from models.training.balance import balance
from models.training.batches import batch_of, epoch_order
from models.training.distillation import TEA, geo_l1, last_layer, other_rows
from models.training.exemplary import (
    ExemplaryLearning,
    activation_recalls,
    active,
    by_recall,
    by_reviewer,
    explanation_of,
    named,
    ranked,
)
from models.training.image_sets import ImageSet
from models.training.intervals import Interval, bounds
from models.training.losses.cdep import decompose
from models.training.losses.counterexamples import Counterexamples
from models.training.losses.energy import Energy
from models.training.losses.group_dro import GroupDRO
from models.training.losses.hint import HINTRanking
from models.training.losses.rrclarc import cue_direction
from models.training.losses.rrr import RRR
from models.training.objectives import ERM, Batch, Moment
from models.training.optimizers import TrainingConfig
from models.training.r4 import R4, gradient_bounds
from models.training.robust import IBPEx, PGDEx, RandEx
from models.training.scores import answers
from models.training.trainer import train
from models.types import ClassifierSpec, Preprocessing

CLASSES = ("a", "b", "c")
MOMENT = Moment(step=2, epoch=1, epochs=4, seed=3)


def plain(*layers: nn.Module, layer: str = "1") -> Classifier:
    """A classifier of the given layers in float64 for 8×8 images."""
    spec = ClassifierSpec(
        "tests:plain", CLASSES, Preprocessing(8, 8, (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)), layer
    )
    return Classifier(spec, nn.Sequential(*layers)).double()


def convolutional(seed: int = 0) -> Classifier:
    torch.manual_seed(seed)
    return plain(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 5, 3, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(5, 3),
        layer="4",
    )


def pooled(seed: int = 0) -> Classifier:
    torch.manual_seed(seed)
    return plain(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    )


def rows(count: int = 9) -> ImageSet:
    draw = np.random.default_rng(1)
    cue = np.zeros((count, 8, 8), bool)
    cue[:, :3, :3] = True
    relevant = np.zeros((count, 8, 8), bool)
    relevant[:, 4:, 2:7] = True
    return ImageSet(
        draw.integers(0, 256, (count, 8, 8, 3)).astype(np.uint8),
        np.arange(count) % 3,
        CLASSES,
        tuple(map(str, range(count))),
        relevant=relevant,
        irrelevant=cue,
    )


def batch(count: int = 9) -> Batch:
    made = batch_of(rows(count), np.arange(count))
    return made.showing(made.images.double())


def reach(given: Batch, radius: float) -> Tensor:
    return radius * given.irrelevant[:, None].double()


@pytest.mark.parametrize("make", [convolutional, pooled])
def test_bounds_hold_for_sampled_images(make) -> None:
    network, given = make(), batch()
    box = reach(given, 0.3)
    limits = bounds(network, Interval(given.images - box, given.images + box), "test")[-1]
    generator = torch.Generator().manual_seed(0)
    for _ in range(300):
        moved = given.images + box * (2 * torch.rand(box.shape, generator=generator) - 1).double()
        logits = network(moved)

        assert (logits >= limits.lower - 1e-12).all()
        assert (logits <= limits.upper + 1e-12).all()


@pytest.mark.parametrize("make", [convolutional, pooled])
@pytest.mark.parametrize("radius", [0.0, 0.02, 0.3])
def test_gradient_bounds_hold_for_sampled_images(make, radius: float) -> None:
    network, given = make(), batch()
    box = reach(given, radius)
    limits = gradient_bounds(network, given.images, given.labels, box)
    std = network.std
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        noise = (2 * torch.rand(box.shape, generator=generator) - 1).double()
        moved = (given.images + box * noise).requires_grad_()
        loss = functional.cross_entropy(network(moved), given.labels, reduction="sum")
        slope = torch.autograd.grad(loss, moved)[0] * std  # by the normalised image

        assert (slope >= limits.lower - 1e-10).all()
        assert (slope <= limits.upper + 1e-10).all()
        if radius == 0:
            assert torch.allclose(limits.lower, slope, atol=1e-10)
            assert torch.allclose(limits.upper, slope, atol=1e-10)


def test_r4_refuses_overlapping_pools() -> None:
    network = plain(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(3, stride=1), nn.Flatten(), nn.Linear(64, 3)
    )

    with pytest.raises(TrainingError, match="without overlap"):
        R4().check(network, torch.zeros(1, 3, 8, 8))


def test_cdep_streams_sum_to_the_logits() -> None:
    network, given = convolutional(), batch()
    streams = decompose(network, given.images, given.irrelevant[:, None].double())

    assert torch.allclose(streams.cue + streams.rest, network(given.images), atol=1e-12)


def test_cdep_without_a_mask_gives_everything_to_the_rest() -> None:
    network, given = convolutional(), batch()
    streams = decompose(network, given.images, torch.zeros(9, 1, 8, 8, dtype=torch.float64))

    assert streams.cue.abs().max() == 0


def test_random_signs_average_to_the_full_jacobian() -> None:
    network, given = convolutional(), batch(3)
    mask = given.irrelevant[:, None].double()

    def penalty(signs: Tensor) -> float:
        pixels = given.images.detach().requires_grad_()
        logits = network(pixels)
        logits = logits - logits.mean(1, keepdim=True)
        slope = torch.autograd.grad((signs * logits).sum(), pixels)[0]
        return float(((mask * slope) ** 2).sum())

    every = [penalty(torch.tensor(each).double()) for each in product((-1.0, 1.0), repeat=3)]
    jacobian = [penalty(functional.one_hot(torch.tensor(k), 3).double()) for k in range(3)]

    assert np.mean(every) == pytest.approx(sum(jacobian))


@pytest.mark.parametrize(("norm", "power"), [("l2", 2), ("l1", 1)])
def test_rrr_is_the_formula_of_the_paper_term_by_term(norm: str, power: int) -> None:
    network, given = convolutional(), batch(3)
    expected = 0.0
    for row in range(3):
        pixels = given.images[row : row + 1].clone().requires_grad_()
        slope = torch.autograd.grad(network(pixels).log_softmax(1).sum(), pixels)[0]
        for channel, i, j in product(range(3), range(8), range(8)):
            if given.irrelevant[row, i, j]:
                expected += abs(float(slope[0, channel, i, j])) ** power / 3
    found = RRR(weight=2.0, norm=norm).loss(network, given, MOMENT)

    assert float(found.terms["explanation"]) == pytest.approx(expected)
    assert float(found.total.detach()) == pytest.approx(float(found.terms["label"]) + 2 * expected)


def test_the_conversion_of_rrrs_weight_is_that_of_the_papers_units() -> None:
    """Σ CE + λ1·Σ(A·∂/∂x)² over a batch, x in 0..255, is ours times the batch with λ1/255²."""
    network, given = convolutional(), batch(3)
    coarse = (255 * given.images).requires_grad_()
    logits = network(coarse / 255)
    (slope,) = torch.autograd.grad(logits.log_softmax(1).sum(), coarse)
    masked = (slope * given.irrelevant[:, None]) ** 2
    theirs = functional.cross_entropy(logits, given.labels, reduction="sum") + 1e3 * masked.sum()
    ours = RRR(weight=1e3 / 255**2).loss(network, given, MOMENT).total

    assert float(3 * ours.detach()) == pytest.approx(float(theirs.detach()))


def test_ibp_without_reach_is_the_cross_entropy() -> None:
    network, given = convolutional(), batch()
    found = IBPEx(radius=0.0).loss(network, given, MOMENT)
    expected = ERM().loss(network, given, MOMENT)

    assert float(found.total.detach()) == pytest.approx(float(expected.total.detach()))


def test_pgd_moves_masked_pixels_only_and_makes_things_worse() -> None:
    network, given = convolutional(), batch()
    moved = PGDEx(radius=0.2, steps=5).attack(network, given)
    change = (moved - given.images).abs()
    mask = given.irrelevant[:, None].expand_as(change)
    before = functional.cross_entropy(network(given.images), given.labels)
    after = functional.cross_entropy(network(moved), given.labels)

    assert change[~mask].max() == 0
    assert change.max() <= 0.2 + 1e-12
    assert after > before


@pytest.mark.parametrize(("kind", "power"), [(PGDEx, 2), (IBPEx, 1)])
def test_the_published_combinations_are_the_formulas_read_as_loops(kind, power: int) -> None:
    """P+G: λ·Σ_n ‖h·m‖₂, I+G: λ·Σ|h·m|, with h = ∂Σ_k z_k/∂x; a row without a mask adds none."""
    network, given = convolutional(), batch(4)
    masks = given.irrelevant.clone()
    masks[1] = False
    given = replace(given, irrelevant=masks, annotated=masks.any(2).any(1))
    expected = 0.0
    for row in range(4):
        pixels = given.images[row : row + 1].clone().requires_grad_()
        slope = torch.autograd.grad(network(pixels).sum(), pixels)[0][0]
        total = 0.0
        for channel, i, j in product(range(3), range(8), range(8)):
            if masks[row, i, j]:
                total += abs(float(slope[channel, i, j])) ** power
        expected += total ** (1 / power)
    without = kind().loss(network, given, MOMENT).total
    beside = kind(gradient=0.7, gradient_form="published").loss(network, given, MOMENT).total

    assert float((beside - without).detach()) == pytest.approx(0.7 * expected, rel=1e-9)


@pytest.mark.parametrize("scale", [4.0, 0.25])
def test_geo_l1_costs_errors_of_scale_symmetrically(scale: float) -> None:
    teacher = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0)).sign()

    assert float(geo_l1(scale * teacher, teacher)) == pytest.approx(1.5, rel=1e-4)


def test_geo_l1_of_equal_maps_is_zero_and_of_a_vanishing_map_is_large() -> None:
    teacher = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))

    assert float(geo_l1(teacher, teacher)) == pytest.approx(0)
    assert float(geo_l1(teacher * 1e-6, teacher)) > 100


def test_tea_is_satisfied_with_the_teacher_itself() -> None:
    teacher = convolutional(1)
    made = TEA(teacher)
    student = convolutional(1)
    made.begin(student, rows())

    assert float(made.loss(student, batch(), MOMENT).total.detach()) == pytest.approx(0, abs=1e-9)


def test_tea_copies_and_freezes_the_last_layer_alone() -> None:
    teacher, student = convolutional(1), convolutional(2)
    TEA(teacher).begin(student, rows())

    assert torch.equal(last_layer(student).weight, last_layer(teacher).weight)
    frozen = [each for each, p in student.named_parameters() if not p.requires_grad]
    assert frozen == ["network.6.weight", "network.6.bias"]
    assert not torch.equal(student.network[0].weight, teacher.network[0].weight)


def test_the_teacher_may_see_the_same_rows_of_another_set() -> None:
    clean = rows()
    view = other_rows(clean)
    given = batch().showing(torch.zeros(9, 3, 8, 8))

    assert torch.allclose(view(given), batch().images.float())


def test_hint_is_zero_where_the_order_is_the_peoples() -> None:
    """One channel whose activation is the region itself: importance follows the region."""
    network = plain(nn.Conv2d(3, 1, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                    nn.Linear(1, 3))  # fmt: skip
    given = batch(2)
    with torch.no_grad():
        network.network[0].weight.fill_(1.0)
        network.network[0].bias.fill_(0.0)
        network.network[4].weight.fill_(1.0)
    bright = given.relevant[:, None].double().expand(-1, 3, -1, -1)
    right = HINTRanking().loss(network, given.showing(bright * 0.9 + 0.1), MOMENT)
    wrong = HINTRanking().loss(network, given.showing(1.0 - 0.9 * bright), MOMENT)

    assert float(right.terms["explanation"]) == 0
    assert float(wrong.terms["explanation"]) > 0


def test_energy_is_one_minus_the_share_inside() -> None:
    network, given = convolutional(), batch(4)
    found = Energy(explainer="gradient_x_input").loss(network, given, MOMENT)
    pixels = given.images.clone().requires_grad_()
    logits = network(pixels).gather(1, given.labels[:, None]).sum()
    positive = (torch.autograd.grad(logits, pixels)[0] * pixels).sum(1).relu().detach()
    shares = [float(p[r].sum() / p.sum()) for p, r in zip(positive, given.relevant, strict=True)]

    assert float(found.terms["explanation"]) == pytest.approx(1 - np.mean(shares))


def test_counterexamples_change_irrelevant_pixels_only() -> None:
    given = batch()
    for fill in ("noise", "flat", "colour", "other", "exchange"):
        changed = Counterexamples(fill=fill).replaced(given, torch.Generator().manual_seed(0))
        same = (changed == given.images).all(1)

        assert same[~given.irrelevant].all()
        assert not same[given.irrelevant].all()


def test_exchanged_counterexamples_show_the_mean_colour_under_another_mask() -> None:
    given = batch()
    generator = torch.Generator().manual_seed(3)
    order = torch.randperm(len(given.images), generator=torch.Generator().manual_seed(3))

    changed = Counterexamples(fill="exchange").replaced(given, generator)

    for row, donor in enumerate(order.tolist()):
        colour = given.images[donor][:, given.irrelevant[donor]].mean(1)
        painted = changed[row][:, given.irrelevant[row]]
        assert torch.allclose(colour[:, None].expand_as(painted), painted)


def test_the_share_of_counterexamples_weighs_copies_against_images() -> None:
    network, given = convolutional(), batch()
    found = [Counterexamples(share=each).loss(network, given, MOMENT) for each in (None, 0.25, 1)]

    alike, own, copied = (float(each.total.detach()) for each in found)
    label, explanation = (float(found[0].terms[each]) for each in ("label", "explanation"))
    assert (label + explanation) / 2 == pytest.approx(alike)
    assert 0.75 * label + 0.25 * explanation == pytest.approx(own)
    assert explanation == pytest.approx(copied)


def test_a_share_of_nothing_is_refused() -> None:
    with pytest.raises(TrainingError, match="0 < share"):
        Counterexamples(share=0.0)


def answered(network: Classifier, given: ImageSet) -> ImageSet:
    """The rows with the network's own answers for labels: every one is answered rightly."""
    labels = answers(network, given).logits.argmax(axis=1).astype(np.int64)
    return replace(given, labels=labels)


def test_exbl_is_equations_4_to_9_read_as_loops() -> None:
    torch.manual_seed(0)
    network = unbiased()
    given = answered(network, rows())
    made = ExemplaryLearning(weight=1.0, margin=0.3)
    made.begin(network, given)
    everything = batch_of(given, np.arange(9))
    loss = made.loss(network, everything, MOMENT)
    expected, recalls = [], []
    shown, peaks = [], []
    for row in range(9):
        one = batch_of(given, np.array([row]))
        trace = network.trace(one.images)
        slope = torch.autograd.grad(trace.logits[0, one.labels[0]], trace.activation)[0]
        cam = (slope.mean((2, 3), keepdim=True) * trace.activation).sum(1)[0].detach().numpy()
        grey = functional.adaptive_avg_pool2d(one.images.mean(1), cam.shape)[0].numpy()
        product_map = grey * cam
        shown.append(product_map / max(np.linalg.norm(product_map), 1e-12))
        share = functional.adaptive_avg_pool2d(one.relevant.float(), cam.shape)[0].numpy()
        heat = np.maximum(cam, 0) / max(cam.max(), 1e-30)
        peaks.append(max(cam.max(), 0))
        recalls.append((heat * share).sum() / share.sum())
    alive = [row for row in range(9) if peaks[row] > 0.05 * np.median(peaks)]
    best = max(alive, key=lambda row: recalls[row])
    worst = min(alive, key=lambda row: recalls[row])
    near = [np.linalg.norm(each - shown[best]) for each in shown]
    far = [np.linalg.norm(each - shown[worst]) for each in shown]
    margin = max(0.3, np.quantile(np.subtract(far, near), 0.9))
    expected = [max(a - b + margin, 0) for a, b in zip(near, far, strict=True)]

    assert (made.good.row, made.bad.row) == (best, worst)
    assert made.bad.recall == pytest.approx(recalls[worst], abs=1e-5)
    assert made.in_force == pytest.approx(margin, abs=1e-5)
    assert float(loss.terms["explanation"]) == pytest.approx(np.mean(expected), abs=1e-4)


def test_the_margin_of_exbl_lets_nine_rows_in_ten_learn_at_first() -> None:
    """A margin of .1, as it was, leaves most of these rows without a gradient."""
    network = unbiased()
    given = answered(network, rows(40))
    made = ExemplaryLearning(margin=0.0)
    made.begin(network, given)

    from_where = active(network, given, made.good, made.bad)
    assert np.mean(from_where < made.in_force) >= 0.9
    assert np.mean(from_where < made.in_force) < 1
    unmoved = ExemplaryLearning(margin=5.0)
    unmoved.begin(network, given)
    assert unmoved.in_force == 5.0


def test_evidence_against_the_class_stays_negative() -> None:
    cam = torch.tensor([[[1.0, -1.0], [0.0, 2.0]]])
    shown = explanation_of(torch.ones(1, 3, 4, 4), cam)

    assert torch.allclose(shown, cam / cam.norm())


def unbiased() -> Classifier:
    """A classifier that finds nothing in a black image; maps of 4 × 4 positions."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2, padding=1, bias=False),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(96, 3),
    )
    spec = ClassifierSpec("tests:plain", CLASSES, Preprocessing(8, 8, (0.0,) * 3, (1.0,) * 3), "1")
    return Classifier(spec, network)


def test_an_exemplar_is_answered_rightly() -> None:
    network = unbiased()
    given = answered(network, rows())
    wrong = replace(given, labels=np.where(np.arange(9) < 3, (given.labels + 1) % 3, given.labels))

    assert {each.row for each in ranked(network, given)} & {0, 1, 2}
    assert not {each.row for each in ranked(network, wrong)} & {0, 1, 2}
    with pytest.raises(TrainingError, match="0 cannot be an exemplar: the classifier answers"):
        named(network, wrong, given.ids[0], "Dr. A")
    with pytest.raises(TrainingError, match="of 9 with a region, 0 are answered rightly"):
        ranked(network, replace(given, labels=(given.labels + 1) % 3))


def test_no_exemplar_has_a_dead_map() -> None:
    """Its recall is the least of all, and would be chosen as the bad one."""
    network = unbiased()
    dark = rows().images.copy()
    dark[5] = 0
    given = answered(network, replace(rows(), images=dark))

    assert 5 not in {each.row for each in ranked(network, given)}
    with pytest.raises(TrainingError, match="5 cannot be an exemplar: its map shows no evidence"):
        named(network, given, given.ids[5], "Dr. A")


def test_a_reviewer_chooses_among_the_ranked() -> None:
    network = unbiased()
    candidates = ranked(network, answered(network, rows()))
    names = [each.identifier for each in candidates]
    good, bad = by_reviewer(
        candidates, {names[2]: "right reason", names[5]: "wrong reason"}, "Dr. A"
    )

    assert (good.identifier, bad.identifier) == (names[2], names[5])
    assert good.chosen_by == "Dr. A"
    assert by_recall(candidates)[0].recall >= good.recall
    with pytest.raises(TrainingError, match="1 right-reason and 0 wrong-reason"):
        by_reviewer(candidates, {names[2]: "right reason"}, "Dr. A")


def test_activation_recall_of_the_whole_map_is_its_mean() -> None:
    cam = torch.rand(2, 4, 4, generator=torch.Generator().manual_seed(0))
    whole = torch.ones(2, 8, 8, dtype=torch.bool)
    scaled = cam / cam.amax((1, 2), True)

    assert torch.allclose(activation_recalls(cam, whole), scaled.mean((1, 2)), atol=1e-4)
    norms = explanation_of(torch.rand(2, 3, 8, 8), cam).flatten(1).norm(dim=1)
    assert torch.allclose(norms, torch.ones(2))


def test_the_cue_direction_of_two_balanced_groups_is_their_difference() -> None:
    latents = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    shown = torch.arange(40).fmod(2).float()
    difference = latents[1::2].mean(0) - latents[::2].mean(0)

    assert torch.allclose(cue_direction(latents, shown), difference / difference.norm(), atol=1e-6)
    with pytest.raises(TrainingError, match="no trace"):
        cue_direction(torch.ones(4, 3), torch.tensor([0.0, 1, 0, 1]))


@pytest.mark.parametrize("adjustment", [0.0, 2.0])
def test_group_dro_follows_the_worst_group(adjustment: float) -> None:
    network, given = convolutional(), batch()
    sizes = [5, 3, 1]
    unequal = replace(rows(), groups=np.repeat(np.arange(3), sizes))
    given = replace(given, groups=torch.from_numpy(unequal.groups))
    made = GroupDRO(step=0.5, adjustment=adjustment)
    made.begin(network, unequal)
    each = functional.cross_entropy(network(given.images), given.labels, reduction="none")
    losses = torch.stack([each[given.groups == g].mean() for g in range(3)])
    raised = losses.detach() + adjustment / torch.tensor(sizes).double().sqrt()
    weights = torch.ones(3).double() / 3 * torch.exp(0.5 * raised)
    weights /= weights.sum()
    found = made.loss(network, given, MOMENT)
    expected = (weights * losses).sum()
    parameters = list(network.parameters())
    slopes = torch.autograd.grad(found.total, parameters, retain_graph=True)

    assert float(found.total.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)
    for one, other in zip(slopes, torch.autograd.grad(expected, parameters), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)
    assert torch.allclose(made.state()["weights"].double(), weights)


def test_the_cycle_of_two_stages() -> None:
    made = AlternatingRRR(label_steps=2, explanation_steps=1)
    phases = [made.phase(Moment(step=step)) for step in range(6)]

    assert phases == ["label", "label", "explanation"] * 2


@pytest.mark.parametrize("penalty", ["energy", "share"])
def test_the_cycle_leaves_out_explanation_steps_without_a_region(penalty: str) -> None:
    """Label steps alone, taken by hand in a loop, end at the same weights."""
    bare = replace(rows(), relevant=None, irrelevant=None)
    config = TrainingConfig(
        epochs=2, batch_size=3, device="cpu", weight_decay=0.3, criterion="last"
    )
    made = AlternatingRRR(penalty=penalty)
    trained, expected = convolutional().float(), convolutional().float()
    result = train(trained, made, bare, bare, config)
    decayed = [each for each in expected.parameters() if each.ndim > 1]
    others = [each for each in expected.parameters() if each.ndim == 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.3}, {"params": others, "weight_decay": 0.0}],
        lr=config.learning_rate,
    )
    labels = []
    for step in range(6):
        if step % 2 == 0:
            order = epoch_order(9, seed=0, epoch=step // 3)[step % 3 * 3 :][:3]
            given = batch_of(bare, order)
            optimizer.zero_grad()
            loss = functional.cross_entropy(expected(given.images), given.labels)
            loss.backward()
            optimizer.step()
            labels.append(float(loss.detach()))

    for one, other in zip(trained.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    assert result.history[0].terms["label"] == pytest.approx((labels[0] + labels[1]) / 2)
    assert result.history[1].terms["label"] == pytest.approx(labels[2])


def spread(count: int, seed: int, *, agree: float, strength: int = 15) -> ImageSet:
    """Two classes by the right half's brightness; the left half agrees with share `agree`."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 2, count)
    cue = np.where(draw.random(count) < agree, labels, 1 - labels)
    images = draw.integers(60, 120, (count, 5, 5, 3))
    images[:, :, :2] += 100 * cue[:, None, None, None]
    images[:, :, 3:] += strength * labels[:, None, None, None]
    return ImageSet(
        images.astype(np.uint8),
        labels,
        ("dark", "bright"),
        tuple(map(str, range(count))),
        groups=2 * labels + cue,
    )


def toy(seed: int = 0) -> Classifier:
    torch.manual_seed(seed)
    return build(networks.spec("toy", ("dark", "bright")))


CONFIG = TrainingConfig(epochs=15, batch_size=32, learning_rate=3e-3, device="cpu")


def test_another_explanation_uses_other_pixels() -> None:
    whole = spread(400, 0, agree=1.0, strength=30)
    found = find_another_explanation(
        toy, whole, spread(100, 1, agree=1.0, strength=30), CONFIG, rounds=3, weight=10.0
    )
    used = [used_pixels(each.classifier, whole) for each in found]
    moved = [float(each[:, :, 3:].sum() / each.sum()) for each in used]

    assert found[0].forbidden == 0
    assert found[1].forbidden > 0
    assert moved[2] > moved[0] + 0.2


def worst_group(network: Classifier) -> float:
    found = answers(network, spread(600, 2, agree=0.5))
    return min(float(found.correct[found.groups == g].mean()) for g in range(4))


def test_just_train_twice_and_dfr_help_where_some_rows_contradict_the_cue() -> None:
    biased = spread(600, 0, agree=0.98)
    plainly = toy()
    train(plainly, ERM(), biased, spread(200, 1, agree=0.98), CONFIG)
    before = worst_group(plainly)
    twice, _ = groups.just_train_twice(
        toy, biased, spread(200, 1, agree=0.98), CONFIG, first_epochs=1, upweight=20.0
    )
    groups.refit_last_layer(plainly, spread(300, 3, agree=0.5), fits=5)

    assert worst_group(twice) > before
    assert worst_group(plainly) > before


def test_dfr_needs_groups() -> None:
    with pytest.raises(TrainingError, match="only one"):
        groups.refit_last_layer(toy(), spread(20, 0, agree=1.0).take([0, 0]))


@pytest.mark.parametrize("made", [PGDEx(steps=1), IBPEx(), RandEx()])
def test_balance_finds_the_weight_of_a_robust_methods_gradient(made) -> None:
    network = convolutional().float()
    config = TrainingConfig(epochs=1, batch_size=9, device="cpu")
    found = balance(made, network, rows(), config, warm_up=0)
    terms = found.loss(network, batch_of(rows(), np.arange(9)), MOMENT).terms

    assert found == replace(made, gradient=found.gradient)
    assert float(found.gradient * terms["gradient"]) == pytest.approx(
        float(terms["label"]), rel=1e-4
    )


def test_balance_makes_the_terms_alike() -> None:
    network = convolutional().float()
    config = TrainingConfig(epochs=1, batch_size=9, device="cpu")
    made = balance(RRR(), network, rows(), config, warm_up=0)
    loss = made.loss(network, batch_of(rows(), np.arange(9)), MOMENT)

    assert float(made.weight * loss.terms["explanation"]) == pytest.approx(
        float(loss.terms["label"]), rel=1e-4
    )
    with pytest.raises(TrainingError, match="no weight"):
        balance(ERM(), network, rows(), config)
