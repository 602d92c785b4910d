"""Start one server so that it cannot outlive its parent, nor run as root where it refuses to.

This file runs as a script of its own (`python -I -S launch.py …`), between the fork and the
server: doing the same in a `preexec_fn` would run Python code in a forked child of a process
with threads, which may deadlock. It replaces itself by the server, so the process id stays.

Arguments: the signal to get when the parent dies (0: none), the parent's process id, the
directory to own when root must be given up (empty: stay as you are), then the command.

It must import nothing of the project: it is started without any path to it.
"""

from __future__ import annotations

import ctypes
import os
import pathlib
import pwd
import sys

# From <linux/prctl.h>, <linux/sched.h> and <linux/capability.h>.
PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CLONE_NEWUSER = 0x10000000
CAP_DAC_OVERRIDE = 1
CAPABILITY_VERSION_3 = 0x20080522

# The shell's exit code for a command that could not be run.
CANNOT_RUN = 127


def main(arguments: list[str]) -> None:
    """Prepare this process as told and become the server."""
    death_signal, parent, owned_directory, *command = arguments
    if owned_directory and os.geteuid() == 0:
        _give_up_root(owned_directory)
    # After the change of identity, which would clear it.
    if int(death_signal) and sys.platform == "linux":
        _call("prctl", PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != int(parent):
            sys.exit("The parent is gone already.")
    try:
        os.execv(command[0], command)  # noqa: S606 to become a program is what this file is for
    except OSError as error:
        sys.stderr.write(f"Cannot run {command[0]}: {error}\n")
        sys.exit(CANNOT_RUN)


def _give_up_root(directory: str) -> None:
    """Be an ordinary user: root under another name in a namespace of our own, or else `nobody`."""
    user = _ordinary_user()
    _chown_tree(directory, os.getuid(), os.getgid())
    try:
        _enter_user_namespace(user)
    except OSError:
        _chown_tree(directory, user.pw_uid, user.pw_gid)
        _become(user)


def _ordinary_user() -> pwd.struct_passwd:
    """Find a user who is not root and has a name, which initdb asks for."""
    try:
        return pwd.getpwnam("nobody")
    except KeyError:
        return next(user for user in pwd.getpwall() if user.pw_uid != 0)


def _chown_tree(directory: str, uid: int, gid: int) -> None:
    if pathlib.Path(directory).stat().st_uid == uid:
        return
    for folder, _, files in os.walk(directory):
        for path in (pathlib.Path(folder), *(pathlib.Path(folder, name) for name in files)):
            os.chown(path, uid, gid, follow_symlinks=False)


def _enter_user_namespace(user: pwd.struct_passwd) -> None:
    uid, gid = os.getuid(), os.getgid()
    _call("unshare", CLONE_NEWUSER)
    for name, content in (
        ("setgroups", "deny"),
        ("uid_map", f"{user.pw_uid} {uid} 1"),
        ("gid_map", f"{user.pw_gid} {gid} 1"),
    ):
        pathlib.Path("/proc/self", name).write_text(content, encoding="ascii")


def _become(user: pwd.struct_passwd) -> None:
    """Change to the user, and still read the programs that root alone may see."""
    _call("prctl", PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
    os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
    capability = 1 << CAP_DAC_OVERRIDE
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    # Effective, permitted, inheritable; the second three are for capabilities above 31.
    data = (ctypes.c_uint32 * 6)(capability, capability, capability, 0, 0, 0)
    _call("capset", header, data)
    _call("prctl", PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, 0, 0)


def _call(name: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


if __name__ == "__main__":
    main(sys.argv[1:])
