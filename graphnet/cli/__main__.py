"""`python -m graphnet.cli`, for where the script `graphnet` is not on the PATH."""

import sys

from . import main

sys.exit(main())
