"""The composition root: what builds, runs and drains the service."""

from gpukeeper.runtime.assembly import OpenStore, Role, assemble, build, needed_proof, open_novita
from gpukeeper.runtime.life_cycle import Runtime
from gpukeeper.runtime.outside import Outside

__all__ = [
    "OpenStore",
    "Outside",
    "Role",
    "Runtime",
    "assemble",
    "build",
    "needed_proof",
    "open_novita",
]
