"""The dashboard: the service as pages for people, rendered here and readable without scripts."""

from gpukeeper.dashboard.assets import STATIC_PREFIX
from gpukeeper.dashboard.install import install
from gpukeeper.dashboard.rendering import frame
from gpukeeper.dashboard.site import Kind, Site

__all__ = ["STATIC_PREFIX", "Kind", "Site", "frame", "install"]
