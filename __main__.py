"""`python -m ecgkin`: the command line (torchrun: `torchrun -m ecgkin train CONFIG`)."""

from ecgkin.ui.cli.main import main

if __name__ == "__main__":
    main()
