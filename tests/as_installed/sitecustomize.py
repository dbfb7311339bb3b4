"""Every Python that a test starts reads this: what only the tests brought is not there for it.

httpcore imports trio, and httpx rich, wherever they are; that would be a third of each start.
"""

import sys

sys.modules.update(dict.fromkeys(("trio", "rich")))
