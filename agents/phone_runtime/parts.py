"""What each layer is made of, and what of it a phone does not need.

Patterns are shell patterns over paths below ``site`` or ``lib/python3.11``; ``*`` also matches slashes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from agents.phone_runtime.bundle import BASE, Abi


@dataclass(frozen=True)
class Part:
    """A layer to be. ``wheels``: pip requirements, all of them: no dependency is followed. ``wheels_of``: more for one
    ABI. ``debs``: Debian packages. ``without``: what is left out of wheels; ``keep`` wins over it."""

    name: str
    wheels: tuple[str, ...]
    wheels_of: dict[Abi, tuple[str, ...]] = field(default_factory=dict)
    debs: tuple[str, ...] = ()
    runtimes: tuple[str, ...] = ()
    requires: tuple[str, ...] = (BASE,)
    without: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()

    def requirements(self, abi: Abi) -> tuple[str, ...]:
        return self.wheels + self.wheels_of.get(abi, ())

    def wants(self, path: str) -> bool:
        return _any(path, self.keep) or not _any(path, WITHOUT + self.without)


# Of every wheel: what compilers, type checkers and tests need.
WITHOUT = (
    "*.pyc",
    "*.pyi",
    "*.pyx",
    "*.pxd",
    "*.a",
    "*.h",
    "*.hpp",
    "*.cuh",
    "*.cmake",
    "*.f90",
    "*/tests/*",
    "*/include/*",
)

CPYTHON = ("python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib")
LIBC = ("libc6", "libgcc-s1", "libstdc++6")
# What CPython's own modules need; the engines bring theirs.
LIBRARIES = ("libbz2-1.0", "libexpat1", "libffi8", "liblzma5", "libuuid1", "zlib1g")

# By the names programs ask for. No name service, no OpenSSL: a measurement speaks to nobody, and hashlib has its own.
SHARED = (
    "ld-linux-aarch64.so.1",
    "ld-linux-x86-64.so.2",
    "libbz2.so.1.0",
    "libc.so.6",
    "libdl.so.2",
    "libexpat.so.1",
    "libffi.so.8",
    "libgcc_s.so.1",
    "liblzma.so.5",
    "libm.so.6",
    "libmvec.so.1",
    "libpthread.so.0",
    "libpython3.11.so.1.0",
    "libresolv.so.2",
    "librt.so.1",
    "libstdc++.so.6",
    "libutil.so.1",
    "libuuid.so.1",
    "libz.so.1",
)

# Of the standard library.
STDLIB_WITHOUT = (
    "__phello__/*",
    "config-3.11*",
    "ensurepip/*",
    "idlelib/*",
    "lib-dynload/_codecs_*",
    "lib-dynload/_crypt.*",
    "lib-dynload/_curses*",
    "lib-dynload/_dbm.*",
    "lib-dynload/_hashlib.*",
    "lib-dynload/_sqlite3.*",
    "lib-dynload/_ssl.*",
    "lib-dynload/_test*",
    "lib-dynload/_tkinter*",
    "lib-dynload/_xx*",
    "lib-dynload/nis.*",
    "lib-dynload/ossaudiodev.*",
    "lib-dynload/readline.*",
    "lib-dynload/xx*",
    "lib2to3/*",
    "pydoc_data/*",
    "site-packages/*",
    "sitecustomize.py",
    "sqlite3/*",
    "test/*",
    "*/test/*",
    "*/tests/*",
    "tkinter/*",
    "turtle.py",
    "turtledemo/*",
    "*.pyc",
    "*.a",
    "*.exe",
)

PARTS = (
    Part(
        BASE,
        ("numpy==2.3.5",),
        debs=CPYTHON + LIBC + LIBRARIES,
        requires=(),
        without=("numpy/f2py/*", "numpy/distutils/*", "numpy/_pyinstaller/*"),
    ),
    Part(
        "onnxruntime",
        ("onnxruntime==1.31.1",),
        runtimes=("onnxruntime",),
        # The C library is in the Python module once more.
        without=(
            "onnxruntime/backend/*",
            "onnxruntime/capi/libonnxruntime.so*",
            "onnxruntime/datasets/*",
            "onnxruntime/quantization/*",
            "onnxruntime/tools/*",
            "onnxruntime/transformers/*",
        ),
    ),
    Part(
        "litert",
        ("ai-edge-litert==2.3.0",),
        runtimes=("litert",),
        without=(
            "ai_edge_litert/_pywrap_litert_converter.so",
            "ai_edge_litert/aot/*",
            "ai_edge_litert/libLiteRt*",
            "ai_edge_litert/tools/*",
            "ai_edge_litert/vendors/*",
        ),
    ),
    Part("ncnn", ("ncnn==1.0.20261020",), runtimes=("ncnn",), without=("ncnn/model_zoo/*",)),
    Part("mnn", ("MNN==3.6.1",), runtimes=("mnn",), without=("_tools.*", "MNN/tools/*", "MNN/llm/*")),
    Part(
        "torch",
        ("typing_extensions==4.12.2", "sympy==1.14.0", "mpmath==1.3.0"),
        wheels_of={
            # From 2.11 on the wheels for arm64 carry CUDA.
            "arm64-v8a": ("torch==2.10.0",),
            "x86_64": ("torch==2.13.0+cpu",),
        },
        runtimes=("torchscript", "pytorch-mobile", "pytorch"),
        without=("torch/bin/*", "torch/share/*", "torch/test/*", "torch/testing/_internal/*", "sympy/*/benchmarks/*"),
        # torch does not load where these are missing.
        keep=(
            "torch/bin/torch_shm_manager",
            "torch/testing/_internal/__init__.py",
            "torch/testing/_internal/common_dtype.py",
            "torch/testing/_internal/distributed/__init__.py",
            "torch/testing/_internal/distributed/fake_pg.py",
            "torch/testing/_internal/logging_tensor.py",
        ),
    ),
    Part(
        "executorch",
        (),
        # The pair of torch: its C++ interface is not stable over releases.
        wheels_of={"arm64-v8a": ("executorch==1.1.0",), "x86_64": ("executorch==1.4.0",)},
        debs=("libpython3.11",),  # which the bindings name as a library they need
        runtimes=("executorch",),
        requires=(BASE, "torch"),
        without=("executorch/*",),
        keep=(
            "executorch/backends/qualcomm/libqnn_executorch_backend.so",  # the bindings do not load without it
            "executorch/extension/pybindings/*.so",
            "executorch/extension/pybindings/*.py",
            "executorch/kernels/quantized/*.py",
            "executorch/kernels/quantized/*.so",
            "executorch/version.py",
        ),
    ),
)


def part(name: str) -> Part:
    """Raises KeyError."""
    return {each.name: each for each in PARTS}[name]


def stdlib_wants(path: str) -> bool:
    return not _any(path, STDLIB_WITHOUT)


def _any(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)
