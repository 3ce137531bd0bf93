"""One encoder, decoder, tokenizer and search, made into a model that people use."""
