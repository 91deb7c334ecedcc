"""Protocols between the platform's functions and the technologies behind them. No implementation lives here."""
