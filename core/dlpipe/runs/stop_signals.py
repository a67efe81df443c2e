"""The signals that ask a program to stop. Imports nothing else, since the program handles them first of all."""

import signal

#: Ctrl-C; what ``kill`` and Kubernetes send; what Slurm's ``--signal`` is told to send, one of two.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
#: The exit codes of `dlpipe.errors.Interrupted` and `dlpipe.errors.Preempted`.
INTERRUPTED, PREEMPTED = 130, 75
