"""The emulator's wide area as a WIM."""

from sonata.adapters.wim_emulator.wim import EmulatorWim

__all__ = ["EmulatorWim"]
