"""Makes the benches in this folder importable, here and in the simulator."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
