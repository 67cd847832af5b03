"""Benchmark programs of other people's: how each is called and what it prints. One module a tool, all pure.

A scenario on a GPU or an NPU goes through one of them, because vendors' libraries need a program built with the NDK;
on the CPU they are an independent check of the farm's own harness. docs/native-tools.md.
"""

from __future__ import annotations

from agents.native_tools.executorch import ExecutorRunner
from agents.native_tools.litert import BenchmarkModel
from agents.native_tools.onnxruntime import PerfTest
from agents.native_tools.pytorch_mobile import SpeedBenchmark
from agents.native_tools.tool import NotUnderstood, Printed, Tensor, Tool, Work

TOOLS: dict[str, Tool] = {
    tool.name: tool for tool in (BenchmarkModel(), ExecutorRunner(), PerfTest(), SpeedBenchmark())
}

__all__ = ["TOOLS", "NotUnderstood", "Printed", "Tensor", "Tool", "Work"]
