"""Run the command line with ``python -m gpukeeper``."""

from gpukeeper.cli.main import main

if __name__ == "__main__":
    main()
