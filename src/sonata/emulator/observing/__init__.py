"""Seeing what goes on in an emulation: metrics, their history, queries and rules over them."""
