"""Scenes: a generated data set of drawn images with five true captions each, in COCO's layout.

Small enough to train a captioner on a laptop in minutes, and made from a seed alone, without a network.
"""

from captioning.data.scenes.layout import Thing
from captioning.data.scenes.scene import Scene, generate_scene
from captioning.data.scenes.write import write_scenes

__all__ = ["Scene", "Thing", "generate_scene", "write_scenes"]
