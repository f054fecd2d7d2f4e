"""The options of all commands: each one works, or the command does not take it."""

import argparse
import importlib
import json
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.agent import environment
from support.kube_api import KubeApi
from support.zombies import zombies

from tracer import options
from tracer.cli import main
from tracer.commands import arguments, kubectl
from tracer.commands.parsing import build_parser

COMMANDS = ("scan", "explain", "emulate", "doctor")

RECORDER = r"""
import argparse, dataclasses, json, sys
from tracer import cli, options
from tracer.commands import kubectl

read_args, read_options = set(), set()

def reader():
    return sys._getframe(2).f_globals["__name__"]

class Arguments(argparse.Namespace):
    def __getattribute__(self, name):
        if reader() not in ("argparse", "tracer.options"):
            read_args.add(name)
        return super().__getattribute__(name)

class Options(options.Options):
    def __getattribute__(self, name):
        if reader() != "dataclasses":
            read_options.add(name)
        return super().__getattribute__(name)

argparse.Namespace, options.Options = Arguments, Options
report, *words = sys.argv[1:]
if words[0] == "kubectl":
    status = kubectl.run(words[1:])
else:
    status = cli.main(words[1:] if words[0] == "agent" else words)
with open(report, "w") as file:
    json.dump({"args": sorted(read_args), "options": sorted(read_options)}, file)
sys.exit(status)
"""
"""Runs a command, and notes which arguments and options its code reads."""

FIELDS = {name: name for name in arguments.ALL} | {
    "min_age": "min_age_ns",
    "no_kubernetes": "kubernetes",
    **dict.fromkeys(arguments.FILTERS, "filters"),
}
"""The field of Options that carries each option."""


def parser_of(command):
    """Return a command's own parser."""
    if command == "agent":
        return build_parser([])
    if command == "kubectl":
        return kubectl.build_parser()
    subparsers = argparse.ArgumentParser().add_subparsers()
    importlib.import_module(f"tracer.commands.{command}").add_parser(subparsers)
    return subparsers.choices[command]


def names_of(command):
    """Return the names of what a command takes, except help, version and the command itself."""
    return {
        action.dest
        for action in parser_of(command)._actions
        if action.dest not in ("help", "version", "command")
    }


@pytest.fixture
def api(tmp_path):
    server = KubeApi()
    yield server.kubeconfig(tmp_path / "kubeconfig")
    server.close()


def read_by(command, *words, tmp_path, until_signal=False, **variables):
    """Run a command to its end; return which arguments and options it read."""
    report = tmp_path / "report"
    process = subprocess.Popen(
        [sys.executable, "-c", RECORDER, report, command, *words],
        env=environment(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if until_signal:
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode in (0, 1), errors
    return SimpleNamespace(**json.loads(report.read_text()))


KUBECTL = """#!/bin/sh
case " $* " in
*" get "*) echo '{"items": [{"metadata": {"name": "a"}, "spec": {"nodeName": "worker-1"},
                 "status": {"phase": "Running"}}]}' ;;
esac
"""


def words_of(command, pid, api, tmp_path):
    """Return options with which a command reads all its options and ends soon."""
    state = ("--state-dir", str(tmp_path / "state"), "--kubeconfig", api)
    return {
        "agent": ("--source", "core", *state),
        "scan": ("-o", "json", *state),
        "explain": (str(pid), "--source", "core", "--watch", "10ms", *state),
        "emulate": ("--hold", "0s"),
        "doctor": state,
        "kubectl": ("--node", "worker-1"),
    }[command]


@pytest.mark.kernel
@pytest.mark.parametrize("command", ["agent", *COMMANDS, "kubectl"])
def test_every_accepted_option_is_read(command, api, tmp_path):
    """An option that no code reads would be accepted and ignored."""
    (tmp_path / "kubectl").write_text(KUBECTL)
    (tmp_path / "kubectl").chmod(0o755)
    with zombies(1) as family:
        words = words_of(command, family.pids[0], api, tmp_path)
        done = read_by(
            command,
            *words,
            tmp_path=tmp_path,
            until_signal=command == "agent",
            PATH=f"{tmp_path}:{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin",
        )
    ignored = {
        name
        for name in names_of(command)
        if (FIELDS[name] not in done.options if name in FIELDS else name not in done.args)
    }
    assert ignored == set()


@pytest.mark.parametrize("command", ["agent", *COMMANDS])
def test_the_help_says_which_options_can_be_variables(command):
    """All but those under "options", and `options.read` takes just those from the environment."""
    parser = parser_of(command)
    own, shared = set(), set()
    for group in parser._action_groups:
        names = {action.dest for action in group._group_actions}
        (own if group.title in ("options", "positional arguments") else shared).update(names)
    assert shared == names_of(command) & set(arguments.ALL)
    assert not own & set(arguments.ALL)
    assert ('not listed under "options"' in parser.format_help()) == bool(shared)


VALUES = {
    "source": "proc", "min_age": "1h", "namespace": "shop", "pod": "web-1", "container": "app",
    "selector": "app=web", "pods_only": "yes", "kubeconfig": "/some/file", "no_kubernetes": "1",
    "node_name": "worker-9", "state_dir": "none", "command_lines": "on", "proc_root": "/host/proc",
    "log_level": "debug", "map_entries": "4096", "log_burst": "5", "log_rate": "2",
    "metrics_address": "127.0.0.1:9464", "kubelet_cgroup_root": "/kubelet",
}  # fmt: skip


@pytest.mark.parametrize("name", arguments.ALL)
def test_a_variable_sets_its_option_where_the_command_has_it(name):
    variables = {f"TRACER_{name.upper()}": VALUES[name]}
    declared = argparse.Namespace(**dict.fromkeys(arguments.ALL))

    def read(args, variables):
        return options.read(args, min_age="0s", environment=variables, host_name=lambda: "host")

    assert read(declared, variables) != read(declared, {})
    # The agent's variables in its container must not change a command without the option.
    assert read(argparse.Namespace(), variables) == read(argparse.Namespace(), {})
    assert read(argparse.Namespace(), {f"TRACER_{name.upper()}": "?!"}) == read(declared, {})


REFUSED = [
    # arguments, and what the line must name
    (["explain", "4711", "-n", "shop"], "-n"),
    (["explain", "-n", "shop", "4711"], "-n"),
    (["explain", "4711", "--pod", "web-1"], "--pod"),
    (["explain", "4711", "-l", "app=web"], "-l"),
    (["explain", "4711", "--pods-only"], "--pods-only"),
    (["explain", "4711", "--min-age", "5s"], "--min-age"),
    (["explain", "4711", "--container", "app"], "--container"),
    (["explain", "4711", "--command-lines"], "--command-lines"),
    (["scan", "--map-entries", "4096"], "--map-entries"),
    (["scan", "--metrics-address", "127.0.0.1:9464"], "--metrics-address"),
    (["scan", "--command-lines"], "-o json"),
    (["--follow", "--command-lines"], "-o json"),
    (["--follow", "--log-burst", "5"], "--log-burst"),
    (["--follow", "-o", "json", "--log-rate", "5"], "--log-rate"),
    (["scan", "--log-rate", "5"], "--log-rate"),
    (["doctor", "--source", "core"], "--source"),
    (["doctor", "--min-age", "5s"], "--min-age"),
    (["emulate", "--node-name", "worker-1"], "--node-name"),
    (["--by", "pod"], "--by"),
]


@pytest.mark.parametrize(("words", "named"), REFUSED, ids=[" ".join(words) for words, _ in REFUSED])
def test_an_option_that_a_command_would_ignore_is_refused(words, named, capsys):
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    [line] = said.err.splitlines()
    assert line.startswith("tracer: error: ")
    assert named in line
    command = "" if words[0].startswith("-") else f" {words[0]}"
    if "-o json" not in named:
        assert f"`tracer{command} --help`" in line
