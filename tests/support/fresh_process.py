"""Report what a program imports, from its own process: this one has imported nearly everything."""

import subprocess
import sys

_REPORT = "import atexit, sys; atexit.register(lambda: print('', *sorted(sys.modules), sep='\\n@'))"


def modules_loaded_by(program: str) -> set[str]:
    """Run a program, and list the modules that it has imported by its end."""
    command = [sys.executable, "-c", f"{_REPORT}\n{program}"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    return {line[1:] for line in done.stdout.splitlines() if line.startswith("@")}


def loaded_below(packages: set[str], loaded: set[str]) -> set[str]:
    """Return those of the packages, given by their dotted names, from which anything is loaded."""
    return {package for package in packages if any(f"{module}.".startswith(f"{package}.") for module in loaded)}
