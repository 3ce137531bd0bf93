"""One encoder, decoder, tokenizer and search, made into one model."""
