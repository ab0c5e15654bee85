"""Where things are in the repository."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TABLES = ROOT / "tables"
SHAPES = ROOT / "bench/shapes.json"
BASELINES = ROOT / "bench/baselines"  # of ./dev report, by processor
RELEASE = ROOT / "build/release"
RESULTS = ROOT / "results"  # git ignores it; what is kept goes to bench/results with --out
