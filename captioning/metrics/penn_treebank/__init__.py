"""The Penn Treebank tokenizer of COCO's evaluation, without Java."""
