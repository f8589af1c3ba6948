"""Benchmarks of quality: one question a file, and the tables of docs/quality.md."""
