"""Inside the sandbox: set limits, fill the work folder, filter system calls, then become the program that is to run.

Called as `python -I -S confine.py JSON PROGRAM ARGUMENT ...`. The standard library only. What is set here cannot be
undone by what follows: hard limits need a privilege that nobody in the sandbox has, and a seccomp filter stays.
"""

import ctypes
import errno
import json
import os
import platform
import resource
import shutil
import struct
import sys

FAILED = 96  # exit status: the program was never started

# System calls by number, x86-64 and AArch64, that nothing in a course needs, and why each is refused.
REFUSED = {
    # Memory that belongs to no process and no mounted file system, so that no limit counts it.
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "msgget": (68, 186),
    "semget": (64, 190), "userfaultfd": (323, 282),
    # Looking into other processes, and ways around the filter itself.
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_getfd": (438, 438), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    # Parts of the kernel that have no namespace.
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219), "bpf": (321, 280),
    "perf_event_open": (298, 241), "syslog": (103, 116), "kexec_load": (246, 104), "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106), "acct": (163, 89), "quotactl": (179, 60),
    # New namespaces and mounts.
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430), "fsmount": (432, 432),
    "mount_setattr": (442, 442), "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264),
}  # fmt: skip
SOCKET = (41, 198)
# Unix, IPv4, IPv6 and netlink. Any other family, such as vsock, may lead around the network namespace.
FAMILIES = (1, 2, 10, 16)
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000


def seccomp_program(machine):
    """The filter as an array of `struct sock_filter`, or None on a machine that it is not written for."""
    if machine not in _ARCHITECTURES:
        return None
    column, audit = _ARCHITECTURES[machine]
    refuse = _ERRNO | errno.EPERM
    code = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, audit), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, 0)]
    if machine == "x86_64":  # the x32 calls have numbers of their own
        code += [(_AT_LEAST, 0, 1, 0x40000000), (_RETURN, 0, 0, refuse)]
    for numbers in REFUSED.values():
        code += [(_EQUAL, 0, 1, numbers[column]), (_RETURN, 0, 0, refuse)]
    code += [(_EQUAL, 0, len(FAMILIES) + 2, SOCKET[column]), (_LOAD, 0, 0, 16)]
    for place, family in enumerate(FAMILIES):
        code.append((_EQUAL, len(FAMILIES) - place, 0, family))
    code += [(_RETURN, 0, 0, _ERRNO | errno.EAFNOSUPPORT), (_RETURN, 0, 0, _ALLOW)]
    return b"".join(struct.pack("HBBI", *line) for line in code)


def filter_system_calls():
    """Refuse system calls for the rest of this process and its children."""
    program = seccomp_program(platform.machine())
    if program is None:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    text = ctypes.create_string_buffer(program, len(program))

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]

    whole = Program(len(program) // 8, ctypes.cast(text, ctypes.c_void_p))
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(whole), 0, 0):
        raise OSError(ctypes.get_errno(), "the system-call filter could not be set")


def set_limits(limits):
    """Set resource limits, soft and hard, by the lower-case names that `resource` has for them."""
    for name, value in limits.items():
        kind = getattr(resource, "RLIMIT_" + name.upper())
        hard = resource.getrlimit(kind)[1]
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        resource.setrlimit(kind, (value, value))


def main(argv):
    """Do as the first argument says, then become the program in the others."""
    request = json.loads(argv[0])
    try:
        set_limits(request.get("limits", {}))
        for source, target in request.get("copy", ()):
            shutil.copytree(source, target, dirs_exist_ok=True, copy_function=shutil.copyfile)
        if request.get("chdir"):
            os.chdir(request["chdir"])
        if request.get("filter"):
            filter_system_calls()
        os.execvp(argv[1], argv[1:])
    except (OSError, ValueError, shutil.Error) as error:
        print(f"the sandbox could not be prepared: {error}", file=sys.stderr)
        return FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
