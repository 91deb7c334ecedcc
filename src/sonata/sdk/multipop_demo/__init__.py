"""The multi-PoP demonstration: one service, deployed by OpenStack commands, HOT, SONATA and OSM descriptors."""

from sonata.sdk.multipop_demo.demo import run_multipop_demo
from sonata.sdk.multipop_demo.report import FormReport, MultipopReport

__all__ = ["FormReport", "MultipopReport", "run_multipop_demo"]
