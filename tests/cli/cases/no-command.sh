# Without a command: the overview on standard error.
"$mlopt"
