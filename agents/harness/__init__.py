"""The harness: measures one program in one fresh process, on whatever device it is started.

``python -m agents.harness JOB.json`` imports the standard library, numpy and one runtime, nothing of ``farm``. It
separates the phases (import, load, first inference, warm-up, measured), checks the outputs against PyTorch's, and
writes sequenced records (``records.py``) that survive its death.

A *measured inference* starts with the inputs in the runtime's own tensor form and ends when the outputs are available
in the runtime's own form. What lies in between is written in the docstring of each module of ``runtimes/``.
"""
