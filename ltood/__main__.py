"""`python -m ltood` is the command `ltood`, for launchers and where scripts are not on the path."""

from ltood.cli import main

if __name__ == "__main__":
    main()
