"""`python -m sandbox up --state DIR`: the sandbox in the foreground."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from sandbox.runner import DEFAULT_PORTS, Asked, run


def main() -> int:
    """Read the command line and serve until stopped."""
    parser = argparse.ArgumentParser(
        prog="python -m sandbox", description="Business systems on loopback, with known truth."
    )
    up = parser.add_subparsers(dest="command", required=True).add_parser("up", help="seed once, then serve all systems")
    up.add_argument("--state", type=Path, required=True, help="folder that keeps the state of all systems")
    up.add_argument(
        "--database-url", default=os.environ.get("SANDBOX_DATABASE_URL"), help="PostgreSQL for the legacy data"
    )
    up.add_argument("--seed", type=int, default=7, help="which world (used when the state is new)")
    up.add_argument(
        "--scale", type=float, default=1.0, help="1.0 is about 2,000 customers (used when the state is new)"
    )
    for name, port in DEFAULT_PORTS.items():
        up.add_argument(f"--{name}-port", type=int, default=port, help="0 takes a free one")
    up.add_argument("--parent", type=int, help="end when this process ends")
    asked = parser.parse_args()
    ports = {name: getattr(asked, f"{name}_port") for name in DEFAULT_PORTS}
    try:
        run(Asked(asked.state, asked.database_url, ports, asked.seed, asked.scale, asked.parent))
    except (OSError, ValueError) as trouble:
        print(f"sandbox: {trouble}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
