"""Carry out a Dockerfile by hand, without a Docker engine.

Dockerfile ──► stages ──RUN, COPY──► layers (overlays) ──read-only overlay, chroot──► container

The base image is this machine's own root file system with Debian's Python, or another folder that
holds one. Needs root on Linux. Knows the instructions that our Dockerfile uses and no other.
"""

import json
import re
import shlex
import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path


@dataclass(frozen=True)
class Stage:
    """One build stage: its layers, uppermost first, and the settings of its containers."""

    layers: tuple[Path, ...]
    env: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    user: str = "0:0"
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    healthcheck: tuple[str, ...] = ()

    def argv(
        self, *command: str, mount: Path, extra: tuple[str, ...] = (), writable: Path | None = None
    ) -> list[str]:
        """A host command that runs `command` in this stage, with its user and environment only.

        The root file system is read-only, but for /tmp; `writable` is a scratch folder for a
        build step, which writes the uppermost layer. `extra` are shell lines that mount more.
        """
        lower = self.layers if writable is None else self.layers[1:]
        options = f"lowerdir={':'.join(map(str, lower))}"
        if writable is not None:
            options += f",upperdir={self.layers[0]},workdir={writable}"
        script = [
            "set -e",
            f"mount -t overlay overlay -o {options} {mount}",
            f"mount -t proc proc {mount}/proc",
            f"mount --rbind /dev {mount}/dev",
            f"mount -t tmpfs tmpfs {mount}/tmp",
            *extra,
            f'exec chroot --userspec={self.user} {mount} "$@"',
        ]
        inside = ["sh", "-c", f'cd {self.workdir} && exec "$@"', "sh", *command]
        env = [f"{name}={value}" for name, value in self.env.items()]
        # A process namespace of its own, as in a container: the command has the process id 1.
        apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
        host = [*apart, "sh", "-c", "\n".join(script), "sh"]
        return [*host, "env", "-i", *env, *inside]


class Builder:
    """Builds targets of the Dockerfile in `context` under `work`, which must not lie in the base.

    (The kernel refuses overlays whose layers contain each other: with / as the base, `work` must be
    on another file system, such as /dev/shm.)
    """

    def __init__(
        self, context: Path, work: Path, *, base: Path = Path("/"), host_env: dict[str, str]
    ) -> None:
        self._context, self._work, self._host_env = context, work, host_env
        self._stages: dict[str, Stage] = {}
        text = (context / "Dockerfile").read_text()
        parts = re.split(r"^(?=FROM )", text, flags=re.MULTILINE)[1:]
        self._bodies = {re.search(r" AS (\S+)", part)[1]: part for part in parts}
        self.mount = work / "mount"
        self.mount.mkdir()
        # What the Python image has, and this machine calls by another name.
        programs = work / "base/usr/local/bin"
        programs.mkdir(parents=True)
        (programs / "python").symlink_to("/usr/bin/python3")
        (programs / "pip").write_text('#!/bin/sh\nexec /usr/bin/python3 -m pip "$@"\n')
        (programs / "pip").chmod(0o755)
        env = {"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        self._base = Stage(layers=(work / "base", base), env=env)

    def build(self, target: str) -> Stage:
        """The stage called `target`, once every stage that it stands on has been built."""
        if target not in self._stages:
            (_, origin), *rest = instructions(self._bodies[target])
            parent = origin.split()[0]
            stage = self.build(parent) if parent in self._bodies else self._base
            layer = self._work / target
            layer.mkdir()
            stage = replace(stage, layers=(layer, *stage.layers))
            for word, arguments in rest:
                stage = self._apply(stage, word, arguments)
            self._stages[target] = stage
        return self._stages[target]

    def _apply(self, stage: Stage, word: str, arguments: str) -> Stage:
        match word:
            case "ENV":
                return replace(stage, env=stage.env | assignments(arguments, stage.env))
            case "WORKDIR":
                (stage.layers[0] / arguments.lstrip("/")).mkdir(parents=True, exist_ok=True)
                return replace(stage, workdir=arguments)
            case "USER":
                return replace(stage, user=arguments)
            case "ENTRYPOINT":
                return replace(stage, entrypoint=tuple(json.loads(arguments)))
            case "CMD":
                return replace(stage, command=tuple(json.loads(arguments)))
            case "HEALTHCHECK":
                return replace(stage, healthcheck=tuple(json.loads(arguments.split(" CMD ")[1])))
            case "RUN":
                self._run(stage, "sh", "-c", arguments)
            case "COPY":
                self._copy(stage, arguments.split())
            case _:
                assert word in {"LABEL", "ARG", "EXPOSE"}, f"{word} is not known here"
        return stage

    def _run(self, stage: Stage, *command: str, extra: tuple[str, ...] = ()) -> None:
        scratch = self._work / "scratch"
        scratch.mkdir(exist_ok=True)
        step = replace(stage, env=self._host_env | stage.env)
        argv = step.argv(*command, mount=self.mount, extra=extra, writable=scratch)
        done = subprocess.run(argv, check=False, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"

    def _copy(self, stage: Stage, words: list[str]) -> None:
        """Copy within the stage, from a folder that shows the context or the other stage."""
        origin, folder = f"{self.mount}/tmp", "/tmp"
        if words[0].startswith("--from="):
            other = self.build(words.pop(0).removeprefix("--from="))
            extra = (
                f"mount -t overlay overlay -o lowerdir={':'.join(map(str, other.layers))} {origin}",
            )
        else:
            kept_out = {w.strip("/") for w in words[:-1]} - permitted(self._context)
            assert not kept_out, f".dockerignore keeps {kept_out} out"
            extra = (f"mount --bind -o ro {self._context} {origin}",)
        *sources, target = words
        # Docker copies what a folder holds into the target; cp, the folder itself.
        parts = [f"{folder}/{s.strip('/')}" for s in sources]
        into = " ".join(f'if [ -d {p} ]; then mkdir -p {target} && cp -a {p}/. {target}; '
                        f'else cp -a {p} {target}; fi;' for p in parts)  # fmt: skip
        self._run(replace(stage, user="0:0"), "sh", "-ec", into, extra=extra)


def instructions(text: str) -> list[tuple[str, str]]:
    """(INSTRUCTION, arguments) in order, with comments dropped and continued lines joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    pairs = (line.split(maxsplit=1) for line in joined.splitlines() if line.strip())
    return [(word.upper(), rest) for word, rest in pairs]


def assignments(text: str, env: dict[str, str]) -> dict[str, str]:
    """NAME=value words, with $NAME replaced."""
    pairs = (word.split("=", 1) for word in shlex.split(text))
    return {name: re.sub(r"\$(\w+)", lambda m: env[m[1]], value) for name, value in pairs}


def permitted(context: Path) -> set[str]:
    """What .dockerignore, an allow-list, lets into the build."""
    lines = (context / ".dockerignore").read_text().split()
    assert "*" in lines, "the allow-list begins by refusing everything"
    return {line[1:].strip("/") for line in lines if line.startswith("!")}
