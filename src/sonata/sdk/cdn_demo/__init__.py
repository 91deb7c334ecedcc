"""The CDN demonstration: from a package to content that users fetch through three VNFs in two PoPs."""

from sonata.sdk.cdn_demo.demo import run_cdn_demo
from sonata.sdk.cdn_demo.report import DemoReport, PlacementReport

__all__ = ["DemoReport", "PlacementReport", "run_cdn_demo"]
