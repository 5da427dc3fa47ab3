"""A stand-in for Novita's GPU API that behaves, and misbehaves on request.

It imports nothing else of gpukeeper, so it is an independent witness.
"""

from gpukeeper.simulator.novita_api.simulator_app import build_app
from gpukeeper.simulator.novita_api.simulator_server import Simulator
from gpukeeper.simulator.simulator_settings import Settings

__all__ = ["Settings", "Simulator", "build_app"]
