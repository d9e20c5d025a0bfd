"""What makes it fast: memory, threads, blocks.  Knows ndarrays only, never a Tensor."""
