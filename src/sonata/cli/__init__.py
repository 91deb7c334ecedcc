"""Verbs without logic."""
