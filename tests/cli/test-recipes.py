#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What stands in doc/recipes.md, run by those whom it is for.

Arguments: one of the kinds below. Skips (77) where the program that judges is not installed.
"""

import configparser
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

from cli import DMEMCTL, SOURCE
from host_tree import GiB, HostTree, MiB

RECIPES = SOURCE / "doc/recipes.md"


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(77)


def need(program, package):
    if not shutil.which(program):
        skip(f"{program} is not installed, the package {package} has it")


def blocks(kind):
    """The blocks behind a comment <!-- test: KIND -->, their indentation taken off."""
    found = re.findall(r"^( *)<!-- test: (\S+) -->\n\1```\w*\n(.*?)^\1```$", RECIPES.read_text(),
                       re.M | re.S)
    texts = [re.sub(rf"^{indent}", "", text, flags=re.M) for indent, k, text in found if k == kind]
    assert texts, f"{RECIPES} has no block of the kind {kind}"
    return texts


def run(command, **options):
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, **options)


def test_config(folder):
    """dmemctl understands the settings."""
    for text in blocks("config"):
        file = folder / "dmemd.conf"
        file.write_text(text)
        done = run([DMEMCTL, f"--config={file}", "check-config"])
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), (text, done)


def test_qemu(folder):
    """QEMU takes the options and does with them what the text says, on a file system of this machine."""
    need("qemu-system-x86_64", "qemu-system-x86")
    need("qemu-img", "qemu-utils")
    # Asked by QMP before anything runs; memory is neither touched nor, as there may be too little, taken
    talk = [{"execute": "qmp_capabilities"}, {"execute": "query-memdev"}, {"execute": "quit"}]
    for text in blocks("qemu"):
        text = text.replace("/run/dmemfs", shlex.quote(str(folder))).replace(",prealloc=on", "")
        text = text.rstrip("\n") + " -nodefaults -display none -accel tcg -S -qmp stdio\n"
        done = run(["sh", "-e", "-c", text], cwd=folder,
                   input="".join(json.dumps(x) + "\n" for x in talk))
        assert done.returncode == 0, done
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        backends = [b for a in answers if isinstance(a.get("return"), list) for b in a["return"]]
        assert len(backends) == text.count("-object"), done.stdout
        for backend in backends:
            assert backend["share"] is True, backend
            assert backend["size"] in (16 * GiB, 4 * GiB), backend
            assert backend["prealloc"] is False, backend
        assert not list(folder.glob("qemu_back_mem*")), "QEMU has left its file behind"


def test_libvirt(folder):
    """The domain is one by libvirt's schema, and says what dmemfs needs."""
    need("xmllint", "libxml2-utils")
    schema = pathlib.Path("/usr/share/libvirt/schemas/domain.rng")
    if not schema.exists():
        skip(f"{schema} does not exist, the package libvirt0 or libvirt-common has it")
    for number, text in enumerate(blocks("libvirt")):
        file = folder / f"{number}.xml"
        file.write_text(text)
        done = run(["xmllint", "--noout", "--relaxng", str(schema), str(file)])
        assert done.returncode == 0, done.stderr
        for wanted in ("<source type='file'/>", "<access mode='shared'/>", "cache='writeback'"):
            assert wanted in text, wanted
        # The schema has to be one that can say no
        file.write_text(text.replace("mode='shared'", "mode='for all'"))
        assert run(["xmllint", "--noout", "--relaxng", str(schema), str(file)]).returncode != 0
    (text,) = blocks("qemu.conf")
    assert re.search(r'^memory_backing_dir = "/run/dmemfs"$', text, re.M), text


def read_ini(text):
    parser = configparser.ConfigParser(default_section="none", strict=True)
    parser.read_string(text)
    return parser


def quantity(text):
    """A quantity of Kubernetes in bytes."""
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", text).groups()
    return int(number) * {"Mi": MiB, "Gi": GiB}[unit]


def test_consumers(folder):
    """nova gets the number that the command beside it prints; what the kubelet reserves adds up."""
    need("jq", "jq")
    try:
        import yaml
    except ImportError:
        skip("the package python3-yaml is not installed")
    HostTree(folder / "root")
    (folder / "dmemctl").write_text(f'#!/bin/sh\nexec {shlex.quote(DMEMCTL)} --root={folder}/root "$@"\n')
    (folder / "dmemctl").chmod(0o755)
    (command,) = blocks("granted")
    done = run(["sh", "-e", "-c", command], env=os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"})
    assert done.returncode == 0, done
    (nova,) = map(read_ini, blocks("nova"))
    assert done.stdout.strip() == nova["libvirt"]["file_backed_memory"] == "10240", done
    assert nova["DEFAULT"]["reserved_host_memory_mb"] == "0"
    assert nova["DEFAULT"]["ram_allocation_ratio"] == "1.0"

    (kubelet,) = map(yaml.safe_load, blocks("kubelet"))
    reserved = sum(quantity(n["limits"]["memory"]) for n in kubelet["reservedMemory"])
    wanted = sum(map(quantity, (kubelet["systemReserved"]["memory"], kubelet["kubeReserved"]["memory"],
                                kubelet["evictionHard"]["memory.available"])))
    assert reserved == wanted, (reserved, wanted)


KINDS = {"config": test_config, "qemu": test_qemu, "libvirt": test_libvirt, "consumers": test_consumers}

if __name__ == "__main__":
    named = set(re.findall(r"<!-- test: (\S+) -->", RECIPES.read_text()))
    assert named == {"config", "qemu", "libvirt", "qemu.conf", "nova", "granted", "kubelet"}, named
    with tempfile.TemporaryDirectory(prefix="dmemd-test-") as name:
        KINDS[sys.argv[1]](pathlib.Path(name))
