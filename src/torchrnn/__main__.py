"""``python -m torchrnn`` is the command ``torchrnn``."""

import sys

from torchrnn.cli import main

sys.exit(main())
