"""Say what may be configured, read it, and keep the secrets that are generated once."""

from gpukeeper.config import file_owner
from gpukeeper.config.data_dir import (
    Secrets,
    create_data_dir,
    examine_data_dir,
    keep_deployment,
    kept_deployment,
    prepare_data_dir,
)
from gpukeeper.config.environment import load, value_of
from gpukeeper.config.settings import Settings, Variable, variables

__all__ = [
    "Secrets",
    "Settings",
    "Variable",
    "create_data_dir",
    "examine_data_dir",
    "file_owner",
    "keep_deployment",
    "kept_deployment",
    "load",
    "prepare_data_dir",
    "value_of",
    "variables",
]
