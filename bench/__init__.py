"""Benchmarks: `make bench` measures the goals. Runs in: driver."""
