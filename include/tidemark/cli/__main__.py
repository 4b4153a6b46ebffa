"""``python -m tidemark.cli``: the command ``tidemark``."""

from tidemark.cli import main

if __name__ == "__main__":
    main()
