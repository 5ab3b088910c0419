"""A detector as the training loop and the verbs see it."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tenfold.detection.assign.choosing import named_assigner
from tenfold.detection.data.augment import changed
from tenfold.detection.data.pictures import NOBODY, LabelledPictures, PictureSplits, read_splits
from tenfold.detection.finding.drawing import draw_found
from tenfold.detection.finding.files import detect_files
from tenfold.detection.geometry.boxes import outlines
from tenfold.detection.learning import stage_losses
from tenfold.detection.measuring import average_precision_50, detect_all, measure, padded_rows
from tenfold.detection.models.backbones import ResNet50
from tenfold.detection.models.detector import Detector
from tenfold.detection.models.output import DenseOutput
from tenfold.detection.options import PictureDetection
from tenfold.detection.recipes import DetectorRecipe
from tenfold.detection.symmetry import agreement, second_view
from tenfold.detection.weights import load_backbone
from tenfold.figures import write_captions
from tenfold.nn.cost import traced, training_bytes
from tenfold.runs.measurement import Measurement
from tenfold.runs.outcome import Outcome
from tenfold.training.optimizers import adamw_of_matrices
from tenfold.training.streams import Draws
from tenfold.training.task import Batch, Metric, Update, mean_count


class DetectorTask:
    """A detector, its pictures and its assigner; AP50 on the validation pictures chooses the checkpoint."""

    def __init__(self, recipe: DetectorRecipe, name: str = "detection") -> None:
        self.recipe, self.name, self._device = recipe, name, torch.device("cpu")
        self.assigner = named_assigner(
            recipe.objective.assigner, recipe.objective.dcfl, recipe.objective.max_iou, recipe.model.scale
        )
        classes = len(recipe.model.classes)
        self.metric = Metric("AP50", True, lambda values: {"AP50": average_precision_50(values, classes)})

    @cached_property
    def model(self) -> Detector:
        """The detector: fresh, or what ``load`` read."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.train.seed)
            made = Detector(self.recipe.model)
        if self.recipe.objective.backbone and isinstance(made.backbone, ResNet50):
            load_backbone(made.backbone, self.recipe.objective.backbone)
        return made

    @cached_property
    def splits(self) -> PictureSplits:
        """The data."""
        return read_splits(self.recipe.data, self.recipe.model.classes)

    # --- training ---------------------------------------------------------------------------------------------

    def modules(self) -> dict[str, nn.Module]:
        """The detector."""
        return {"detector": self.model}

    def optimizers(self, modules: Mapping[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """AdamW."""
        return {"detector": adamw_of_matrices(modules["detector"].parameters(), self.recipe.train)}

    def train_source(self) -> LabelledPictures:
        """The training pictures."""
        return self.splits.train

    def validation_source(self) -> LabelledPictures | None:
        """Those that choose the checkpoint; None where there are none, so that the last one is kept."""
        return self.splits.validation if len(self.splits.validation) else None

    def step(self, modules: Mapping[str, nn.Module], batch: Batch, draws: Draws) -> Iterator[Update]:
        """One update: priors are assigned by what the network says now, and learn their objects."""
        given = outlines(batch["boxes"]) if self.recipe.data.upright else batch["boxes"]
        index, objective = batch["index"], self.recipe.objective
        pictures, boxes, labels = changed(
            batch["image"].float(), given, batch["label"], index, draws, self.recipe.augmentation
        )
        number = mean_count(batch, "objects", self.counts(batch, draws)["objects"])
        if objective.symmetry:
            view = second_view(pictures, boxes, labels, index, draws)
            both = self._said(modules, torch.cat([pictures, view.pictures]), torch.cat([boxes, view.boxes]))
            output = both.half(0)
            agreed = objective.symmetry * agreement(both, boxes, labels, view, self.assigner) / number
        else:
            output = self._said(modules, pictures, boxes)
            agreed = number.new_zeros(())
        stages = stage_losses(output, boxes, labels, self.assigner, number, objective.box_loss)
        of_classes = torch.stack([stage.classes for stage in stages]).sum()
        of_boxes = torch.stack([stage.boxes for stage in stages]).sum()
        of_quality = torch.stack([stage.quality for stage in stages]).sum()
        loss = of_classes + objective.box_weight * of_boxes + of_quality + agreed
        found = stages[0]  # the one that the assigner is for
        told = {
            "loss_classes": of_classes.detach(),
            "loss_boxes": of_boxes.detach(),
            "positives": found.positives,
            "without": found.without,
            "confidence_very_tiny": found.confidence[0],
            "confidence_larger": found.confidence[1],
        }
        yield Update("detector", loss, told, {"classes": of_classes.detach(), "boxes": of_boxes.detach()})

    def _said(self, modules: Mapping[str, nn.Module], pictures: Tensor, boxes: Tensor) -> DenseOutput:
        """What the network says; Oriented R-CNN looks at the objects beside its proposals."""
        proposes = self.recipe.model.head in ("oriented-rcnn", "dcfl-oriented-rcnn")
        output: DenseOutput = modules["detector"](pictures, boxes) if proposes else modules["detector"](pictures)
        return output

    def counts(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """Objects, which losses are means over."""
        return {"objects": (batch["label"] != NOBODY).sum()}

    def validate(self, modules: Mapping[str, nn.Module], batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """Detections and objects of each picture, of which ``metric`` makes AP50."""
        found = padded_rows(modules["detector"](batch["image"].float()), batch["size"], self.recipe.evaluation)
        objects = torch.cat([batch["boxes"], batch["label"][..., None]], -1)
        return {"found": found, "objects": objects}

    def state_dict(self) -> dict[str, Any]:
        """None besides the weights."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing."""

    # --- use --------------------------------------------------------------------------------------------------

    def export(self, folder: Path) -> None:
        """Write the model folder."""
        self.model.save_pretrained(folder, {"name": self.name})

    def load(self, folder: Path | str) -> None:
        """Take the model of a folder."""
        self.model = Detector.from_pretrained(folder).to(self._device)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> None:
        """Move the detector."""
        self._device = torch.device(device)
        self.model.to(device, dtype)

    def evaluate(self) -> list[Measurement]:
        """AP by size on the test pictures, and what the assigner gives to their objects."""
        return measure(self.model.eval(), self.splits.test, self.assigner, self.recipe.evaluation)

    def figures(self, directory: Path) -> list[Path]:
        """Test pictures with what was found in them."""
        test = self.splits.test.chosen(range(min(6, len(self.splits.test))))
        found = detect_all(self.model.eval(), test, self.recipe.evaluation)
        directory.mkdir(parents=True, exist_ok=True)
        files, captions = [], {}
        for k in range(len(test)):
            rows = found.image == k
            file = directory / f"found-{test.labels.images[k]}.png"
            files.append(
                draw_found(test.pictures[k], found.boxes[rows], found.label[rows], found.classes, file,
                           objects=test.labels.boxes[test.rows[k]])
            )  # fmt: skip
            captions[file.name] = (
                f"Picture {test.labels.images[k]} of the test split: objects in white, what was found by class."
            )
        write_captions(directory, captions)
        return files

    def detect(self, options: PictureDetection, inputs: str | None, figures: Path) -> Outcome:
        """Boxes in pictures of any size: annotated pictures, DOTA's text, COCO's and GeoJSON."""
        return detect_files(self.model.eval(), inputs, options, figures)

    @staticmethod
    def describe(recipe: DetectorRecipe) -> dict[str, Any]:
        """Size and cost of a recipe, from a network on the meta device, for a picture of 800 × 800 pixels where they
        are read from a folder."""
        train, data = recipe.train, recipe.data
        side = 32 * -(-data.aerotiny.size // 32) if data.source == "aerotiny" else 800
        rows = train.batch_size // train.accumulate
        seen = 2 * rows if recipe.objective.symmetry else rows
        model = DetectorTask(recipe).model.to("meta")
        flops, kept = traced(lambda: model(torch.zeros(seen, 3, side, side, device="meta")))
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        count = sum(p.numel() for p in model.parameters())
        return {
            "parameters": count,
            "forward_flops_per_picture": flops // seen,
            "flops_per_step": 3 * flops * train.accumulate,
            **training_bytes(count, trained, kept, 1, train.ema is not None),
            "batch_size": train.batch_size,
            "pixels": side * side,
        }
