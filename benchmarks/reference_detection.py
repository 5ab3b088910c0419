"""The published algorithms of oriented detection, written down again from their descriptions, for comparison."""

import math

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from tenfold.detection.geometry import box_iou, gaussian_of


def published_gjsd(objects: Tensor, priors: Tensor) -> Tensor:
    """½[m1'S1⁻¹m1/2 + m2'S2⁻¹m2/2 − m'S⁻¹m + ln(√(|S1||S2|)/|S|)] in absolute coordinates, with matrices a pair."""
    mean1, cov1 = gaussian_of(objects)
    mean2, cov2 = gaussian_of(priors)
    g, n = len(objects), len(priors)
    mean1, cov1 = mean1[:, None].expand(g, n, 2), cov1[:, None].expand(g, n, 2, 2)
    mean2, cov2 = mean2[None].expand(g, n, 2), cov2[None].expand(g, n, 2, 2)
    inverse1, inverse2 = inverse(cov1), inverse(cov2)
    whole = (inverse1 + inverse2) / 2
    between = inverse(whole)
    vector1 = (inverse1 @ mean1[..., None])[..., 0] / 2
    vector2 = (inverse2 @ mean2[..., None])[..., 0] / 2
    mean = (between @ (vector1 + vector2)[..., None])[..., 0]
    terms = (mean1 * vector1).sum(-1) + (mean2 * vector2).sum(-1) - (mean * (vector1 + vector2)).sum(-1)
    return (terms + ((determinant(cov1) * determinant(cov2)).sqrt() / determinant(between)).log()) / 2


def determinant(matrix: Tensor) -> Tensor:
    """Of 2 × 2 matrices."""
    return matrix[..., 0, 0] * matrix[..., 1, 1] - matrix[..., 0, 1] * matrix[..., 1, 0]


def inverse(matrix: Tensor) -> Tensor:
    """Of 2 × 2 matrices."""
    turned = torch.stack([matrix[..., 1, 1], -matrix[..., 0, 1], -matrix[..., 1, 0], matrix[..., 0, 0]], -1).unflatten(
        -1, (2, 2)
    )
    return turned / determinant(matrix)[..., None, None]


def looped_dcfl(
    objects: Tensor, priors: Tensor, logits: Tensor, boxes: Tensor, k: int = 16, q: int = 12, threshold: float = 0.8
) -> Tensor:
    """DCFL's assignment, an object and a candidate after the other; an object's number or −1."""
    # In pieces of 64 objects: a thousand at once would need many gigabytes.
    similarity = torch.cat([1 / (1 + published_gjsd(part, priors)) for part in objects.split(64)])
    assigned = [-1] * len(priors)
    for g in range(len(objects)):
        for n in similarity[g].topk(k).indices.tolist():
            assigned[n] = g
    kept: list[list[int]] = []
    for g in range(len(objects)):
        own = [n for n in similarity[g].topk(k).indices.tolist() if assigned[n] == g]
        quality = [float(box_iou(objects[g : g + 1], boxes[n : n + 1])) + float(logits[n].max().sigmoid()) for n in own]
        best = sorted(range(len(own)), key=lambda i: -quality[i])[:q]
        kept.append([own[i] for i in best])
    found = torch.full((len(priors),), -1)
    _, covariances = gaussian_of(objects)
    for g, rows in enumerate(kept):
        if not rows:
            continue
        precision = inverse(covariances[g])
        mean = priors[rows, :2].mean(0)
        for n in rows:
            value = 0.0
            for weight, centre in ((0.7, objects[g, :2]), (0.3, mean)):
                away = priors[n, :2] - centre
                value += weight * math.exp(-0.5 * float(away @ precision @ away))
            if value >= math.exp(-threshold):
                found[n] = g
    return found


Truth = dict[tuple[int, int], ndarray]


def looped_precision(
    truth: Truth, found: dict[tuple[int, int], tuple[ndarray, ndarray]], pictures: int, classes: int,
    bins: tuple[tuple[float, float], ...],
) -> ndarray:  # fmt: skip
    """Precision (threshold, recall, class, bin) as COCO's evaluator computes it: a picture, class, bin, threshold and
    detection after the other. ``truth`` has boxes and ``found`` boxes and scores, by (picture, class)."""
    thresholds, recalls = [(50 + 5 * k) / 100 for k in range(10)], np.linspace(0, 1, 101)
    precision = np.full((10, 101, classes, len(bins)), -1.0)
    overlaps, ordered = {}, {}
    for key, (boxes, scores) in found.items():
        order = np.argsort(-scores, kind="stable")[:1500]
        ordered[key] = boxes[order], scores[order]
        if key in truth:
            overlaps[key] = box_iou(torch.from_numpy(boxes[order]), torch.from_numpy(truth[key])).numpy()
    empty = np.zeros((0, 5)), np.zeros(0)
    for label in range(classes):
        for a, (low, high) in enumerate(bins):
            scores, hits, ignored, total = [], [], [], 0
            for picture in range(pictures):
                key = picture, label
                objects, (boxes, score) = truth.get(key, empty[0]), ordered.get(key, empty)
                outside = np.array([not low <= math.floor(w * h) <= high for w, h in objects[:, 2:4]], bool)
                order = np.argsort(outside, kind="stable")
                total += int((~outside).sum())
                match, drop = np.zeros((10, len(boxes)), bool), np.zeros((10, len(boxes)), bool)
                for t, threshold in enumerate(thresholds):
                    used = np.zeros(len(objects), bool)
                    for d in range(len(boxes)):
                        bar, best = min(threshold, 1 - 1e-10), -1
                        for g in order:
                            if used[g]:
                                continue
                            if best > -1 and not outside[best] and outside[g]:
                                break
                            if overlaps[key][d, g] < bar:
                                continue
                            bar, best = overlaps[key][d, g], g
                        if best > -1:
                            used[best], match[t, d], drop[t, d] = True, True, outside[best]
                area = np.floor(boxes[:, 2] * boxes[:, 3])
                drop |= ~match & ~((area >= low) & (area <= high))[None]
                scores.append(score)
                hits.append(match)
                ignored.append(drop)
            if not total:
                continue
            rank = np.argsort(-np.concatenate(scores), kind="stable")
            hit, drop = np.concatenate(hits, 1)[:, rank], np.concatenate(ignored, 1)[:, rank]
            true, false = np.cumsum(hit & ~drop, 1), np.cumsum(~hit & ~drop, 1)
            for t in range(10):
                curve = true[t] / np.maximum(true[t] + false[t], 1e-12)
                for i in range(len(curve) - 1, 0, -1):
                    curve[i - 1] = max(curve[i - 1], curve[i])
                at = np.searchsorted(true[t] / total, recalls, side="left")
                precision[t, :, label, a] = np.append(curve, 0.0)[at]
    return precision
