"""Serve one JSON file from memory by a bare FastAPI route, which reads are held against.

Run as a program of its own: `python -m bench.bare PORT FILE`.
"""

import json
import sys
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI


def main() -> None:
    """Serve until killed."""
    port, file = sys.argv[1:]
    answer = json.loads(Path(file).read_text())
    app = FastAPI()

    async def read() -> Any:
        return answer

    app.add_api_route("/", read)
    uvicorn.run(app, host="127.0.0.1", port=int(port), access_log=False, log_level="warning")


if __name__ == "__main__":
    main()
