"""The composition root: what builds, runs and drains the service."""

from gpukeeper.runtime.assembly import Role, Runtime, build, needed_proof, open_novita

__all__ = ["Role", "Runtime", "build", "needed_proof", "open_novita"]
