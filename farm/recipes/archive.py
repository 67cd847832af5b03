"""What is looked at in an uploaded program before any of it is loaded.

``torch.export.load`` runs code that the sender chose, in more ways than ``TORCH_FORCE_WEIGHTS_ONLY_LOAD=1`` stops
(tried on torch 2.13: sizes are evaluated by sympy, guards are compiled, operators are looked up by dotted name). So a
``.pt2`` is read with PyTorch's own reader (no second opinion on what the zip holds), every member and every string
that could become code is checked against what an exporter writes, and a clean copy without sample inputs and guards
is written; only the copy is ever loaded. TorchScript is a program by nature: only operators that touch files are
refused here, the sandbox has to do the rest.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

from farm.errors import ModelError
from farm.recipes.boundary import Boundary

_PT2_KEPT = re.compile(
    r"models/model\.json|data/(weights|constants)/model_(weights|constants)_config\.json"
    r"|data/weights/weight_\d+|data/constants/tensor_\d+"
)
_PT2_DROPPED = re.compile(
    r"archive_format|archive_version|byteorder|\.data/\w+|\.format_version|\.storage_alignment"
    r"|data/sample_inputs/model\.pt|extra/.*"
)
_SAMPLE_INPUTS = "data/sample_inputs/model.pt"

_NAME = re.compile(r"[A-Za-z_]\w*|")
_PLAIN = re.compile(r"[\w.:#<>\[\]-]*")  # never a call, a statement or a line break
_FREE_TEXT = {"metadata", "as_string", "as_strings", "torch_version"}  # kept as data by PyTorch, never evaluated
_NAMES = {"name", "as_name"}
_ARITHMETIC = "eq ne le ge lt gt neg pos mul add sub floordiv mod pow truediv and_ or_ lshift rshift getitem"
_CONTROL_FLOW = "cond while_loop map_impl scan associative_scan wrap_with_set_grad_enabled wrap_with_autocast"
OPERATOR_NAMESPACES = ("aten", "prims", "prim", "quantized", "quantized_decomposed", "torchao", "higher_order")
_OPERATOR = re.compile(
    rf"torch\.ops\.({'|'.join(OPERATOR_NAMESPACES[:-1])})\.(?!from_file)(\w+)\.[A-Za-z]\w*"
    rf"|torch\.ops\.higher_order\.({_CONTROL_FLOW.replace(' ', '|')})"
    rf"|_operator\.({_ARITHMETIC.replace(' ', '|')})|math\.trunc|torch\.sym_(not|int|float|ite|max|min|sqrt)"
)
_CUSTOM = re.compile(r"torch\.ops\.([A-Za-z]\w*)\.([A-Za-z]\w*)\.[A-Za-z]\w*")
_SYMBOL = re.compile(r"[a-z]{1,5}\d+|int_oo|oo|True|False")
_FUNCTION = re.compile(
    "FloorDiv|ModularIndexing|Where|PythonMod|Mod|CleanDiv|CeilToInt|FloorToInt|CeilDiv|LShift|RShift|PowByNatural"
    "|FloatPow|FloatTrueDiv|IntTrueDiv|IsNonOverlappingAndDenseIndicator|TruncToFloat|TruncToInt|RoundToInt"
    "|RoundDecimal|ToFloat|Identity|Max|Min|Pow|Eq|Ne|Ge|Gt|Le|Lt|And|Or|Not|floor|ceiling|Abs"
    "|Integer|Rational|Add|Mul"
)
_SREPR_SYMBOL = r"Symbol\('[a-z]{1,5}\d+'(?:, (?:positive|nonnegative|integer)=True)*\)"  # as torch 2.13 writes them
_EXPRESSION = re.compile(rf"{_SREPR_SYMBOL}|([A-Za-z_]\w*)|\d+(\.\d+)?|[\s+*/%(),<>=!&|~-]")
_CONTAINERS = {None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"}

_SCRIPT_FILES = re.compile(rb"\bfrom_file\b|\b(torch|aten)(\.|::)save\b|\bdebugprims\b")
_SCRIPT_CLASSES = re.compile(rb"torch\.classes\.(?!(quantized|xnnpack|rnn)\b)(\w+)")
_SCRIPT_OPERATORS = re.compile(rb"\bops\.(?!(aten|prim|prims|quantized)\b)(\w+)\.(\w*)")
_SCRIPT_CODE_BYTES = 64 * 2**20  # of source after decompression; the largest models have about a tenth

_EXPORT_AGAIN = "Export the model again with torch.export.save, or hand the nn.Module to farm.Client."


def clean_pt2(source: Path, destination: Path, operators: Set[str] = frozenset()) -> None:
    """Check an uploaded ``.pt2`` and write a copy of it that is safe to load. ``operators``: custom ones that it may
    use, as ``library::operator``. Raises ModelError."""
    from torch.export.pt2_archive._package import PT2ArchiveReader, PT2ArchiveWriter

    _check_zip(source)
    with Boundary(ModelError, "The file is no .pt2 program", _EXPORT_AGAIN):
        reader = PT2ArchiveReader(str(source))
    with reader, PT2ArchiveWriter(str(destination)) as writer:
        members = reader.get_file_names()
        if "models/model.json" not in members:
            raise ModelError("The .pt2 file holds no program named 'model'.", remedy=_EXPORT_AGAIN)
        for member in members:
            if _PT2_KEPT.fullmatch(member):
                content = reader.read_bytes(member)
                writer.write_bytes(
                    member, _clean_json(member, content, operators) if member.endswith(".json") else content
                )
            elif not _PT2_DROPPED.fullmatch(member):
                raise ModelError(
                    f"The .pt2 file holds {member!r}, which the farm never loads "
                    "(only graph, weights and tensor constants are accepted).",
                    remedy=_EXPORT_AGAIN,
                )
        writer.write_bytes(_SAMPLE_INPUTS, b"")


def _check_zip(path: Path) -> None:
    """A .pt2 stores its members uncompressed: whatever would grow on reading is not one."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except zipfile.BadZipFile as error:
        raise ModelError(f"The file cannot be read as an archive: {error}.", remedy=_EXPORT_AGAIN) from error
    grown = any(member.compress_type != zipfile.ZIP_STORED for member in members)
    if grown or sum(member.file_size for member in members) > path.stat().st_size:
        raise ModelError("The .pt2 file holds compressed members, as no exporter writes them.", remedy=_EXPORT_AGAIN)


def _clean_json(member: str, content: bytes, operators: Set[str]) -> bytes:
    try:
        document = json.loads(content)
    except ValueError as error:
        raise ModelError(f"{member} in the .pt2 file is no JSON: {error}.", remedy=_EXPORT_AGAIN) from error
    if member.startswith("data/"):
        _check_payloads(document)
    else:
        document["guards_code"] = []  # compiled by torch when the program is used; the farm checks shapes itself
        _check_value(document, "", operators)
    return json.dumps(document).encode()


def _check_payloads(document: dict[str, Any]) -> None:
    for name, payload in document.get("config", {}).items():
        if payload.get("use_pickle") is not False:
            raise ModelError(
                f"{name!r} in the .pt2 file is stored as a pickle, which could run any code.",
                remedy="Store plain tensors: convert tensor subclasses before export, then export again.",
            )
    _check_value(document, "")


def _check_value(value: Any, key: str, operators: Set[str] = frozenset()) -> None:
    """Refuse every string of a serialized program that is not what an exporter writes in its place."""
    if isinstance(value, dict):
        for name, inner in value.items():
            _check_text(name, "name of an entry", operators)
            if name not in _FREE_TEXT:
                _check_value(inner, name, operators)
    elif isinstance(value, list):
        for inner in value:
            _check_value(inner, "name" if key == "forward_arg_names" else key, operators)
    elif isinstance(value, str):
        _check_text(value, key, operators)


def _check_text(text: str, key: str, operators: Set[str]) -> None:
    if key in ("target", "as_operator"):
        accepted = _OPERATOR.fullmatch(text) is not None or custom_operator(text) in operators
    elif key in _NAMES:
        accepted = _NAME.fullmatch(text) is not None
    elif key in ("in_spec", "out_spec"):
        accepted = _plain_tree(text)
    elif key == "expr_str":
        accepted = plain_expression(text)
    else:
        accepted = _PLAIN.fullmatch(text) is not None or plain_expression(text)
    if not accepted:
        raise ModelError(
            f"The .pt2 file holds {text[:80]!r} as {key or 'text'}, which is not accepted: loading it could run code.",
            remedy="Use PyTorch's own operators or declare yours (custom_operators), and outputs that are tensors, "
            f"tuples, lists or dicts. {_EXPORT_AGAIN}",
        )


def custom_operator(target: str) -> str | None:
    """``library::operator`` of ``torch.ops.library.operator.overload``."""
    found = _CUSTOM.fullmatch(target)
    return f"{found[1]}::{found[2]}" if found else None


def plain_expression(text: str) -> bool:
    """Whether ``text`` is arithmetic on symbols (``2*s0 + Max(1, s1)``), as PyTorch writes sizes."""
    position = 0
    while position < len(text):
        match = _EXPRESSION.match(text, position)
        if match is None:
            return False
        word = match[1]
        if word and not _FUNCTION.fullmatch(word) and not _SYMBOL.fullmatch(word):
            return False
        position = match.end()
    return True


def _plain_tree(text: str) -> bool:
    try:
        _, tree = json.loads(text)
        return _plain_node(tree)
    except (ValueError, TypeError, KeyError):
        return False


def _plain_node(node: dict[str, Any]) -> bool:
    keys = json.loads(node["context"]) if node["context"] is not None else None
    plain = keys is None or (isinstance(keys, list) and all(_plain_key(key) for key in keys))
    return plain and node["type"] in _CONTAINERS and all(_plain_node(child) for child in node["children_spec"])


def _plain_key(key: Any) -> bool:
    return isinstance(key, int) or (isinstance(key, str) and _PLAIN.fullmatch(key) is not None)


def check_torchscript(path: Path, operators: Set[str] = frozenset()) -> None:
    """Refuse TorchScript whose source uses operators that touch files or classes that load native code.

    ``operators``: as for ``clean_pt2``. Raises ModelError. The language has no dynamic look-up: an operator that is
    not in the source is not used.
    """
    import torch

    remedy = "Save the model with torch.jit.save, using PyTorch's own tensor operators or those you declare."
    with Boundary(ModelError, "The file is no TorchScript program", remedy):
        reader = torch._C.PyTorchFileReader(str(path))
        sources = [name for name in reader.get_all_records() if name.startswith("code/") and name.endswith(".py")]
        if sum(reader.get_record_size(name) for name in sources) > _SCRIPT_CODE_BYTES:
            raise ModelError("The TorchScript program has far too much source to be a model.", remedy=remedy)
        if not sources:
            raise ModelError(
                "The file holds no TorchScript (a state dict or a pickled module, perhaps).",
                remedy="Pickles are never loaded: hand over the nn.Module, or export it with torch.export.",
            )
        for name in sources:
            source = reader.get_record(name)
            for found in _suspects(source):
                if _scripted_operator(found) not in operators:
                    raise ModelError(
                        f"The TorchScript program uses {found[0].decode()!r}, which is not accepted.", remedy=remedy
                    )


def _suspects(source: bytes) -> Iterator[re.Match[bytes]]:
    for pattern in (_SCRIPT_FILES, _SCRIPT_CLASSES, _SCRIPT_OPERATORS):
        yield from pattern.finditer(source)


def _scripted_operator(found: re.Match[bytes]) -> str | None:
    return f"{found[2].decode()}::{found[3].decode()}" if found.re is _SCRIPT_OPERATORS else None


def check_onnx(path: Path) -> None:
    """Refuse ONNX that does not check, or that wants to read other files. Raises ModelError."""
    import onnx

    remedy = "Save it as one file: torch.onnx.export(..., dynamo=True, external_data=False)."
    with Boundary(ModelError, "The file is no ONNX model", remedy):
        model = onnx.load(str(path), load_external_data=False)
        if any(onnx.external_data_helper.uses_external_data(tensor) for tensor in _onnx_tensors(model)):
            raise ModelError("The ONNX model keeps its weights in other files.", remedy=remedy)
        onnx.checker.check_model(model)


def _onnx_tensors(model: Any) -> Any:
    from onnx.external_data_helper import _get_all_tensors

    return _get_all_tensors(model)
