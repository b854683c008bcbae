# The overview, and the help of a command.
"$mlopt" help && echo ---- && "$mlopt" help run && echo ---- && "$mlopt" compile --help
