# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a disk may hold after power was lost, from a record of the system calls until then.

The weakest reading of POSIX, weaker than any journalling file system: content that was not fsynced
may be old, new, anything written in between, empty, cut short or zeros; what happened to names in a
folder that was not fsynced since may have happened or not, each by itself. fsync of a file says
nothing of its name. A rename within a folder is one step.
"""

import itertools
import os
import random
import re

from boot_scenario import Snapshot

CALLS = ["open", "openat", "openat2", "creat", "write", "writev", "pwrite64", "truncate",
         "ftruncate", "rename", "renameat", "renameat2", "link", "linkat", "symlink",
         "symlinkat", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir", "chmod", "fchmod",
         "fchmodat", "fsync", "fdatasync", "sync", "syncfs", "sendfile", "copy_file_range"]


class File:
    """Versions of content and mode, the first of which is what an fsync made sure of."""

    def __init__(self, mode, content, durable):
        self.versions = [(mode, content)]
        self.durable = durable

    def change(self, mode=None, content=None):
        old = self.versions[-1]
        self.versions.append((old[0] if mode is None else mode,
                              old[1] if content is None else content))

    def sync(self):
        self.versions = self.versions[-1:]
        self.durable = True

    def choices(self):
        if len(self.versions) == 1 and self.durable:
            return self.versions
        mode, content = self.versions[-1]
        middle = self.versions[len(self.versions) // 2]
        result = [self.versions[0], self.versions[-1], (mode, b""), middle,
                  (mode, content[:len(content) // 2]), (mode, bytes(len(content)))]
        return list(dict.fromkeys(result))


class Folder:
    def __init__(self):
        self.durable = {}  # name: File or Folder
        self.pending = []  # each a dict of name: what it becomes, None being removed

    def apply(self, operations):
        result = dict(self.durable)
        for operation in operations:
            result.update(operation)
        return {name: node for name, node in result.items() if node is not None}

    def now(self):
        return self.apply(self.pending)

    def change(self, **_):
        pass  # modes of folders are not looked at

    def sync(self):
        self.durable = self.now()
        self.pending = []

    def choices(self):
        picks = itertools.product([False, True], repeat=len(self.pending))
        return [self.apply(itertools.compress(self.pending, pick)) for pick in picks]

    def n_choices(self):
        return 1 << len(self.pending)


class Disk:
    def __init__(self, snapshot):
        self.root = Folder()
        self.synced = True
        for path in sorted(snapshot.folders):
            self.parent(path).durable[os.path.basename(path)] = Folder()
        for path, (mode, content) in snapshot.files.items():
            self.parent(path).durable[os.path.basename(path)] = File(mode, content, True)

    def find(self, path):
        node = self.root
        for part in path.split("/"):
            node = node.now().get(part) if isinstance(node, Folder) else None
        return node

    def parent(self, path):
        folder = os.path.dirname(path)
        return self.find(folder) if folder else self.root

    def nodes(self):
        """All that can be reached, or could be after a crash."""
        seen, todo = [], [self.root]
        while todo:
            node = todo.pop()
            if any(node is other for other in seen):
                continue
            seen.append(node)
            if isinstance(node, Folder):
                todo += node.durable.values()
                todo += [n for o in node.pending for n in o.values() if n is not None]
        return seen

    def names(self, path, node):
        self.parent(path).pending.append({os.path.basename(path): node})

    def create(self, path):
        if self.find(path) is None:
            self.names(path, File(0o600, b"", False))

    def rename(self, old, new):
        node = self.find(old)
        if os.path.dirname(old) == os.path.dirname(new):
            self.parent(old).pending.append({os.path.basename(old): None,
                                             os.path.basename(new): node})
        else:
            self.names(new, node)
            self.names(old, None)

    def snapshot(self, choice=None):
        """choice: node -> what it holds; the last state of each if there is none."""
        files, folders = {}, set()

        def walk(folder, path):
            entries = choice[id(folder)] if choice else folder.now()
            for name, node in entries.items():
                where = f"{path}{name}"
                if isinstance(node, Folder):
                    folders.add(where)
                    walk(node, where + "/")
                else:
                    files[where] = choice[id(node)] if choice else node.versions[-1]
        walk(self.root, "")
        return Snapshot(files, folders)

    def after_power_loss(self, limit, seed):
        """Snapshots, no two alike; if there are too many, a sample that the seed decides."""
        nodes = self.nodes()
        unsettled = [n for n in nodes if len(n.choices()) > 1]
        settled = {id(n): n.choices()[0] for n in nodes if len(n.choices()) == 1}
        options = [n.choices() for n in unsettled]
        total = 1
        for option in options:
            total *= len(option)
        if total <= limit:
            picks = itertools.product(*options)
        else:
            chance = random.Random(seed)
            picks = [[o[0] for o in options], [o[-1] for o in options]]
            picks += [[chance.choice(o) for o in options] for _ in range(limit - 2)]
        result = {}
        for pick in picks:
            snapshot = self.snapshot({**settled, **{id(n): p for n, p in zip(unsettled, pick)}})
            result.setdefault(snapshot.key(), snapshot)
        return list(result.values())


class Call:
    """One system call of a record; its paths are below the root."""

    def __init__(self, name, arguments, result, line):
        self.name, self.arguments, self.result, self.line = name, arguments, result, line


def unescape(text):
    return text.encode("latin-1").decode("unicode_escape").encode("latin-1")


ARGUMENT = re.compile(r'"(?:[^"\\]|\\.)*"|\{|\}|\[|\]|\(|\)|,|[^"{}\[\](),]+')


def split_arguments(text):
    """At the commas that are in no string and no bracket."""
    depth, parts, part = 0, [], ""
    for token in ARGUMENT.findall(text):
        if token == "," and depth == 0:
            parts.append(part.strip())
            part = ""
            continue
        depth += {"{": 1, "[": 1, "(": 1, "}": -1, "]": -1, ")": -1}.get(token, 0)
        part += token
    return parts + [part.strip()]


class Recorder:
    """Runs dmemctl on a tree with strace beside, and reads what it says."""

    def __init__(self, tree):
        self.tree = tree
        self.root = str(tree.root)

    def run(self, *arguments):
        """Returns what subprocess says, and the calls that change something below the root."""
        record = self.root + "/tmp/record"
        prefix = ["strace", "-f", "-qq", "-y", "-xx", "-s", "10000000", "-e", "signal=none",
                  "-e", "trace=" + ",".join(CALLS), "-o", record]
        result = self.tree.run(*arguments, prefix=prefix)
        with open(record, encoding="latin-1") as stream:
            calls = [call for call in self.read(stream) if call]
        os.unlink(record)
        return result, calls

    def read(self, stream):
        unfinished, main = {}, None
        for line in stream:
            pid, _, rest = line.rstrip("\n").partition(" ")
            rest = rest.strip()
            main = main or pid
            if rest.endswith("<unfinished ...>"):
                unfinished[pid] = rest[:-len("<unfinished ...>")]
                continue
            resumed = re.match(r"<\.\.\. \w+ resumed>", rest)
            if resumed:
                rest = unfinished.pop(pid) + rest[resumed.end():]
            match = re.match(r"(\w+)\((.*)\)\s+= (-?\d+|\?)(.*)$", rest)
            if not match:
                continue
            name, arguments, result, more = match.groups()
            if result.startswith(("-", "?")):
                continue
            yield self.understand(name, split_arguments(arguments), result + more, pid == main,
                                  rest)

    def below(self, path):
        path = path.removesuffix(" (deleted)")
        prefix = self.root + "/"
        return os.path.normpath(path[len(prefix):]) if path.startswith(prefix) else None

    def of_fd(self, text):
        match = re.match(r"\d+<(.*)>$", text)
        return self.below(unescape(match[1]).decode()) if match else None

    def of_path(self, text, main, at=None):
        path = unescape(text.strip('"')).decode()
        if path.startswith("/"):
            # Only dmemctl itself is outside of the root that it works on
            return self.below(path if main or path.startswith(self.root) else self.root + path)
        match = re.search(r"<(.*)>$", at or "")
        return self.below(os.path.join(unescape(match[1]).decode(), path)) if match else None

    def understand(self, name, a, result, main, line):
        path, fd = (lambda i: self.of_path(a[i], main)), (lambda i: self.of_fd(a[i]))

        def at(i):
            return self.of_path(a[i + 1], main, a[i])
        if name in ("open", "openat", "openat2", "creat"):
            flags = {"open": 1, "creat": 0}.get(name, 2)
            create = name == "creat" or "O_CREAT" in a[flags]
            truncate = name == "creat" or "O_TRUNC" in a[flags]
            if not create and not truncate:
                return None
            arguments = [self.of_fd(result.split(" ")[0]), truncate]
            name = "open"
        elif name in ("write", "pwrite64", "writev"):
            data = b"".join(unescape(s[1:-1]) for s in re.findall(r'"(?:[^"\\]|\\.)*"', a[1]))
            arguments = [fd(0), data[:int(result.split(" ")[0])]]
            assert name != "pwrite64" or a[3] == "0", line
            name = "write"
        elif name in ("sendfile", "copy_file_range"):
            arguments = [fd(0), fd(1)] if name == "sendfile" else [fd(2), fd(0)]
            arguments.append(int(result.split(" ")[0]))
            name = "copy"
        elif name in ("truncate", "ftruncate"):
            arguments = [path(0) if name == "truncate" else fd(0), int(a[1])]
            name = "truncate"
        elif name in ("rename", "link"):
            arguments = [path(0), path(1)]
        elif name in ("renameat", "renameat2", "linkat"):
            arguments = [at(0), at(2)]
            name = name[:4] if name == "linkat" else "rename"
        elif name in ("unlink", "rmdir"):
            arguments = [path(0)]
            name = "unlink"
        elif name == "unlinkat":
            arguments = [at(0)]
            name = "unlink"
        elif name == "mkdir":
            arguments = [path(0)]
        elif name == "mkdirat":
            arguments = [at(0)]
            name = "mkdir"
        elif name in ("chmod", "fchmod", "fchmodat"):
            i = 1 if name == "fchmodat" else 0
            arguments = [{"chmod": path, "fchmod": fd, "fchmodat": lambda _: at(0)}[name](0),
                         int(a[i + 1], 8)]
            name = "chmod"
        elif name in ("fsync", "fdatasync"):
            arguments = [fd(0)]
            name = "fsync"
        elif name in ("sync", "syncfs"):
            return Call("sync", [], result, line)
        else:
            raise AssertionError(f"not in the model: {line}")
        if arguments[0] is None or not arguments[0].startswith(tuple(Snapshot.FOLDERS)):
            return None
        return Call(name, arguments, result, line)


def play(disk, call):
    """Does what the call did."""
    path, *rest = call.arguments or [None]
    if call.name == "sync":
        for node in disk.nodes():
            node.sync()
        return
    if call.name == "open":
        disk.create(path)
    node = disk.find(path)
    if call.name == "open" and rest[0] and node.versions[-1][1]:
        node.change(content=b"")
    elif call.name == "write" and node:  # the file may have no name any more
        node.change(content=node.versions[-1][1] + rest[0])
    elif call.name == "copy" and node:
        content = node.versions[-1][1]
        more = disk.find(rest[0]).versions[-1][1][len(content):][:rest[1]]
        node.change(content=content + more)
    elif call.name == "truncate":
        node.change(content=node.versions[-1][1][:rest[0]].ljust(rest[0], b"\0"))
    elif call.name == "rename":
        disk.rename(path, rest[0])
    elif call.name == "link":
        disk.names(rest[0], node)
    elif call.name == "unlink":
        disk.names(path, None)
    elif call.name == "mkdir":
        disk.names(path, Folder())
    elif call.name == "chmod" and node:
        node.change(mode=rest[0] & 0o7777)
    elif call.name == "fsync":
        node.sync()
