"""`python -m nextvit`"""

from nextvit.cli.main import main

main()
