"""``farm phone-runtime``: the portable runtimes that this machine's agent pushes to its phones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from farm.cli import output
from farm.cli.output import JsonFlag
from farm.config import load
from farm.errors import NotFoundError, UserError

if TYPE_CHECKING:
    from agents.phone_runtime.bundle import Abi, Bundle

app = typer.Typer(help="Portable runtimes for phones: CPython and engines, pushed by adb.", no_args_is_help=True)

AbiOption = Annotated[str, typer.Option(help="arm64-v8a (phones) or x86_64 (emulators, virtual phones).")]
DigestArgument = Annotated[str, typer.Argument(help="Its digest, or how it begins.")]
MirrorOption = Annotated[str | None, typer.Option(help="Of Debian's archive.", show_default=False)]
LockOption = Annotated[Path | None, typer.Option("--lock", help="A lock in place of the committed one.")]


@app.command()
def build(
    abi: AbiOption = "arm64-v8a",
    layers: Annotated[str, typer.Option("--with", help="Layers, by commas.")] = "onnxruntime,litert,ncnn,mnn",
    python_archive: Annotated[
        Path | None, typer.Option(help="A relocatable CPython 3.11 (install_only) in place of Debian's.")
    ] = None,
    packages: Annotated[Path | None, typer.Option(help="A folder with .deb and .whl files to take first.")] = None,
    lock_file: LockOption = None,
    mirror: MirrorOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Make a bundle of pinned parts; what is made already stays. Old bundles go."""
    from agents.phone_runtime import compiling, debian, lock, shelf
    from agents.phone_runtime.build import Builder

    folder, wanted = load().phone_runtime_dir, _abi(abi)
    pinned = lock.Lock.read(lock_file or lock.path_of(wanted))
    if pinned.abi != wanted:
        raise UserError(f"{lock_file} is a lock for {pinned.abi}.", remedy=f"Name it with --abi {pinned.abi}.")
    for named in (python_archive, packages):
        if named is not None and not named.exists():
            raise NotFoundError(f"There is no {named}.", remedy="Check the path.")
    output.note(f"Building in {folder}.")
    if not compiling.possible():
        output.note("This is not Python 3.11: phones will compile every module at every start, which takes seconds.")
    builder = Builder(folder, pinned, packages=packages, python_archive=python_archive, mirror=mirror or debian.MIRROR)
    built = builder.build(filter(None, layers.split(",")))
    shelf.prune(folder)
    total = output.size(sum(layer.size_bytes for layer in built.bundle.layers))
    text = f"{built.bundle.digest[:12]} for {abi}: {total} in {output.seconds(built.seconds)}; new layers: " + (
        ", ".join(built.made) or "none"
    )
    output.emit({**_described(built.bundle), "made": built.made, "seconds": built.seconds}, as_json, text)


@app.command("list")
def list_bundles(as_json: JsonFlag = False) -> None:
    """The bundles on this machine; the newest of an ABI is the one in use."""
    from agents.phone_runtime import shelf

    found = shelf.bundles(load().phone_runtime_dir)
    rows = [
        (
            bundle.digest[:12],
            bundle.abi,
            output.state("usable" if bundle.complete() else "missing"),
            output.size(sum(layer.size_bytes for layer in bundle.layers)),
            ", ".join(bundle.runtimes),
        )
        for bundle in found
    ]
    human = output.table(
        ("bundle", "abi", "state", "size", "runtimes"), rows, "There is none: farm phone-runtime build."
    )
    output.emit([_described(bundle) for bundle in found], as_json, human)


@app.command()
def show(digest: DigestArgument, as_json: JsonFlag = False) -> None:
    """The layers of a bundle."""
    bundle = _found(digest)
    rows = [
        (
            layer.name,
            layer.sha256[:12],
            output.size(layer.size_bytes),
            output.size(layer.unpacked_bytes),
            ", ".join(f"{name} {version}" for name, version in layer.distributions.items()),
        )
        for layer in bundle.layers
    ]
    output.emit(_described(bundle), as_json, output.table(("layer", "sha256", "size", "unpacked", "holds"), rows, ""))


@app.command()
def verify(digest: DigestArgument = "", as_json: JsonFlag = False) -> None:
    """Read every layer and compare it with its hash. Without a digest: of all bundles."""
    from agents.phone_runtime import shelf

    bundles = [_found(digest)] if digest else shelf.bundles(load().phone_runtime_dir)
    for bundle in bundles:
        bundle.verify()
    output.emit({"verified": [b.digest for b in bundles]}, as_json, f"{len(bundles)} bundles are whole.")


@app.command()
def remove(digest: DigestArgument, as_json: JsonFlag = False) -> None:
    """Remove a bundle, and the layers that no other has. What was downloaded stays."""
    from agents.phone_runtime import shelf

    folder, bundle = load().phone_runtime_dir, _found(digest)
    shelf.remove(folder, bundle.digest)
    freed_bytes = shelf.prune(folder, idle_seconds=0.0)
    text = f"{bundle.digest[:12]} is removed, which frees {output.size(freed_bytes)}."
    output.emit({"removed": bundle.digest, "freed_bytes": freed_bytes}, as_json, text)


@app.command()
def lock(
    abi: AbiOption = "arm64-v8a",
    to: Annotated[Path | None, typer.Option("--output", help="Default: the committed one.")] = None,
    mirror: MirrorOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Write down what Debian and pip's index offer now. Look at the difference before it is committed."""
    from agents.phone_runtime import debian
    from agents.phone_runtime import lock as locks
    from agents.phone_runtime.build import make_lock

    wanted = _abi(abi)
    path = to or locks.path_of(wanted)
    made = make_lock(wanted, load().phone_runtime_dir, mirror or debian.MIRROR)
    made.write(path)
    text = f"{path}: {len(made.debs)} packages and {len(made.wheels)} wheels."
    output.emit({"path": str(path), **made.model_dump(mode="json")}, as_json, text)


def _abi(text: str) -> Abi:
    from agents.phone_runtime.bundle import ABIS

    for abi in ABIS:
        if abi == text:
            return abi
    raise UserError(f"There is no phone runtime for {text!r}.", remedy=f"Choose from {', '.join(ABIS)}.")


def _found(digest: str) -> Bundle:
    from agents.phone_runtime import shelf

    folder = load().phone_runtime_dir
    found = [bundle for bundle in shelf.bundles(folder) if bundle.digest.startswith(digest)]
    if len(found) == 1:
        return found[0]
    many = "several bundles" if found else "no bundle"
    raise NotFoundError(f"There is {many} {digest!r} in {folder}.", remedy="`farm phone-runtime list` shows them.")


def _described(bundle: Bundle) -> dict[str, Any]:
    return {**bundle.model_dump(mode="json"), "runtimes": bundle.runtimes, "complete": bundle.complete()}
