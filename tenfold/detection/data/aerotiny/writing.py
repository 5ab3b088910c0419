"""Rendered pictures as a folder in AI-TOD-R's layout, which any program for that data set reads."""

from pathlib import Path

import torch
from PIL import Image

from tenfold import progress
from tenfold.detection.data.aerotiny.config import AeroTinyConfig
from tenfold.detection.data.aerotiny.scene import AeroTiny
from tenfold.detection.data.dota import write_dota_labels
from tenfold.detection.tables import Labels


def write_aerotiny(folder: str | Path, config: AeroTinyConfig | None = None) -> Labels:
    """Write ``images/SPLIT/NUMBER.png`` and ``labels_v1/SPLIT/NUMBER.txt``; returns the labels."""
    scenes, folder = AeroTiny(config), Path(folder)
    split = scenes.config.split
    pictures = folder / "images" / split
    pictures.mkdir(parents=True, exist_ok=True)
    names, made = [f"{number:05d}" for number in range(len(scenes))], []
    for number in progress.track(range(len(scenes)), "rendering", unit="pictures"):
        scene = scenes[number]
        Image.fromarray(scene.image.permute(1, 2, 0).numpy()).save(pictures / f"{names[number]}.png")
        made.append((scene.boxes, scene.labels))
    image = torch.repeat_interleave(torch.tensor([len(labels) for _, labels in made]))
    boxes, labels = torch.cat([b for b, _ in made]), torch.cat([k for _, k in made])
    table = Labels(tuple(names), scenes.classes, image, labels, boxes, torch.zeros(len(boxes), dtype=torch.bool))
    write_dota_labels(table, folder / "labels_v1" / split)
    return table
