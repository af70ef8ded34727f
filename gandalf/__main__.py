"""``python -m gandalf``: the same as the command ``gandalf``."""

import sys

from gandalf.cli import main

sys.exit(main())
