"""adbd, the phone's end of adb, in asyncio: the stock adb server connects to it over TCP.

After AOSP's packages/modules/adb: protocol.txt, SERVICES.TXT, SYNC.TXT, and daemon/ where those are silent.
"""

from agents.virtual.phone.adbd.daemon import AdbDaemon

__all__ = ["AdbDaemon"]
