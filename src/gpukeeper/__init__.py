"""Orders, starts, watches and announces GPU instances at Novita.ai."""

from importlib.metadata import version

__version__ = version("gpukeeper")
