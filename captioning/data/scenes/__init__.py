"""Generate scenes: a data set of drawn images, each with five true captions, in COCO's layout.

A captioner trains on it in minutes on a laptop. It is generated from a seed, without downloads.
"""

from captioning.data.scenes.layout import Thing
from captioning.data.scenes.scene import Scene, generate_scene
from captioning.data.scenes.write import write_scenes

__all__ = ["Scene", "Thing", "generate_scene", "write_scenes"]
