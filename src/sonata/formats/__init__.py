"""Readers and writers of topologies, descriptors, packages and image recipes, with positions."""
