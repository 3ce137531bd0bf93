"""`python -m captioning` is the command `captioning`."""

from captioning.commands import main

raise SystemExit(main())
