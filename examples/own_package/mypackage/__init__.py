"""A decoder, an encoder, a metric and a reader that are not part of captioning."""
