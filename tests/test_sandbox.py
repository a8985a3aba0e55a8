from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from processes import wait_until

from autograder import sandbox
from autograder.errors import CourseError
from autograder.gate import Meter, Refused
from autograder.inside import confine
from autograder.limits import MIB, Limits
from autograder.sandbox import Sandbox, SandboxUnavailable, prove_sandbox, require_sandbox, run_folder
from autograder.staging import stage_submission
from autograder.watch import SandboxProcess

PYTHON = [sys.executable, "-I", "-S", "-c"]
SMALL = Limits(memory_bytes=256 * MIB, processes=48, files=500, work_bytes=16 * MIB, tmp_bytes=16 * MIB)

boxed = pytest.mark.usefixtures("needs_bubblewrap")


def run(policy: Sandbox, code: str, python: list[str] = PYTHON) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        policy.command([*python, code]),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# --- what is seen ----------------------------------------------------------------------------------------------------


@boxed
def test_every_attempt_to_break_out_fails():
    attempts = prove_sandbox()
    assert len(attempts) >= 2 * 29
    assert [attempt for attempt in attempts if not attempt.held] == []


@boxed
def test_an_attempt_that_succeeds_is_reported(monkeypatch):
    # With the network kept, the attempts that need one must say that they got through.
    kept = tuple(option for option in sandbox._NAMESPACES if option != "--unshare-net")
    monkeypatch.setattr(sandbox, "_NAMESPACES", kept)
    reached = {attempt.name for attempt in prove_sandbox() if not attempt.held}
    assert {"connect by TCP", "connect to a Unix socket"} <= reached


@boxed
def test_the_course_data_is_there_and_the_holdout_is_not(tmp_path):
    data = tmp_path / "cifar10_images_small"
    for split in ("train", "val", "test", "holdout"):
        (data / split / "cat").mkdir(parents=True)
        (data / split / "cat" / "1.png").write_text(split)
    done = run(
        Sandbox(data=data),
        "import os; print(sorted(os.listdir('/data/cifar10_images_small')), os.path.exists('/holdout'))",
    )
    assert done.stdout.split("\n")[0] == "['test', 'train', 'val'] False"
    done = run(Sandbox(data=data, holdout=data / "holdout"), "print(open('/holdout/cat/1.png').read())")
    assert done.stdout == "holdout\n"


@boxed
def test_helpers_can_be_imported_and_the_autograder_cannot():
    code = "import helpers\ntry:\n    import autograder\nexcept ImportError: print('alone')"
    assert run(Sandbox(), code, [sys.executable, "-c"]).stdout == "alone\n"
    both = Sandbox(packages=("helpers", "autograder"))
    assert run(both, "import autograder.limits; print('both')", [sys.executable, "-I", "-c"]).stdout == "both\n"


@boxed
def test_of_the_course_folder_only_the_packages_are_there(repository):
    code = f"import os; print(os.listdir({str(repository)!r}) if os.path.exists({str(repository)!r}) else [])"
    seen = set(eval(run(Sandbox(hidden=(repository,)), code).stdout))
    assert seen <= {"helpers", Path(sys.prefix).name}


@boxed
def test_a_hidden_folder_inside_of_a_visible_one_is_empty():
    place = Path(sys.prefix) / "share"
    code = f"import os; print(os.listdir({str(place)!r}))"
    assert run(Sandbox(), code).stdout != "[]\n"
    assert run(Sandbox(hidden=(place,)), code).stdout == "[]\n"


@boxed
def test_the_environment_is_made_anew(monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "1")
    code = (
        "import glob\n"
        "print([p for p in glob.glob('/proc/[0-9]*/environ') if b'SECRET_TOKEN' in open(p, 'rb').read()])\n"
    )
    done = run(Sandbox(environment={"MARK": "x"}), code)
    assert done.stdout == "[]\n"
    assert run(Sandbox(environment={"MARK": "x"}), "import os; print(os.environ['MARK'])").stdout == "x\n"


@boxed
def test_the_system_call_filter_is_written_for_the_usual_machines():
    x86, arm = confine.seccomp_program("x86_64"), confine.seccomp_program("aarch64")
    assert x86 and arm and x86 != arm and len(x86) % 8 == 0
    assert confine.seccomp_program("riscv64") is None
    done = run(Sandbox(), "print([l for l in open('/proc/self/status') if l.startswith('Seccomp:')])")
    assert "2" in done.stdout


@boxed
def test_what_was_handed_in_is_copied_into_a_folder_that_can_be_written(tmp_path):
    handed_in, copy = tmp_path / "handed in", tmp_path / "copy"
    (handed_in / "deep").mkdir(parents=True)
    copy.mkdir()
    (handed_in / "deep" / "file.txt").write_text("mine")
    (handed_in / "deep" / "file.txt").chmod(0o600)
    stage_submission(handed_in, copy)
    code = "p='/work/deep/file.txt'; print(open(p).read()); open(p,'w').write('changed'); print(open(p).read())"
    assert run(Sandbox(files=copy), code).stdout == "mine\nchanged\n"
    assert (copy / "deep" / "file.txt").read_text() == "mine"


@boxed
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can own what the sandbox cannot read")
def test_a_folder_that_root_alone_can_read_is_named_with_the_command_that_opens_it(tmp_path):
    (tmp_path / "cifar10_images_small" / "train").mkdir(parents=True, mode=0o700)
    with pytest.raises(CourseError, match=r"train can be read by its owner alone.*chmod -R a\+rX"):
        Sandbox(data=tmp_path / "cifar10_images_small").command(["true"])


@boxed
def test_the_outbox_is_the_one_way_for_bytes_to_come_out(tmp_path):
    outbox = tmp_path / "outbox"
    outbox.touch()
    outbox.chmod(0o666)
    policy = Sandbox(outbox=outbox, limits=Limits(file_bytes=MIB))
    run(policy, "open('/outbox','w').write('hello')")
    assert outbox.read_text() == "hello"
    run(policy, "f = open('/outbox','wb')\nfor _ in range(3): f.write(bytes(1 << 20)); f.flush()")
    assert outbox.stat().st_size <= MIB
    run(policy, "import os; os.unlink('/outbox')")
    assert outbox.exists()


# --- where there is none ---------------------------------------------------------------------------------------------


def test_without_bubblewrap_grading_is_refused_with_the_package_and_the_way_around(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    sandbox._probe.cache_clear()
    try:
        with pytest.raises(SandboxUnavailable) as refused:
            require_sandbox()
    finally:
        sandbox._probe.cache_clear()
    message = str(refused.value)
    for word in (
        "apt-get install bubblewrap",
        "--no-sandbox",
        "c.JudgedExecute.sandbox = False",
        "user.max_user_namespaces",
    ):
        assert word in message


@pytest.mark.parametrize(
    ("script", "word"),
    [
        ("echo 'bubblewrap 0.4.1'", "0.8.0 or later"),
        ("[ $1 = --version ] && echo 'bubblewrap 0.9.0' && exit; echo 'No permissions to create' >&2; exit 1",
         "No permissions to create"),
    ],
)  # fmt: skip
def test_a_bubblewrap_that_cannot_make_a_sandbox_is_refused_with_the_setting_to_change(
    monkeypatch, tmp_path, script, word
):
    (tmp_path / "bwrap").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    sandbox._probe.cache_clear()
    try:
        with pytest.raises(SandboxUnavailable) as refused:
            Sandbox().command(["true"])
    finally:
        sandbox._probe.cache_clear()
    message = str(refused.value)
    for part in (word, "user.max_user_namespaces", "kernel.apparmor_restrict_unprivileged_userns", "seccomp"):
        assert part in message


@boxed
@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests run as an ordinary user already")
def test_an_ordinary_user_can_make_the_same_sandbox_and_runs_a_notebook_in_it(repository, tmp_path):
    code = (
        "import json\n"
        "from autograder.sandbox import prove_sandbox, _drops_root\n"
        "from autograder.student import StudentClient\n"
        "from nbformat.v4 import new_notebook, new_code_cell\n"
        "sources = ['import os; print(os.getuid())', 'import os; os._exit(1)', '1+1']\n"
        "nb = new_notebook(cells=[new_code_cell(source) for source in sources])\n"
        "assert not _drops_root()\n"
        "StudentClient(nb).execute()\n"
        "broken = [attempt for attempt in prove_sandbox() if not attempt.held]\n"
        "print(json.dumps([nb.cells[0].outputs, nb.cells[2].outputs, broken]))\n"
    )
    # A Python below the home folder of root is shown to that user as if it were elsewhere.
    shown = ["--dev-bind", "/", "/", "--bind", "/proc", "/proc"]
    below = [("--ro-bind", str(folder), str(folder)) for folder in sandbox.python_folders() if "/root/" in str(folder)]
    if below:
        shown += ["--perms", "0755", "--tmpfs", "/root", *sandbox._flat(below)]
    user = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]
    done = subprocess.run(
        ["bwrap", *shown, "--", *user, "env", "-i", "PATH=/usr/bin:/bin", "HOME=/home", sys.executable, "-c", code],
        capture_output=True, text=True, timeout=120, check=False, cwd="/",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, last, broken = json.loads(done.stdout.splitlines()[-1])
    assert first[0]["text"] == "1000\n"
    assert last[0]["data"]["text/plain"] == "2"
    assert broken == []


# --- the watch -------------------------------------------------------------------------------------------------------


@boxed
@pytest.mark.parametrize(
    ("code", "reason", "limits"),
    [
        ("import os, time\nfor _ in range(3):\n    if os.fork() == 0: b = bytearray(120 << 20); break\ntime.sleep(60)",
         "used more than 256 MB of memory", {}),
        ("while True: pass", "used more than 1 s of processor time", {"cpu_seconds": 1}),
        ("import time\nfor n in range(2000): open(f'/tmp/{n}', 'w')\ntime.sleep(60)", "made more than 500 files", {}),
    ],
)  # fmt: skip
def test_what_uses_too_much_is_killed_and_the_reason_is_kept(code, reason, limits):
    policy = Sandbox(limits=Limits(**{**vars(SMALL), **limits}))
    with SandboxProcess(policy, [*PYTHON, code]) as process:
        wait_until(lambda: process.poll() is not None, "it was killed", seconds=20)
        assert process.reason == reason


@boxed
@pytest.mark.parametrize("isolated", [True, False])
def test_closing_ends_daemons_that_hide(tmp_path, isolated):
    code = (
        "import os, signal, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid(); signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "    if os.fork() == 0:\n"
        "        open('alive', 'w').close(); time.sleep(600)\n"
        "    os._exit(0)\n"
        "time.sleep(600)"
    )
    policy = Sandbox(limits=SMALL, isolated=isolated, scratch=tmp_path)
    with SandboxProcess(policy, [*PYTHON, code]) as process:
        wait_until(lambda: len(process.members()) >= 2, "the daemon ran", seconds=20)
        time.sleep(0.3)
        members = [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and _has(p, process._mark)]
        members = members or process.members()
    assert len(members) >= 2
    wait_until(lambda: not [pid for pid in members if Path(f"/proc/{pid}").exists()], "all had ended", seconds=5)


def _has(entry: Path, mark: str) -> bool:
    try:
        return mark.encode() in (entry / "environ").read_bytes()
    except OSError:
        return False


@boxed
def test_the_sandbox_dies_with_the_grader(tmp_path):
    code = (
        "import sys, time\n"
        "from autograder.sandbox import Sandbox\n"
        "from autograder.watch import SandboxProcess\n"
        "p = SandboxProcess(Sandbox(), [sys.executable, '-I', '-S', '-c', 'import time; time.sleep(600)'])\n"
        "while not p.members(): time.sleep(0.05)\n"
        "time.sleep(0.5); print(*p.members(), flush=True); time.sleep(600)"
    )
    grader = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    members = grader.stdout.readline().split()
    grader.send_signal(signal.SIGKILL)
    grader.wait()
    grader.stdout.close()
    assert members
    wait_until(lambda: not [pid for pid in members if _runs(pid)], "all had ended", seconds=10)


def _runs(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@boxed
def test_an_interrupt_reaches_the_program_inside():
    code = "import time\ntry: time.sleep(60)\nexcept KeyboardInterrupt: raise SystemExit(7)"
    with SandboxProcess(Sandbox(limits=SMALL), [*PYTHON, code]) as process:
        wait_until(lambda: process.usage().cpu_seconds > 0 and process.members(), "it ran", seconds=20)
        time.sleep(0.5)
        process.interrupt()
        assert process.wait(10) == 7


@boxed
def test_a_flood_on_standard_error_is_read_and_forgotten():
    with SandboxProcess(
        Sandbox(limits=SMALL), [*PYTHON, "import os\nfor _ in range(500): os.write(2, b'x' * 65536)"]
    ) as process:
        assert process.wait(30) == 0
    assert len(process.complaint()) <= 8192


# --- the gate between the grader's sockets and the kernel's ----------------------------------------------------------

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32)


def frame(content: bytes, *, more: bool = False, command: bool = False) -> bytes:
    flags = more | 2 * (len(content) > 255) | 4 * command
    return bytes([flags]) + len(content).to_bytes(8 if flags & 2 else 1, "big") + content


HONEST = GREETING + frame(b"\x05READY", command=True) + (frame(b"a", more=True) + frame(b"b" * 900)) * 500


@pytest.mark.parametrize("step", [1, 7, 1000, len(HONEST)])
def test_the_gate_lets_any_number_of_small_messages_pass_however_they_arrive(step):
    meter = Meter(1000)
    for start in range(0, len(HONEST), step):
        meter.feed(HONEST[start : start + step])


@pytest.mark.parametrize(
    "stream",
    [
        GREETING + frame(b"b" * 1001),
        GREETING + frame(b"b" * 600, more=True) + frame(b"b" * 600),
        GREETING + frame(b"", more=True) * 300,
        GREETING + frame(b"c" * 70_000, command=True),
        GREETING + b"\x02" + b"\xff" * 8,
        b"\x01" + bytes(63),
        GREETING[:10] + b"\x01" + GREETING[11:],
    ],
    ids=["large", "large in parts", "parts without end", "long command", "2^64 bytes", "no greeting", "old protocol"],
)
def test_the_gate_refuses_a_message_before_it_has_come_whole(stream):
    with pytest.raises(Refused):
        Meter(1000).feed(stream[: len(stream) - 200] if len(stream) > 2000 and stream[64] & 2 else stream)


# --- what was handed in ----------------------------------------------------------------------------------------------


def test_a_run_folder_has_a_path_short_enough_for_sockets_wherever_temporary_files_go(tmp_path, monkeypatch):
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    folder = run_folder()
    try:
        assert len(str(folder)) < 90 and folder.stat().st_mode & 0o777 == 0o700
    finally:
        shutil.rmtree(folder)


def test_a_package_that_is_not_installed_is_named():
    with pytest.raises(CourseError, match="no_such_package"):
        Sandbox(packages=("no_such_package",), isolated=True).environ()


# --- the provisioner, with plain jupyter_client ----------------------------------------------------------------------


class OneKernel(KernelSpecManager):
    def get_kernel_spec(self, kernel_name):
        about = {"kernel_provisioner": {"provisioner_name": "sandbox-provisioner"}}
        return KernelSpec(argv=["python"], display_name="x", language="python", metadata=about)


@boxed
def test_any_jupyter_client_can_start_interrupt_restart_and_end_a_sandboxed_kernel():
    async def talk():
        manager = AsyncKernelManager(kernel_spec_manager=OneKernel(), kernel_name="x")
        await manager.start_kernel()
        folder, members = manager.provisioner.folder, manager.provisioner.process.members
        client = manager.client()
        client.start_channels()
        try:
            await client.wait_for_ready(timeout=60)
            reply = await client.execute("import socket, os; where = os.getcwd()", reply=True, timeout=30)
            assert reply["content"]["status"] == "ok"
            client.execute("import time; time.sleep(60)")
            await asyncio.sleep(0.5)
            await manager.interrupt_kernel()
            reply = await client.get_shell_msg(timeout=20)
            assert reply["content"]["ename"] == "KeyboardInterrupt"
            pids = members()
            client.stop_channels()
            await manager.restart_kernel(now=True)
            assert await manager.is_alive() and not [pid for pid in pids if _runs(str(pid))]
            client = manager.client()
            client.start_channels()
            await client.wait_for_ready(timeout=60)
            reply = await client.execute("where", reply=True, timeout=30)
            assert reply["content"]["ename"] == "NameError"
            folder, pids = manager.provisioner.folder, manager.provisioner.process.members()
        finally:
            client.stop_channels()
            await manager.shutdown_kernel(now=True)
        assert not folder.exists() and not [pid for pid in pids if _runs(str(pid))]

    asyncio.run(talk())
