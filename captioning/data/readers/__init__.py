"""Readers, one module per file format, that turn a data set's files into captioned images."""
