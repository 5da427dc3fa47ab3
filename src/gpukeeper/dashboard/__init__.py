"""The dashboard: the service as pages for people, rendered here and readable without scripts."""

from gpukeeper.dashboard.assets import STATIC_PREFIX
from gpukeeper.dashboard.routes import install
from gpukeeper.dashboard.site import Kind, Site
from gpukeeper.dashboard.template_engine import frame

__all__ = ["STATIC_PREFIX", "Kind", "Site", "frame", "install"]
