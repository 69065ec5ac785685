"""Trainers. Each module says which extra it needs."""
