"""The domain of one emulated OpenStack site: pure state and rules over the ports Fabric, Runtime and ImageStore."""

from sonata.emulator.cloud.cloud import Cloud

__all__ = ["Cloud"]
