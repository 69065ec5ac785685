"""``python -m empathy_gym`` is the command ``empathy-gym``."""

from empathy_gym.cli import main

if __name__ == "__main__":
    main()
