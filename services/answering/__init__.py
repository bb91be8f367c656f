"""One request: images in, answers with their reasons out."""
