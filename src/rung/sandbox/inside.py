"""What runs in the bubblewrap sandbox before the code: limits of the process, its files, and the report when it is
over.

Its source is handed to ``python -I -S -c``: it imports nothing of rung, and little of anything, for each import costs a
millisecond of every run. It reads a marshalled order on standard input (the host wrote it) and reports on descriptor 3
in frames of a letter, a length and bytes: ``v`` value, ``e`` error, ``t`` traceback, ``f`` file (name, NUL, content).
"""

import marshal
import os
import sys

REPORT = 3


def send(letter: str, data: bytes) -> None:
    view = memoryview(letter.encode() + len(data).to_bytes(4, "little") + data)
    while view:
        view = view[os.write(REPORT, view) :]


def limit(memory: int, seconds: int, disk: int) -> None:
    import resource

    for name, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, disk),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
        (resource.RLIMIT_SIGPENDING, 64),
    ):
        resource.setrlimit(name, (most, most))


def fail(error: BaseException, source: str, most: int) -> None:
    send("e", type(error).__name__.encode())  # the last one counts: there may be no memory for more
    import linecache
    import traceback

    linecache.cache["main.py"] = (len(source), None, source.splitlines(keepends=True), "main.py")
    kept = error.__traceback__
    while kept is not None and kept.tb_frame.f_code.co_filename != "main.py":
        kept = kept.tb_next
    told = traceback.TracebackException(type(error), error, kept, limit=-20)
    send("e", "".join(told.format_exception_only()).strip().encode("utf-8", "replace")[-most:])
    send("t", "".join(told.format()).encode("utf-8", "replace")[-most:])


def run(source: str, most: int) -> None:
    # 0x400 is ast.PyCF_ONLY_AST; importing ast takes longer than the run of most code.
    tree = compile(source, "main.py", "exec", 0x400, dont_inherit=True)
    last = tree.body.pop() if tree.body and type(tree.body[-1]).__name__ == "Expr" else None
    names = {"__name__": "__main__", "__builtins__": __builtins__}
    exec(compile(tree, "main.py", "exec", dont_inherit=True), names)  # noqa: S102  this is the sandbox
    if last is not None:
        import _ast

        value = eval(compile(_ast.Expression(last.value), "main.py", "eval", dont_inherit=True), names)  # noqa: S307
        if value is not None:
            send("v", repr(value)[:most].encode("utf-8", "replace"))


def changed(before: dict[str, bytes]) -> None:
    for folder, _, files in os.walk("."):
        for file in files:
            path = os.path.join(folder, file)
            name = path[2:]
            if os.path.islink(path) or not os.path.isfile(path):
                continue
            with open(path, "rb") as stream:
                content = stream.read()
            if before.get(name) != content:
                send("f", name.encode("utf-8", "surrogateescape") + b"\0" + content)


def main() -> None:
    source, files, memory, seconds, disk, output, collect = marshal.loads(sys.stdin.buffer.read())  # noqa: S302
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")
    for name, content in files.items():
        if "/" in name:
            os.makedirs(os.path.dirname(name), exist_ok=True)
        with open(name, "wb") as stream:
            stream.write(content)
    sys.path[:0] = ["/work"]
    sys.argv = ["main.py"]
    limit(memory, seconds, disk)
    code = 0
    try:
        run(source, output)
    except SystemExit as error:
        if error.code:
            code = 1
            send("e", f"SystemExit: {error.code}".encode("utf-8", "replace")[:output])
    except BaseException as error:
        code = 1
        fail(error, source, output)
    if collect:
        changed(files)
    try:
        sys.stdout.flush()
    finally:
        os._exit(code)  # what threads or handlers are left are not waited for


if __name__ == "__main__":
    main()
