"""A stand-in for graphdeco's simple_knn."""
