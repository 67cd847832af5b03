import psutil


def alive(pid: int) -> bool:
    """Whether the process still runs: a zombie only waits to be collected."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
