"""Data, one folder a modality: ``images``, ``captions`` (images with texts) and ``text``; latents of a frozen encoder;
and ``load``, which knows all sources of images."""
