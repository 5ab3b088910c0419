"""Assigners: the reference's results stage by stage, transcriptions with loops, invariants of DCFL, and the audit."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tenfold.detection import geometry
from tenfold.detection.assign import (
    BACKGROUND,
    IGNORED,
    AtssOptions,
    DcflOptions,
    DcflStages,
    GaussianRankingOptions,
    MaxIouOptions,
    Predictions,
    Priors,
    TaskAlignedOptions,
    WassersteinRankingOptions,
    assign_priors,
    audit_assignment,
    dcfl_stages,
    grid_priors,
)
from tenfold.detection.assign import dcfl as dcfl_module
from tenfold.errors import UsageError

CODER = geometry.BoxCoder()


class Case:
    """A case of the fixture in float64."""

    def __init__(self, file: np.lib.npyio.NpzFile, number: int) -> None:
        self.file, self.number = file, number
        self.objects, self.labels = self["gt"].double(), self["gt_labels"]
        levels = tuple(self["num_level"].tolist())
        self.priors = Priors(self["static_priors"].double(), levels, self["priors"].double())
        boxes = CODER.decode(self.priors.boxes, self["reg_deltas"].double().T)
        self.predictions = Predictions(self["cls_logits"].double().T, boxes)
        k, q, g = self["hyper"].tolist()
        self.options = DcflOptions(int(k), int(q), g, min_positives=0)

    def __getitem__(self, name: str) -> Tensor:
        return torch.from_numpy(np.atleast_1d(self.file[f"c{self.number}_{name}"]))

    def stages(self, **changes: object) -> DcflStages:
        options = DcflOptions(**{**vars(self.options), **changes})
        return dcfl_stages(self.objects, self.priors, self.predictions, options)


@pytest.fixture(scope="module", params=range(4))
def case(request: pytest.FixtureRequest) -> Case:
    file = np.load(Path(__file__).parents[1] / "fixtures" / "oriented_tiny_detection" / "assigner.npz")
    return Case(file, request.param)


def reference(values: Tensor) -> Tensor:
    """0 for background, −1 for ignored, i + 1 for object i, as numbers of ours."""
    return torch.where(values > 0, values - 1, torch.where(values == 0, BACKGROUND, IGNORED)).long()


def test_reference(case: Case) -> None:
    found = dcfl_module.similarity(case.objects, case.priors.moved, "gjsd")
    assert (found - case["similarity"]).abs().max() < 1e-9
    decoded = case["decoded"]
    assert (case.predictions.boxes[:, :4] - decoded[:, :4]).abs().max() < 1e-4
    stages = case.stages()
    assert torch.equal(stages.coarse, reference(case["coarse_gt_inds"]))
    assert torch.equal(stages.posterior, reference(case["clean_posterior_gt_inds"]))
    assert torch.equal(stages.fine, reference(case["clean_final_gt_inds"]))
    rows = stages.posterior >= 0
    assert (stages.mixture - case["clean_mixture_value"])[rows].abs().max() < 1e-9
    if not case["deficient"].any():
        assert torch.equal(stages.posterior, reference(case["posterior_gt_inds"]))
        assert torch.equal(stages.fine, reference(case["final_gt_inds"]))
        labels = torch.where(stages.fine >= 0, case.labels[stages.fine.clamp(min=0)], -1)
        assert torch.equal(labels, case["final_labels"].long())


def test_small_pieces_change_nothing(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = case.stages()
    monkeypatch.setattr(dcfl_module, "_ELEMENTS", 1)
    assert all(torch.equal(one, other) for one, other in zip(case.stages(), whole, strict=True))


def counts(assigned: Tensor, objects: int) -> Tensor:
    return torch.bincount(assigned[assigned >= 0], minlength=objects)


def test_stages_narrow(case: Case) -> None:
    stages, g = case.stages(), len(case.objects)
    assert int(counts(stages.coarse, g).max()) <= case.options.candidates
    assert int(counts(stages.posterior, g).max()) <= case.options.kept
    for before, after in ((stages.coarse, stages.posterior), (stages.posterior, stages.fine)):
        chosen = after >= 0
        assert torch.equal(after[chosen], before[chosen])
        assert bool((after[(before >= 0) & ~chosen] == BACKGROUND).all())
        assert torch.equal(after[before < 0], before[before < 0])
    assert torch.equal(case.stages(threshold=1e9).fine, stages.posterior)
    assert torch.equal(case.stages(constraint="none").fine, stages.posterior)
    assert torch.equal(case.stages(kept=case.options.candidates).posterior, stages.coarse)
    assert torch.equal(case.stages(posterior=False).posterior, stages.coarse)
    for least in (1, 3):
        rescued = case.stages(min_positives=least)
        available = counts(rescued.posterior, g)
        assert bool((counts(rescued.fine, g) >= available.clamp(max=least)).all())
        kept = stages.fine >= 0
        assert torch.equal(rescued.fine[kept], stages.fine[kept])


def test_constraints(case: Case) -> None:
    stages = case.stages(constraint="gaussian", threshold=1.2)
    rows = (stages.posterior >= 0).nonzero()[:, 0]
    own = case.objects[stages.posterior[rows]]
    covariance = geometry.gaussian_of(own)[1]
    away = case.priors.moved[rows, :2] - own[:, :2]
    value = (-0.5 * torch.einsum("ni,nij,nj->n", away, torch.linalg.inv(covariance), away)).exp()
    assert torch.allclose(stages.mixture[rows], value)
    assert torch.equal(stages.fine[rows] >= 0, value >= math.exp(-1.2))
    circle = case.stages(constraint="circle").fine[rows] >= 0
    assert torch.equal(circle, away.square().sum(1) <= 2.25 * own[:, 2:4].square().sum(1) / 4)


def test_metric_and_prior(case: Case) -> None:
    found = case.stages(metric="iou", prior="static").coarse
    iou = geometry.box_iou(case.objects, case.priors.boxes)
    for g in range(len(case.objects)):
        mine = (found == g).nonzero()[:, 0]
        least = iou[g].topk(case.options.candidates).values[-1]
        assert bool((iou[g, mine] >= least).all())
        wanted = (iou[g] >= least).nonzero()[:, 0]
        assert bool((found[wanted] >= g).all())  # a later one may have it


def test_what_must_not_matter(case: Case) -> None:
    plain = case.stages()
    order = torch.randperm(len(case.priors.boxes), generator=torch.Generator().manual_seed(1))
    mixed = Priors(case.priors.boxes[order], (len(order),), case.priors.moved[order])
    said = Predictions(case.predictions.logits[order], case.predictions.boxes[order])
    assert torch.equal(dcfl_stages(case.objects, mixed, said, case.options).fine, plain.fine[order])
    shift = torch.tensor([4000.0, -900, 0, 0, 0], dtype=torch.float64)
    moved = Priors(case.priors.boxes + shift, case.priors.levels, case.priors.moved + shift)
    there = Predictions(case.predictions.logits, case.predictions.boxes + shift)
    assert torch.equal(dcfl_stages(case.objects + shift, moved, there, case.options).fine, plain.fine)
    assert torch.equal(
        dcfl_stages(case.objects.float(), _single(case.priors), _single(case.predictions), case.options).coarse,
        plain.coarse,
    )


def _single(table):
    return type(table)(*(v.float() if isinstance(v, Tensor) else v for v in vars(table).values()))


ALL = {
    "dcfl": DcflOptions(),
    "max-iou": MaxIouOptions(),
    "atss": AtssOptions(),
    "tal": TaskAlignedOptions(),
    "gaussians": GaussianRankingOptions(),
    "wasserstein": WassersteinRankingOptions(),
}


@pytest.mark.parametrize("name", ALL)
def test_every_assigner(case: Case, name: str) -> None:
    found = assign_priors(case.objects, case.labels, case.priors, ALL[name], case.predictions)
    assert found.shape == (len(case.priors.boxes),)
    assert int(found.min()) >= IGNORED
    assert BACKGROUND <= int(found.max()) < len(case.objects)
    none = assign_priors(case.objects[:0], case.labels[:0], case.priors, ALL[name], case.predictions)
    assert bool((none == BACKGROUND).all())


@pytest.fixture(scope="module")
def grid() -> Priors:
    return grid_priors([(12, 12), (6, 6), (3, 3)], [8, 16, 32], scale=2.0)


@pytest.fixture(scope="module")
def objects() -> Tensor:
    return torch.tensor(
        [[20.0, 22, 14, 10, 0.4], [22, 24, 40, 30, 0.1], [70.3, 70.9, 4, 4, 0], [50.3, 20.6, 16, 16, 0.5]]
    )


def test_grid(grid: Priors) -> None:
    assert grid.levels == (144, 36, 9)
    assert grid.boxes[145].tolist() == [16, 0, 32, 32, 0]
    assert grid.level.bincount().tolist() == [144, 36, 9]
    assert grid_priors([(1, 1)], [4], offset=0.5).boxes.tolist() == [[2, 2, 16, 16, 0]]


def test_max_iou(grid: Priors, objects: Tensor) -> None:
    iou = geometry.box_iou(objects, grid.boxes)
    found = assign_priors(objects, torch.zeros(4).long(), grid, MaxIouOptions(0.4, 0.3, match_best=False))
    for n in range(len(grid.boxes)):
        most = float(iou[:, n].max())
        want = int(iou[:, n].argmax()) if most >= 0.4 else IGNORED if most >= 0.3 else BACKGROUND
        assert int(found[n]) == want
    assert not bool((found == 2).any())
    matched = assign_priors(objects, torch.zeros(4).long(), grid, MaxIouOptions(0.4, 0.3))
    assert torch.equal(matched == 2, (iou[2] == iou[2].max()))
    far = objects + torch.tensor([1e4, 0, 0, 0, 0])
    assert bool((assign_priors(far, torch.zeros(4).long(), grid, MaxIouOptions()) == BACKGROUND).all())


def test_atss(grid: Priors, objects: Tensor) -> None:
    found = assign_priors(objects, torch.zeros(4).long(), grid, AtssOptions(4))
    best = torch.full((len(grid.boxes),), -1.0)
    want = torch.full((len(grid.boxes),), BACKGROUND)
    for g, box in enumerate(objects):
        near, start = [], 0
        for count in grid.levels:
            away = (grid.boxes[start : start + count, :2] - box[:2]).norm(dim=1)
            near += (away.argsort()[:4] + start).tolist()
            start += count
        iou = geometry.box_iou(box[None], grid.boxes[near])[0]
        limit = iou.mean() + iou.std()
        for n, value in zip(near, iou, strict=True):
            point = torch.cat([grid.boxes[n, :2], torch.full((2,), 1e-3), torch.zeros(1)])
            if value >= limit and value > best[n] and float(geometry.paired_iou(point, box, "first")) > 0.5:
                best[n], want[n] = value, g
    assert torch.equal(found, want)
    assert int((found >= 0).sum()) > 4


def test_task_alignment(grid: Priors, objects: Tensor) -> None:
    draw = torch.Generator().manual_seed(0)
    said = Predictions(torch.randn(len(grid.boxes), 3, generator=draw), grid.boxes)
    labels = torch.tensor([0, 1, 2, 0])
    found = assign_priors(objects, labels, grid, TaskAlignedOptions(5), said)
    iou = geometry.box_iou(objects, grid.boxes)
    for g in range(4):
        mine = found == g
        assert int(mine.sum()) <= 5
        value = said.logits[:, labels[g]].sigmoid() * iou[g] ** 6
        others = (found == BACKGROUND) & (iou[g] > 0)
        centres = torch.cat([grid.boxes[:, :2], torch.full((189, 2), 1e-3), torch.zeros(189, 1)], 1)
        inside = geometry.box_iou(centres, objects[g : g + 1], "first")[:, 0] > 0.5
        assert bool(inside[mine].all())
        if int(mine.sum()) == 5:
            assert float(value[mine].min()) >= float(value[others & inside].max())
    with pytest.raises(UsageError, match="TaskAlignedOptions ranks by predictions"):
        assign_priors(objects, labels, grid, TaskAlignedOptions())
    with pytest.raises(UsageError, match="DcflOptions ranks by predictions"):
        assign_priors(objects, labels, grid, DcflOptions())


def test_rankings_leave_no_object_alone(grid: Priors, objects: Tensor) -> None:
    for options in (GaussianRankingOptions(), WassersteinRankingOptions(), DcflOptions(posterior=False)):
        found = assign_priors(objects, torch.zeros(4).long(), grid, options)
        assert bool((counts(found, 4) > 0).all()), options
    one = assign_priors(objects[3:], torch.zeros(1).long(), grid, GaussianRankingOptions(3, 0))
    best = (1 / (1 + geometry.gjsd(objects[3:], grid.boxes)))[0].topk(3).indices
    assert set(one.nonzero()[:, 0].tolist()) | set(best.tolist()) == set(range(len(one)))
    assert set((one == 0).nonzero()[:, 0].tolist()) == set(best.tolist())
    distance = geometry.squared_wasserstein(objects[3:], grid.boxes).sqrt()
    other = assign_priors(objects[3:], torch.zeros(1).long(), grid, WassersteinRankingOptions(2))
    assert set((other == 0).nonzero()[:, 0].tolist()) == set(distance.topk(2, largest=False).indices.tolist())


def test_audit(grid: Priors, objects: Tensor) -> None:
    labels = torch.zeros(4).long()
    pictures = [objects, objects[2:3], objects[:0]]
    assigned = [assign_priors(p, labels[: len(p)], grid, MaxIouOptions(match_best=False)) for p in pictures]
    found = audit_assignment(pictures, [grid] * 3, assigned)
    positives = torch.cat([counts(a, len(p)) for a, p in zip(assigned, pictures, strict=True)]).double()
    assert found.total.objects == 5
    assert found.total.positives == pytest.approx(float(positives.mean()))
    assert found.total.without == pytest.approx(float((positives == 0).double().mean()))
    assert found.by_size[1] == (4.0, 6.0, 2, 0.0, 1.0)
    assert math.isnan(found.by_size[0].positives)
    assert sum(row.objects for row in found.by_angle) == 2  # three are squares
    assert [row.objects for row in found.by_crowd] == [5, 0, 0, 0, 0]
    assert sum(found.levels) == pytest.approx(1)
    assert 0 < found.distance < 20


def test_refused() -> None:
    for make, message in (
        (lambda: DcflOptions(kept=20), "kept is 20, of 16 candidates"),
        (lambda: DcflOptions(metric="giou"), "metric is 'giou'"),
        (lambda: DcflOptions(constraint="gmm"), "constraint is 'gmm'; did you mean 'dgmm'"),
        (lambda: MaxIouOptions(0.3, 0.4), "negative is 0.4 and positive 0.3"),
        (lambda: GaussianRankingOptions(decay=0), "decay is 0"),
        (lambda: WassersteinRankingOptions(constant=0), "constant is 0"),
        (lambda: Priors(torch.zeros(3, 5), (2,), torch.zeros(3, 5)), "levels hold 2 priors and there are 3"),
    ):
        with pytest.raises(UsageError, match=message):
            make()
