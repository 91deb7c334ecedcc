"""Servers of one cloud: their life, their power, their interfaces, what they claim."""
