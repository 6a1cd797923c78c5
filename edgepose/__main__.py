"""`python -m edgepose`."""

import sys

from edgepose.cli.main import main

sys.exit(main())
