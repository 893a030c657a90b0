"""A stand-in for its CUDA part."""
