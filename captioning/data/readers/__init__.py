"""One file a file format: from a data set's files to captioned images."""
