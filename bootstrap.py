"""Set up ltood's own environment and run one job in it.

    python3 bootstrap.py              set up, then run the pipeline (`dvc repro`)
    python3 bootstrap.py test         set up, then run the whole gate
    python3 bootstrap.py COMMAND ...  set up, then run any command in the environment

Needs Python 3.11 to 3.13 and git, nothing else: uv is used if it is installed and
fetched into a private folder if not. Versions are pinned with hashes.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".venv"
BIN = ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin")
STAMP = ENVIRONMENT / "ltood-pins.sha256"
UV_VERSION = "0.13.8"

GATE = (
    ("ruff", "format", "--check", "."),
    ("ruff", "check", "."),
    ("mypy",),
    ("lint-imports",),
    ("pytest", "-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"),
    ("dvc", "repro"),
)


def main() -> int:
    """Set up and run; returns the exit code of the job."""
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        found = ".".join(map(str, sys.version_info[:2]))
        print(f"error: this is Python {found}; ltood needs 3.11 to 3.13.", file=sys.stderr)
        return 1
    install()
    arguments = sys.argv[1:] or ["dvc", "repro"]
    jobs = GATE if arguments == ["test"] else (tuple(arguments),)
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"}
    environment["VIRTUAL_ENV"] = str(ENVIRONMENT)
    for job in jobs:
        print("$", *job, flush=True)
        # One thread for each of the parallel test workers and the processes they start.
        threads = {"OMP_NUM_THREADS": "1"} if job[0] == "pytest" else {}
        program = shutil.which(job[0], path=environment["PATH"]) or job[0]
        code = subprocess.run(
            [program, *job[1:]], cwd=ROOT, env={**environment, **threads}, check=False
        ).returncode
        if code:
            print(f"error: {' '.join(job)} ended with exit code {code}.", file=sys.stderr)
            return code
    if not sys.argv[1:]:
        print(
            "Open results/report.html. To go on, activate the environment "
            f"({'.venv/Scripts/activate' if os.name == 'nt' else '. .venv/bin/activate'}). "
            "dvc.lock is yours to commit or not (docs/caching.md)."
        )
    return 0


def install() -> None:
    """Make `.venv` hold exactly the pinned versions; quick when it does already."""
    # The version stands in the package, and the metadata of the installation repeat it.
    files = ("requirements.txt", "pyproject.toml", "ltood/__init__.py")
    pins = b"".join((ROOT / name).read_bytes() for name in files)
    digest = hashlib.sha256(pins + sys.version.encode() + str(ROOT).encode()).hexdigest()
    if STAMP.is_file() and STAMP.read_text() == digest:
        return
    uv = find_uv()

    def run(*arguments: str) -> None:
        subprocess.run([*uv, *arguments], cwd=ROOT, check=True)

    try:
        if not BIN.is_dir():
            run("venv", "--python", sys.executable, str(ENVIRONMENT))
        target = ("--python", str(ENVIRONMENT))
        # Compiling once saves every command (and every test process) seconds of start-up.
        sync = ("--require-hashes", "--compile-bytecode", "requirements.txt")
        run("pip", "sync", *target, *sync)
        run("pip", "install", *target, "--no-deps", "--no-build-isolation", "--editable", ".")
    except subprocess.CalledProcessError as error:
        raise SystemExit(
            f"error: setting up the environment failed (exit code {error.returncode}); "
            "see the lines above. Delete .venv and try again."
        ) from None
    STAMP.write_text(digest)


def find_uv() -> list[str]:
    """Command of uv: the installed one, or one fetched into `.venv-uv`."""
    installed = shutil.which("uv")
    if installed:
        return [installed]
    private = ROOT / ".venv-uv"
    python = private / BIN.name / ("python.exe" if os.name == "nt" else "python")
    try:
        if not python.is_file():
            subprocess.run([sys.executable, "-m", "venv", str(private)], check=True)
        if subprocess.run([str(python), "-m", "uv", "--version"], capture_output=True).returncode:
            subprocess.run(
                [str(python), "-m", "pip", "install", "--quiet", f"uv=={UV_VERSION}"], check=True
            )
    except subprocess.CalledProcessError:
        raise SystemExit(
            "error: uv is not installed and could not be fetched; install it "
            "(`pip install uv`) and try again."
        ) from None
    return [str(python), "-m", "uv"]


if __name__ == "__main__":
    sys.exit(main())
