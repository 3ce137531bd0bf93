"""The Penn Treebank tokenizer of COCO's evaluation, in Python instead of Java."""
