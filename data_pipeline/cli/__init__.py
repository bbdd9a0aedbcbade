"""What every command of the project shares: arguments, output, errors, signals, Ray.

- `command.py`: parses the command line, prints, turns errors into exit codes
- `deprecated.py`: old names of flags and environment variables, with a warning
- `repeated.py`: a flag of several values, given more than once
- `help_layout.py`: `--help` with its options in titled groups
- `output.py`: stdout and stderr that may be closed, full, or unable to encode a character
- `signals.py`: Ctrl-C, SIGTERM and SIGHUP as requests to stop
- `errors.py`: errors sent between processes, keeping their class
- `formatting.py`: tables, sizes and ages as people read them
- `progress.py`: one progress bar, or plain lines where there is no terminal
- `rejection.py`: videos that a job leaves out, and a limit to how many
- `background.py`: work in a thread for the time of a block
- `bounds.py`: numbers of a config with a least and a largest value
- `canonical.py`: canonical JSON and its hash
- `ray_cluster.py`: checks that Ray can be used as the environment says
- `ray_session.py`: the Ray session a command works in
- `scratch.py`: temporary folders that do not outlive their process
"""
